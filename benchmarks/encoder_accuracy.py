"""Accuracy of the encoder on held-out motions at several noise levels, and of the camera it estimates without calibration.

    python benchmarks/encoder_accuracy.py --clips ../shared/data/cmu ../shared/data/cmu_more --plot docs/encoder_noise.png

Films held-out clips and, for comparison, training clips from random fixed cameras with the synthetic detector at multiples of
its default noise, and prints root orientation, MPJPE, PA-MPJPE, contact F1, and how often an error exceeds the uncertainty that
the encoder predicts (calibrated: 50 %). Then films each held-out clip from three cameras, hides the camera, and prints the
errors of gravity and height that `vision.uncalibrated` estimates, with the focal length known and guessed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torchmetrics.classification import BinaryF1Score

from data_prep.sources import load_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.encoder import errors
from physhmr_kit.vision.camera import sample_cameras
from physhmr_kit.vision.encoder import WINDOW
from physhmr_kit.vision.filming import joint_positions, synthesize_batch
from physhmr_kit.vision.keypoints import KeypointTrack, coco_from_bodies
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.settings import HARD, NO_AUGMENTATION, WHAM, KeypointNoise
from physhmr_kit.vision.synthetic import detect
from physhmr_kit.vision.uncalibrated import diagonal_focal, estimate_camera

LEVELS = (0.0, 0.5, 1.0, 2.0, 3.0)
ROWS = {f"{level:g} x": replace(NO_AUGMENTATION, noise=KeypointNoise().scaled(level)) for level in LEVELS} | {
    "HARD": replace(NO_AUGMENTATION, noise=HARD),
    "WHAM": replace(NO_AUGMENTATION, noise=WHAM),
    "wild camera": replace(NO_AUGMENTATION, wild=1.0),
    "moving camera": replace(NO_AUGMENTATION, moving=1.0),
}
LEFT_OUT = ["16_", "27_", "32_", "35_", "49_1"]  # clips that the bundled encoder was not trained on
LONGEST = 300  # frames of a clip for the estimate of the camera


@torch.no_grad()
def accuracy(
    encoder, library: MotionLibrary, allowed: torch.Tensor, augmentation, windows: int, seed: int
) -> dict[str, float]:
    """Mean errors over windows of WINDOW frames, with the same motions and cameras at every noise level."""
    sums, f1 = {}, BinaryF1Score()
    weight = library.lengths.float().sqrt() * allowed
    for batch in range(math.ceil(windows / 24)):
        generator = torch.Generator().manual_seed(seed + batch)
        clips = torch.multinomial(weight, 24, replacement=True, generator=generator)
        seen = synthesize_batch(library, clips, WINDOW, generator, augmentation)
        out = encoder.decode(encoder.context(seen.tokens))
        f1.update(out["contact"].sigmoid(), seen.contact.int())
        off = (joint_positions(out["rotmat"]) - seen.position).norm(dim=-1)[..., 1:]
        found = errors(out, seen) | {"larger": (off > out["uncertainty"][..., 1:]).float()}
        for name, value in found.items():
            sums.setdefault(name, []).append(float(value.mean()))
    return {name: sum(v) / len(v) for name, v in sums.items()} | {"contact_f1": float(f1.compute())}


@torch.no_grad()
def hidden_camera(encoder, library: MotionLibrary, clips: list[int], guess_focal: bool, views: int = 3) -> torch.Tensor:
    """(scenes, 3): angle between estimated and true up (deg), relative error of the height, spread of the estimate (deg)."""
    rows = []
    for clip in clips:
        state = library.clip(clip)
        points = coco_from_bodies(state.body_pos[:LONGEST], state.body_rot[:LONGEST])
        for view in range(views):
            generator = torch.Generator().manual_seed(1000 * clip + view)
            camera = sample_cameras(state.body_pos[:LONGEST], generator)
            keypoints = detect(points, camera, KeypointNoise(), generator)
            track = KeypointTrack(keypoints, 30.0, camera.image_size)
            focal = diagonal_focal(camera.image_size) if guess_focal else float(camera.K[0, 0])
            found = estimate_camera(track, encoder, focal)
            up = (found.camera.R[:, 2] @ camera.R[:, 2]).clamp(-1, 1).acos()
            height = float(camera.centre[2])
            rows.append((math.degrees(up), abs(found.height_m - height) / height, found.gravity_deg))
    return torch.tensor(rows)


def plot(path: Path, curves: dict[str, list[dict[str, float]]]) -> None:
    """Plot errors against noise, with the target value of each."""
    panels = {
        "root_deg": ("root orientation, deg", 12),
        "mpjpe_mm": ("MPJPE, mm", 65),
        "pa_mpjpe_mm": ("PA-MPJPE, mm", 45),
        "contact_f1": ("contact F1", 0.85),
    }
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, (key, (label, target)) in zip(axes, panels.items(), strict=True):
        for (name, rows), style in zip(curves.items(), ("-o", "--s"), strict=True):
            axis.plot(LEVELS, [row[key] for row in rows], style, label=name, markersize=4)
        axis.axhline(target, color="grey", linewidth=0.8, linestyle=":", label="target at 1 x")
        axis.set(xlabel="detector noise, times the default", title=label)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--clips", nargs="+", default=["demo"])
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; default: the bundled one")
    parser.add_argument("--leave-out", nargs="+", default=LEFT_OUT, help="as in fit --stage encoder")
    parser.add_argument("--windows", type=int, default=192)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    library = MotionLibrary(load_clips(options.clips))
    held = torch.tensor([name.startswith(tuple(options.leave_out)) for name in library.names])
    if not held.any():
        raise SystemExit("no clip is held out; give more clips")
    print(f"held out: {', '.join(n for n, h in zip(library.names, held.tolist(), strict=True) if h)}")
    print(f"{options.windows} windows of {WINDOW} frames; noise 1 x: {KeypointNoise()}")
    curves = {}
    for name, allowed in (("held out", held), ("trained on", ~held)):
        for row, augmentation in ROWS.items():
            found = accuracy(encoder, library, allowed, augmentation, options.windows, seed=50)
            if row.endswith(" x"):
                curves.setdefault(name, []).append(found)
            print(
                f"{name:10s} {row:13s} root {found['root_deg']:5.1f} deg  MPJPE {found['mpjpe_mm']:5.1f} mm  PA-MPJPE "
                f"{found['pa_mpjpe_mm']:5.1f} mm  contact F1 {found['contact_f1']:.3f}  larger than stated {100 * found['larger']:.0f} %",
                flush=True,
            )
    if options.plot:
        plot(options.plot, curves)
    for guess in (False, True):
        rows = hidden_camera(encoder, library, held.nonzero().flatten().tolist(), guess)
        up, height, spread = rows.unbind(-1)
        print(
            f"camera withheld, focal {'guessed' if guess else 'known'}, {len(rows)} scenes: gravity off {up.median():.1f} deg "
            f"(median; 90 %: {up.quantile(0.9):.1f}), within 5 deg in {100 * (up <= 5).float().mean():.0f} %; height off "
            f"{100 * height.median():.0f} % (90 %: {100 * height.quantile(0.9):.0f}), within 15 % in "
            f"{100 * (height <= 0.15).float().mean():.0f} %; frames agree within {spread.median():.1f} deg",
            flush=True,
        )


if __name__ == "__main__":
    main()
