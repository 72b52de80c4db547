"""The files of a reconstruction, written all together or not at all."""

from __future__ import annotations

import csv
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from physhmr_kit.motion.check import MIN_FRAMES, teleports
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.reconstruction.simulate import Reconstruction
from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer import recording
from physhmr_kit.viewer.frames import video_frames
from physhmr_kit.viewer.overlay import write_overlay


def write_files(
    result: Reconstruction, errors: dict[str, np.ndarray], out: Path, video: Path | None, overlay: bool = True
) -> list[Path]:
    """Write everything into a folder; the files appear together, when all of them are whole.

    Args:
        video: for the recording and the overlay. overlay: draw the body over the video.

    Returns:
        reconstruction.npz (AMASS convention) and .bvh, in parts where the motion is not one (`whole_parts`), rollout.npz, track.npz (what the policy observed, with the camera),
        errors.csv, reconstruction.rrd, and overlay.mp4 where there is a video.

    Raises:
        KitError: the folder cannot be written.
    """
    home = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".reconstruct-", dir=home) as draft:
            _write_all(result, errors, Path(draft), video, overlay)
            out.mkdir(parents=True, exist_ok=True)
            files = sorted(Path(draft).iterdir())
            for old in (*out.glob("reconstruction*.npz"), *out.glob("reconstruction*.bvh")):
                old.unlink()  # of a reconstruction in other parts
            for file in files:
                os.replace(file, out / file.name)
            return [out / file.name for file in files]
    except OSError as fault:
        raise KitError(f"{out}: cannot be written ({fault.strerror or fault})") from fault


def _write_all(
    result: Reconstruction, errors: dict[str, np.ndarray], folder: Path, video: Path | None, overlay: bool
) -> None:
    body = result.rollout.simulated
    clip = Clip.from_joints(body.root_pos, local_rotations(body.body_rot), result.track.fps, result.track.name)
    for name, part in whole_parts(clip, [frame for frame, _ in result.restarts]):
        part.save(folder / f"{name}.npz")
        write_bvh(part, folder / f"{name}.bvh")
    result.rollout.save(folder / "rollout.npz")
    result.track.save(folder / "track.npz")
    with open(folder / "errors.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(errors)
        writer.writerows(zip(*(_numbers(values) for values in errors.values()), strict=True))
    recording.record_rollout(
        folder / "reconstruction.rrd", result.rollout, result.track, video_frames(video) if video else None
    )
    if video and overlay:
        marked = [frame for frame, _ in result.restarts]
        write_overlay(video, folder / "overlay.mp4", body, result.track.camera, result.track.fps, marked)


def whole_parts(clip: Clip, restarts: list[int]) -> list[tuple[str, Clip]]:
    """A reconstruction as motions that a reader takes: name and clip, cut where the body was put back or leaps.

    A film whose person leaves the picture has leaps in the estimate as well. What lies between two of them and is
    shorter than `MIN_FRAMES` is left out; a reconstruction of nothing else is written as it is.
    """
    leaps = {frame + 1 for frame in teleports(clip.root_pos, clip.joint_rot, clip.fps)[0]}
    borders = [0, *sorted(leaps | set(restarts)), len(clip)]
    parts = [clip.cut(start, stop) for start, stop in pairwise(borders) if stop - start >= MIN_FRAMES]
    if len(parts) < 2:
        return [("reconstruction", parts[0] if parts else clip)]
    return [(f"reconstruction_part{n}", part) for n, part in enumerate(parts, start=1)]


def _numbers(values: np.ndarray) -> list:
    return [v if isinstance(v, int) else "" if np.isnan(v) else round(v, 3) for v in values.tolist()]
