"""Writes the files of a reconstruction, all or none of them."""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Sequence
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
from physhmr_kit.viewer.overlay import Drawn, write_overlay

_OURS = re.compile(r"(reconstruction|rollout|track)(_\d+)?(_part\d+)?\.(npz|bvh|rrd)")


def write_files(
    results: Sequence[Reconstruction],
    errors: dict[str, np.ndarray],
    out: Path,
    video: Path | None,
    overlay: bool = True,
) -> list[Path]:
    """Write all files into a folder; they appear together, once all of them are complete.

    Args:
        results: of each span that shows the person, in order of time. errors: from `video_errors`.
        video: for the recording and the overlay. overlay: draw body and keypoints over the video.

    Returns:
        reconstruction.npz (AMASS convention) and .bvh, in parts where the motion is interrupted (`whole_parts`), rollout.npz, track.npz
        (observations of the policy, with the camera) and reconstruction.rrd, each with the segment's number if there are several
        (reconstruction_2.npz); errors.csv, and overlay.mp4 if there is a video, over its whole length.

    Raises:
        KitError: the folder cannot be written.
    """
    home = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".reconstruct-", dir=home) as draft:
            _write_all(results, errors, Path(draft), video, overlay)
            out.mkdir(parents=True, exist_ok=True)
            files = sorted(Path(draft).iterdir())
            for old in out.iterdir():
                if _OURS.fullmatch(old.name):  # of an earlier reconstruction with other segments or parts
                    old.unlink()
            for file in files:
                os.replace(file, out / file.name)
            return [out / file.name for file in files]
    except OSError as fault:
        raise KitError(f"{out}: cannot be written ({fault.strerror or fault})") from fault


def _write_all(
    results: Sequence[Reconstruction], errors: dict[str, np.ndarray], folder: Path, video: Path | None, overlay: bool
) -> None:
    for number, result in enumerate(results, 1):
        _write_segment(result, folder, f"_{number}" if len(results) > 1 else "", video)
    with open(folder / "errors.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(errors)
        writer.writerows(zip(*(_numbers(values) for values in errors.values()), strict=True))
    if video and overlay:
        parts = [
            Drawn(r.rollout.simulated, r.track.camera, r.track.first, r.restart_frames, r.track.keypoints)
            for r in results
        ]
        write_overlay(video, folder / "overlay.mp4", parts, results[0].track.fps)


def _write_segment(result: Reconstruction, folder: Path, mark: str, video: Path | None) -> None:
    body, track = result.rollout.simulated, result.track
    clip = Clip.from_joints(body.root_pos, local_rotations(body.body_rot), track.fps, track.name + mark)
    for name, part in whole_parts(clip, result.restart_frames, f"reconstruction{mark}"):
        part.save(folder / f"{name}.npz")
        write_bvh(part, folder / f"{name}.bvh")
    result.rollout.save(folder / f"rollout{mark}.npz")
    track.save(folder / f"track{mark}.npz")
    images = video_frames(video) if video else None
    recording.record_rollout(folder / f"reconstruction{mark}.rrd", result.rollout, track, images)


def whole_parts(clip: Clip, restarts: list[int], stem: str = "reconstruction") -> list[tuple[str, Clip]]:
    """Cut a reconstruction where the body was reset or jumps, into (name, clip) that pass the checks on imported motion.

    Parts shorter than `MIN_FRAMES` are left out; if there are no others, the whole reconstruction is returned.
    """
    jumps = {frame + 1 for frame in teleports(clip.root_pos, clip.joint_rot, clip.fps)[0]}
    borders = [0, *sorted(jumps | set(restarts)), len(clip)]
    parts = [clip.cut(start, stop) for start, stop in pairwise(borders) if stop - start >= MIN_FRAMES]
    if len(parts) < 2:
        return [(stem, parts[0] if parts else clip)]
    return [(f"{stem}_part{n}", part) for n, part in enumerate(parts, start=1)]


def _numbers(values: np.ndarray) -> list:
    return [v if isinstance(v, int) else "" if np.isnan(v) else round(v, 3) for v in values.tolist()]
