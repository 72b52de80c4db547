"""Quality of a reconstruction: errors of each frame, and a summary in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from physhmr_kit.metrics.plausibility import plausibility
from physhmr_kit.metrics.reprojection import ray_distance, reprojection_error
from physhmr_kit.motion.following import is_upright
from physhmr_kit.reconstruction.simulate import Reconstruction
from physhmr_kit.vision.presence import UNSEEN, visibility


def errors_over_time(result: Reconstruction) -> dict[str, np.ndarray]:
    """Distances of the body from the detected keypoints and from the estimate, for each frame.

    Returns:
        frame and seconds of the video, ray_distance_mm and reprojection_px (means over the confident keypoints; NaN without
        any), estimate_ray_distance_mm and estimate_reprojection_px (the same for the estimate), from_estimate_mm (mean over
        24 bodies), upright and restart (0 or 1; a frame in which the body was reset is not upright). All (T,).
    """
    track, body, estimate = result.track, result.rollout.simulated, result.rollout.reference
    rays = track.centre, track.ray_point, track.ray_confidence
    count = len(track)
    frame = torch.arange(track.first, track.first + count)
    columns = {"frame": frame, "seconds": frame / track.fps}
    for name, state in (("", body), ("estimate_", estimate)):
        columns[f"{name}ray_distance_mm"] = ray_distance(state.body_pos, *rays).nanmean(1)
        pixels = reprojection_error(state.body_pos, state.body_rot, track.keypoints, track.camera)
        columns[f"{name}reprojection_px"] = pixels.nanmean(1)
    columns["from_estimate_mm"] = 1000 * (body.body_pos - estimate.body_pos).norm(dim=-1).mean(-1)
    restarted = torch.zeros(count, dtype=torch.bool)
    restarted[result.restart_frames] = True
    columns |= {"upright": (is_upright(body.body_pos) & ~restarted).long(), "restart": restarted.long()}
    return {name: values.numpy() for name, values in columns.items()}


def video_errors(results: Sequence[Reconstruction], frames: int) -> dict[str, np.ndarray]:
    """`errors_over_time` of all segments, on the frames of the video at 30 fps.

    Returns:
        the same columns, each (frames,), and segment: 1 for the first, 0 in frames that do not show the person, where errors
        are NaN, and upright and restart 0.
    """
    tables = [errors_over_time(result) for result in results]
    frames = max(frames, 1 + int(tables[-1]["frame"][-1]))  # rounding, where a cut lies between two frames
    fps = results[0].track.fps
    merged = {"frame": np.arange(frames), "seconds": np.arange(frames) / fps, "segment": np.zeros(frames, int)}
    for name, values in tables[0].items():
        if name not in merged:
            merged[name] = np.full(frames, np.nan) if values.dtype.kind == "f" else np.zeros(frames, values.dtype)
    for number, table in enumerate(tables, 1):
        rows = table["frame"]
        merged["segment"][rows] = number
        for name in set(table) - {"frame", "seconds"}:
            merged[name][rows] = table[name]
    return merged


def summary(results: Sequence[Reconstruction], errors: dict[str, np.ndarray]) -> list[str]:
    """The printed summary of a reconstruction, line by line; `errors` from `video_errors`."""
    track, count = results[0].track, len(errors["frame"])
    width, height = track.image_size
    scales = " and ".join(dict.fromkeys(f"{result.track.scale:.2f}" for result in results))
    median = {name: float(np.nanmedian(values)) for name, values in errors.items()}
    first_lines = [
        f"{track.name}: {count} frames at {track.fps:g} fps, {count / track.fps:.1f} s; "
        f"the world is divided by {scales} so that the mean-shape humanoid fits",
        *_seen(results, count),
    ]
    if results[0].method == "kinematic":
        return [
            *first_lines,
            f"the estimate, without physics; reprojection error, median: {median['reprojection_px']:.0f} px of a "
            f"{width}x{height} image; distance from the rays, median: {median['ray_distance_mm']:.0f} mm",
        ]
    resets = [f"{why} at {result.seconds(frame):.2f} s" for result in results for frame, why in result.restarts]
    longest = max(b - a for r in results for a, b in pairwise([0, *r.restart_frames, len(r.track)]))
    return [
        *first_lines,
        f"reprojection error, median: {median['reprojection_px']:.0f} px of a {width}x{height} image "
        f"(the estimate without physics: {median['estimate_reprojection_px']:.0f} px)",
        f"distance from the rays, median: {median['ray_distance_mm']:.0f} mm (the estimate's: {median['estimate_ray_distance_mm']:.0f} mm); "
        "errors along the rays cannot be measured without ground truth",
        f"upright in {100 * errors['upright'][errors['segment'] > 0].mean():.0f} % of the frames, reset to the estimate {len(resets)} time(s)"
        + (f": {', '.join(resets)}; at most {longest / track.fps:.1f} s without a reset" if resets else ""),
        f"largest assistive force: {max(result.assist for result in results):.0f} N",
        *_plausible(results),
    ]


_SHOWN = {
    "foot_sliding": "feet slide {} cm/s", "floating": "float {} mm", "penetration": "sink {} mm", "jitter": "jitter {} x 10 m/s³",
    "self_penetration": "self-penetration {} mm", "off_balance": "off balance {} %",
}  # fmt: skip


def _plausible(results: Sequence[Reconstruction]) -> list[str]:
    """Plausibility of the estimate and of the simulated body, which needs no ground truth (`metrics.plausibility`)."""
    lines = []
    sides = {"before, the estimate without physics": "reference", "after, the simulated body": "simulated"}
    for label, side in sides.items():
        values = [plausibility(getattr(result.rollout, side)) for result in results]
        means = {name: torch.cat([v[name] for v in values]).mean() for name in _SHOWN}
        shown = {name: "-" if mean.isnan() else f"{mean:.1f}" for name, mean in means.items()}
        lines.append(f"{label}: " + ", ".join(words.format(shown[name]) for name, words in _SHOWN.items()))
    return lines


def _seen(results: Sequence[Reconstruction], count: int) -> list[str]:
    """The share of the video that shows the person, and the spans; empty if one shot shows the person all the time."""
    tracks = [result.track for result in results]
    seen = sum(int((visibility(track.keypoints) > UNSEEN).sum()) for track in tracks)
    if seen == count and len(results) == 1:
        return []
    spans = [f"{r.seconds(0):.1f} to {r.seconds(len(r.track)):.1f} s" for r in results]
    line = f"seen in {100 * seen / count:.0f} % of the video, from {', '.join(spans)}"
    if len(spans) > 1:
        line += "; the files of a segment end in its number"
    return [line]
