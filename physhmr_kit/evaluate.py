"""`python -m physhmr_kit.evaluate --stage expert --clips demo PATH...`: how well a policy follows motions, clip by clip.

Every clip is followed once from its first frame by the mean action, all clips side by side. A policy that sees is shown
each clip through a synthetic camera and a synthetic detector, drawn with the seed: the same seed, the same picture.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from physhmr_kit import cli
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.errors import KitError
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator

if TYPE_CHECKING:  # what speaks torch is imported where there is work for it, so that --help answers at once
    from physhmr_kit.env import Rollout
    from physhmr_kit.learning.networks import Policy
    from physhmr_kit.motion.library import MotionLibrary
    from physhmr_kit.vision.encoder import VisionEncoder
    from physhmr_kit.vision.synthetic import KeypointNoise
    from physhmr_kit.vision.track import VisualTrack

STAGES = ("expert", "distill", "finetune")
"""Stages that end in a policy."""

_SEEING = ("rays", "ray_confidence", "feature", "root_orientation")


def find_policy(stage: str, given: Path | None) -> tuple[Policy, TrackingConfig, dict]:
    """A stage's policy (from a file, a run folder, or the bundled one), the episode it lives in, and what its file says.

    Raises:
        KitError: no weights, not weights, or those of another stage.
    """
    from physhmr_kit.learning.storage import load_policy, read_weights
    from physhmr_kit.stages.build import find_weights

    path = find_weights(stage, given or "")
    policy, settings = load_policy(path), read_weights(path)[1]
    if settings.get("stage", stage) != stage:
        raise KitError(
            f"{path}: weights of stage '{settings['stage']}', not of '{stage}'; say --stage {settings['stage']}"
        )
    return policy, TrackingConfig(groups=policy.groups, control=policy.control), settings


def film(library: MotionLibrary, encoder: VisionEncoder, noise: KeypointNoise, seed: int) -> list[VisualTrack]:
    """What a detector and the encoder make of every clip: one random fixed camera each, the same for the same seed and clip.

    Args:
        library: the clips. seed: of cameras and noise; a clip's view does not hang on which others are there.
    """
    import torch

    from physhmr_kit.vision.camera import sample_cameras
    from physhmr_kit.vision.track import synthesize_track

    tracks = []
    for clip in range(library.num_clips):
        generator = torch.Generator().manual_seed(zlib.crc32(library.names[clip].encode()) + seed)
        body = library.clip(clip)
        camera = sample_cameras(body.body_pos.unsqueeze(0), generator)[0]
        tracks.append(synthesize_track(body, camera, encoder, noise, generator))
    return tracks


def evaluate(
    policy: Policy,
    config: TrackingConfig,
    library: MotionLibrary,
    tracks: list[VisualTrack] | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
) -> list[Rollout]:
    """Follow every clip once, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from physhmr_kit.env import VisualLibrary, track_clips

    visual = VisualLibrary([[track] for track in tracks], library.lengths) if tracks else None
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{library.num_clips} clips", total=int(library.lengths.max()))
        return track_clips(
            policy, library, config, visual, simulator, substeps,
            progress=lambda done, _: bar.update(task, completed=done), device=device,
        )  # fmt: skip


def report(rollouts: list[Rollout], title: str, notes: list[str]) -> tuple[str, str]:
    """Print the table (drawn in a terminal, Markdown elsewhere) and return it as Markdown and CSV."""
    from physhmr_kit.metrics import score_rollouts, summarise, to_csv, to_markdown
    from physhmr_kit.metrics.table import NOTES, rich_table

    rows, closing = score_rollouts(rollouts), summarise(rollouts)
    lost = [f"{row['clip']} {row['outcome']}" for row in rows if not row["success"]]
    words = [*notes, f"not tracked to the end: {'; '.join(lost) if lost else 'none'}"]
    markdown = to_markdown(rows, closing, title) + "".join(f"- {word}\n" for word in words)
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(rich_table(rows, closing, title))
        for note in (*NOTES, *words):
            console.print(f"- {note}", highlight=False)
    else:
        print(markdown)
    return markdown, to_csv(rows, closing)


def save_rollouts(rollouts: list[Rollout], tracks: list[VisualTrack] | None, folder: Path) -> None:
    """Write <clip>.npz for `view`, and <clip>_track.npz where the policy saw something."""
    for i, rollout in enumerate(rollouts):
        rollout.save(folder / f"{rollout.name}.npz")
        if tracks:
            tracks[i].save(folder / f"{rollout.name}_track.npz")


def _parser():
    parser = cli.make_parser("evaluate", __doc__)
    parser.add_argument("--stage", choices=STAGES, required=True, help="which stage's policy")
    parser.add_argument(
        "--weights", type=Path, help="a .safetensors file or a run folder; the bundled weights by default"
    )
    parser.add_argument(
        "--clips", nargs="+", default=["demo"], help="'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders"
    )
    parser.add_argument("--simulator", choices=SIMULATORS, default="auto", help="which simulator")
    parser.add_argument("--device", help="where it computes; its own choice by default")
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; the bundled one by default")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic cameras and the detector's noise")
    parser.add_argument("--csv", type=Path, help="write every measure of every clip here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--save", type=Path, help="write the rollouts into this folder, to be viewed")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    if args.save and args.save.exists() and not args.save.is_dir():
        raise KitError(f"{args.save}: is a file; --save names a folder")
    from physhmr_kit.metrics.table import write_text
    from physhmr_kit.motion.library import MotionLibrary
    from physhmr_kit.motion.sources import load_clips
    from physhmr_kit.vision.pretrained import load_encoder
    from physhmr_kit.vision.synthetic import KeypointNoise

    policy, config, settings = find_policy(args.stage, args.weights)
    sees = any(group in _SEEING for group in policy.groups)
    encoder = load_encoder(args.encoder) if sees else None
    library = MotionLibrary(load_clips(args.clips))
    tracks = film(library, encoder, KeypointNoise(), args.seed) if sees else None
    print(choose_simulator(args.simulator), file=sys.stderr)
    substeps = int(settings.get("substeps", 4))
    rollouts = evaluate(policy, config, library, tracks, args.simulator, substeps, args.device)
    notes = [f"seen through one synthetic camera for each clip, seed {args.seed}; {KeypointNoise()}"] if sees else []
    markdown, table = report(rollouts, f"Stage {args.stage} on {library.num_clips} clips", notes)
    if args.csv:
        write_text(args.csv, table)
    if args.markdown:
        write_text(args.markdown, markdown)
    if args.save:
        save_rollouts(rollouts, tracks, args.save)
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
