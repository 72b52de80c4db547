"""`python -m physhmr_kit.reconstruct --keypoints K.npz --camera C.json --out DIR`: a filmed person, in simulation.

Keypoints become rays and features, a policy that sees only those drives the humanoid, and what the physics made of it is
written down. There is no ground truth here: the figures compare the body with what the camera saw.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.video import read_video_info
from physhmr_kit import cli
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.errors import KitError
from physhmr_kit.evaluate import STAGES, find_policy
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator, make_simulator

if TYPE_CHECKING:  # what speaks torch is imported where there is work for it, so that --help answers at once
    import torch

    from physhmr_kit.env import Rollout
    from physhmr_kit.motion.state import BodyState
    from physhmr_kit.vision.keypoints import KeypointTrack
    from physhmr_kit.vision.track import VisualTrack

BLEW_UP = "blew up"
LOST = 500.0
"""Mean distance from the rays, mm, at which the body is no longer where the person is."""

PATIENCE = 15
"""Frames a body is left to itself after a restart. One put back in every frame would be the encoder's estimate, not physics."""


@dataclass(frozen=True)
class Reconstruction:
    """A video as the simulation relived it.

    Attributes:
        track: what the policy saw.
        rollout: simulated body; its reference is the encoder's own estimate (pose from the network, place from rays and
            floor), not the truth.
        restarts: (frame, why) for each time the body was put back on the encoder's pose.
    """

    track: VisualTrack
    rollout: Rollout
    restarts: list[tuple[int, str]]


def relive(
    policy,
    track: VisualTrack,
    config: TrackingConfig,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
) -> Reconstruction:
    """Let a policy follow what a camera saw, from the encoder's first pose to the end.

    A body that falls, loses the person or blows up is put back on the encoder's pose of that frame and goes on; it is
    left lying for a while if it has only just been put back (`PATIENCE`).

    Args:
        policy: observation groups to actions.
        config: the observation and control the policy was trained with.
    """
    import torch

    with torch.no_grad():
        return _relive(policy, track, config, simulator, substeps, device)


def _relive(
    policy, track: VisualTrack, config: TrackingConfig, simulator: str, substeps: int, device: str | None
) -> Reconstruction:
    """What `relive` does, under its no_grad: as a decorator that would ask for torch when this file is imported."""
    import torch

    from physhmr_kit.env import TrackingEnv, VisualLibrary
    from physhmr_kit.motion.library import MotionLibrary
    from physhmr_kit.vision.placement import initial_pose, kinematic_clip

    library = MotionLibrary([kinematic_clip(track)])
    visual = VisualLibrary([[track]], library.lengths)
    endless = replace(config, termination="none", start="first", episode_length=0)
    physics = make_simulator(simulator, num_envs=1, device=device, substeps=substeps)
    env = TrackingEnv(library, physics, endless, visual)
    if isinstance(policy, torch.nn.Module):
        policy.to(env.device)
    everyone = torch.zeros(1, dtype=torch.long, device=env.device)
    estimate = library.clip(0)
    env.reset(seed=0, options={"clip": everyone, "frame": everyone, "view": everyone})
    env.simulator.reset(everyone, initial_pose(track, 0).to(env.device))
    states, terms, restarts = [env.simulator.state.to("cpu")], [{}], []
    obs = env.observe(config.groups)
    for frame in range(1, len(track)):
        obs, *_ = env.step(policy(obs))
        state = env.last_state.to("cpu")
        terms.append(env.reward_terms)
        fault = _fault(state, estimate[frame : frame + 1], track, frame)
        patient = restarts and frame - restarts[-1][0] < PATIENCE and fault != BLEW_UP
        if fault and not patient:
            env.simulator.reset(everyone, initial_pose(track, frame).to(env.device))
            state = env.simulator.state.to("cpu")
            obs = env.observe(config.groups)
            restarts.append((frame, fault))
        states.append(state)
    env.close()
    return Reconstruction(track, _rollout(track.name, estimate, states, terms, restarts), restarts)


def upright(state: BodyState) -> torch.Tensor:
    """Whether a body is on its feet: trunk within 60 degrees of the vertical, pelvis above half its standing height. (T,) bool."""
    import torch

    from physhmr_kit.body.skeleton import JOINT_NAMES, standing_height

    pelvis, neck = (state.body_pos[:, JOINT_NAMES.index(name)] for name in ("pelvis", "neck"))
    trunk = torch.nn.functional.normalize(neck - pelvis, dim=-1)
    return (trunk[:, 2] > 0.5) & (pelvis[:, 2] > standing_height() / 2)


def _fault(state, estimate: BodyState, track: VisualTrack, frame: int) -> str | None:
    """What is wrong with the body, if anything. Where the encoder's own body is no better, there is nothing to go back to."""
    from physhmr_kit.metrics.seen import ray_distance

    if bool(state.diverged):
        return BLEW_UP
    if bool(upright(estimate)) and not bool(upright(state)):
        return "fell"
    row = slice(frame, frame + 1)
    rays = track.centre[row], track.ray_point[row], track.ray_confidence[row]
    away, at_best = (ray_distance(s.body_pos, *rays).nanmean() for s in (state, estimate))
    return "lost the person" if away > LOST and at_best < LOST / 2 else None


def _rollout(name: str, estimate: BodyState, states: list, terms: list[dict], restarts: list) -> Rollout:
    import torch

    from physhmr_kit.env import Rollout
    from physhmr_kit.motion.state import BodyState

    def join(key):
        return torch.cat([getattr(s, key) for s in states])

    return Rollout(
        name=name,
        reference=estimate,
        simulated=BodyState(**{f.name: join(f.name) for f in fields(BodyState)}),
        contact_force=join("contact_force"),
        dof_torque=join("dof_torque"),
        rewards={k: torch.tensor([0.0] + [float(t[k]) for t in terms[1:]]) for k in terms[-1]},
        length=len(states),
        success=not restarts,
        fail_frame=restarts[0][0] if restarts else None,
    )


# What came out


def errors_over_time(result: Reconstruction) -> dict[str, np.ndarray]:
    """One row for each frame: how far the body is from what was seen, and from the encoder's own estimate.

    Returns:
        frame, seconds, ray_distance_mm and reprojection_px (means over the believed keypoints; NaN where there is none),
        encoder_ray_distance_mm and encoder_reprojection_px (the same of the estimate), from_encoder_mm (mean over 24
        bodies), upright and restart (0 or 1; a frame in which the body was helped up is not upright). All (T,).
    """
    import torch

    from physhmr_kit.metrics.seen import ray_distance, reprojection_error

    track, body, estimate = result.track, result.rollout.simulated, result.rollout.reference
    rays = track.centre, track.ray_point, track.ray_confidence
    count = len(track)
    columns = {"frame": torch.arange(count), "seconds": torch.arange(count) / track.fps}
    for name, state in (("", body), ("encoder_", estimate)):
        columns[f"{name}ray_distance_mm"] = ray_distance(state.body_pos, *rays).nanmean(1)
        pixels = reprojection_error(state.body_pos, state.body_rot, track.keypoints, track.camera)
        columns[f"{name}reprojection_px"] = pixels.nanmean(1)
    columns["from_encoder_mm"] = 1000 * (body.body_pos - estimate.body_pos).norm(dim=-1).mean(-1)
    restarted = torch.zeros(count, dtype=torch.bool)
    restarted[[frame for frame, _ in result.restarts]] = True
    columns |= {"upright": (upright(body) & ~restarted).long(), "restart": restarted.long()}
    return {name: values.numpy() for name, values in columns.items()}


def summary(result: Reconstruction, errors: dict[str, np.ndarray]) -> list[str]:
    """What we would want to know before believing the result, line by line."""
    track, count = result.track, len(result.track)
    width, height = track.image_size
    median = {name: float(np.nanmedian(values)) for name, values in errors.items()}
    falls = ", ".join(f"{why} at {frame / track.fps:.2f} s" for frame, why in result.restarts)
    alone = max(b - a for a, b in pairwise([0, *(frame for frame, _ in result.restarts), count])) / track.fps
    return [
        f"{track.name}: {count} frames at {track.fps:g} fps, {count / track.fps:.1f} s; "
        f"the world is divided by {track.scale:.2f} so that the mean-shape humanoid fits",
        f"reprojection error, median: {median['reprojection_px']:.0f} px of a {width}x{height} image "
        f"(the encoder's estimate without physics: {median['encoder_reprojection_px']:.0f} px)",
        f"distance from the rays, median: {median['ray_distance_mm']:.0f} mm (the encoder's: {median['encoder_ray_distance_mm']:.0f} mm); "
        "errors along the rays cannot be seen without ground truth",
        f"upright in {100 * errors['upright'].mean():.0f} % of the frames, put back on the encoder's pose {len(result.restarts)} time(s)"
        + (f": {falls}; {alone:.1f} s at a stretch without help" if falls else ""),
    ]


def write(result: Reconstruction, errors: dict[str, np.ndarray], out: Path, video: Path | None) -> list[Path]:
    """Write everything into a folder; the files appear together, when all of them are whole.

    Returns:
        reconstruction.npz (AMASS convention) and .bvh, rollout.npz, track.npz (what the policy saw, with the camera),
        errors.csv and reconstruction.rrd.

    Raises:
        KitError: the folder cannot be written.
    """
    home = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".reconstruct-", dir=home) as draft:
            _write_all(result, errors, Path(draft), video)
            out.mkdir(parents=True, exist_ok=True)
            files = sorted(Path(draft).iterdir())
            for file in files:
                os.replace(file, out / file.name)
            return [out / file.name for file in files]
    except OSError as fault:
        raise KitError(f"{out}: cannot be written ({fault.strerror or fault})") from fault


def _write_all(result: Reconstruction, errors: dict[str, np.ndarray], folder: Path, video: Path | None) -> None:
    from physhmr_kit.motion.clip import Clip
    from physhmr_kit.motion.export import write_bvh
    from physhmr_kit.motion.kinematics import local_rotations
    from physhmr_kit.viewer.frames import video_frames
    from physhmr_kit.viewer.recording import record_rollout

    body = result.rollout.simulated
    clip = Clip.from_joints(body.root_pos, local_rotations(body.body_rot), result.track.fps, result.track.name)
    clip.save(folder / "reconstruction.npz")
    write_bvh(clip, folder / "reconstruction.bvh")
    result.rollout.save(folder / "rollout.npz")
    result.track.save(folder / "track.npz")
    with open(folder / "errors.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(errors)
        writer.writerows(zip(*(_numbers(values) for values in errors.values()), strict=True))
    record_rollout(folder / "reconstruction.rrd", result.rollout, result.track, video_frames(video) if video else None)


def _numbers(values: np.ndarray) -> list:
    return [v if isinstance(v, int) else "" if np.isnan(v) else round(v, 3) for v in values.tolist()]


# The command


def find_video(keypoints: Path) -> Path | None:
    """The video of a keypoint file, if it lies beside it: walk_keypoints.npz or walk.npz -> walk.mp4."""
    found = keypoints.with_name(keypoints.stem.removesuffix("_keypoints") + ".mp4")
    return found if found.is_file() else None


def check_video(track: KeypointTrack, video: Path) -> None:
    """Raise a KitError unless the keypoints can have been detected on this video: frames, size and rate agree."""
    info = read_video_info(video)
    track.check_video(info.frames, video)
    if info.image_size != track.image_size:
        (a, b), (c, d) = track.image_size, info.image_size
        raise KitError(f"{track.name}: keypoints are of a {a}x{b} image, {video} is {c}x{d}; detect on the same video")
    if info.fps and abs(info.fps - track.fps) > 0.02 * info.fps:
        raise KitError(
            f"{track.name}: keypoints are at {track.fps:g} fps, {video} at {info.fps:g}; detect on the same video"
        )


def _parser():
    parser = cli.make_parser("reconstruct", __doc__)
    parser.add_argument("--keypoints", type=Path, required=True, help="COCO-17 keypoints of one person, .npz")
    parser.add_argument(
        "--camera", type=Path, required=True, help="the calibrated camera, .json; z-up world, floor at z = 0"
    )
    parser.add_argument(
        "--video", type=Path, help="the video, for the recording; found by its name beside the keypoints"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--stage",
        choices=STAGES,
        default="distill",
        help="which stage's policy; an expert follows the encoder's estimate instead",
    )
    parser.add_argument(
        "--weights", type=Path, help="a policy's .safetensors or a run folder; the bundled one by default"
    )
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; the bundled one by default")
    parser.add_argument(
        "--scale", type=float, help="how much larger than the mean shape the person is; estimated by default"
    )
    parser.add_argument("--simulator", choices=SIMULATORS, default="auto", help="which simulator")
    parser.add_argument("--device", help="where it computes; its own choice by default")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    started = time.monotonic()
    args = _parser().parse_args(argv)
    if args.out.exists() and not args.out.is_dir():
        raise KitError(f"{args.out}: is a file; --out names a folder")
    if args.scale is not None and not 0.1 <= args.scale <= 10:
        raise KitError(f"--scale {args.scale:g}: a person is between 0.1 and 10 times the mean shape")
    from physhmr_kit.metrics.seen import BELIEVED
    from physhmr_kit.vision.camera import Camera
    from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack
    from physhmr_kit.vision.pretrained import load_encoder
    from physhmr_kit.vision.track import track_from_keypoints

    keypoints, camera = KeypointTrack.load(args.keypoints), Camera.load(args.camera)
    keypoints.check_camera(camera)
    if not (keypoints.confidence[:, RAY_COCO] >= BELIEVED).any():
        raise KitError(
            f"{args.keypoints}: no limb keypoint reaches a confidence of {BELIEVED}; there is nobody to follow"
        )
    video = args.video or find_video(args.keypoints)
    if video:
        check_video(keypoints, video)
    policy, config, settings = find_policy(args.stage, args.weights)
    track = track_from_keypoints(keypoints, camera, load_encoder(args.encoder), args.scale)
    if len(track) < 2:
        raise KitError(f"{args.keypoints}: {len(track)} frame(s) at 30 fps; a motion needs at least two")
    print(choose_simulator(args.simulator), file=sys.stderr)
    result = relive(policy, track, config, args.simulator, int(settings.get("substeps", 4)), args.device)
    errors = errors_over_time(result)
    files = write(result, errors, args.out, video)
    print("\n".join(summary(result, errors)))
    print(f"wrote {', '.join(f.name for f in files)} to {args.out} in {time.monotonic() - started:.1f} s")
    print(f"look at it: python -m physhmr_kit.view {args.out / 'reconstruction.rrd'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
