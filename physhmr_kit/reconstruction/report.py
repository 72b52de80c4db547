"""The quality of a reconstruction: figures frame by frame, and a summary in a few lines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from physhmr_kit.metrics.reprojection import ray_distance, reprojection_error
from physhmr_kit.motion.following import is_upright
from physhmr_kit.reconstruction.simulate import Reconstruction


def errors_over_time(result: Reconstruction) -> dict[str, np.ndarray]:
    """One row for each frame: how far the body is from the detected keypoints and from the estimate.

    Returns:
        frame, seconds, ray_distance_mm and reprojection_px (means over the confident keypoints; NaN where there is none),
        estimate_ray_distance_mm and estimate_reprojection_px (the same of the estimate), from_estimate_mm (mean over 24
        bodies), upright and restart (0 or 1; a frame in which the body was reset is not upright). All (T,).
    """
    track, body, estimate = result.track, result.rollout.simulated, result.rollout.reference
    rays = track.centre, track.ray_point, track.ray_confidence
    count = len(track)
    columns = {"frame": torch.arange(count), "seconds": torch.arange(count) / track.fps}
    for name, state in (("", body), ("estimate_", estimate)):
        columns[f"{name}ray_distance_mm"] = ray_distance(state.body_pos, *rays).nanmean(1)
        pixels = reprojection_error(state.body_pos, state.body_rot, track.keypoints, track.camera)
        columns[f"{name}reprojection_px"] = pixels.nanmean(1)
    columns["from_estimate_mm"] = 1000 * (body.body_pos - estimate.body_pos).norm(dim=-1).mean(-1)
    restarted = torch.zeros(count, dtype=torch.bool)
    restarted[[frame for frame, _ in result.restarts]] = True
    columns |= {"upright": (is_upright(body.body_pos) & ~restarted).long(), "restart": restarted.long()}
    return {name: values.numpy() for name, values in columns.items()}


def summary(result: Reconstruction, errors: dict[str, np.ndarray]) -> list[str]:
    """What to know before trusting the result, line by line."""
    track, count = result.track, len(result.track)
    width, height = track.image_size
    median = {name: float(np.nanmedian(values)) for name, values in errors.items()}
    first_line = (
        f"{track.name}: {count} frames at {track.fps:g} fps, {count / track.fps:.1f} s; "
        f"the world is divided by {track.scale:.2f} so that the mean-shape humanoid fits"
    )
    if result.method == "kinematic":
        return [
            first_line,
            f"the estimate, without physics; reprojection error, median: {median['reprojection_px']:.0f} px of a "
            f"{width}x{height} image; distance from the rays, median: {median['ray_distance_mm']:.0f} mm",
        ]
    resets = ", ".join(f"{why} at {frame / track.fps:.2f} s" for frame, why in result.restarts)
    longest = max(b - a for a, b in pairwise([0, *(frame for frame, _ in result.restarts), count])) / track.fps
    return [
        first_line,
        f"reprojection error, median: {median['reprojection_px']:.0f} px of a {width}x{height} image "
        f"(the estimate without physics: {median['estimate_reprojection_px']:.0f} px)",
        f"distance from the rays, median: {median['ray_distance_mm']:.0f} mm (the estimate's: {median['estimate_ray_distance_mm']:.0f} mm); "
        "errors along the rays cannot be measured without ground truth",
        f"upright in {100 * errors['upright'].mean():.0f} % of the frames, reset to the estimate {len(result.restarts)} time(s)"
        + (f": {resets}; at most {longest:.1f} s without a reset" if resets else ""),
        f"largest assistive force: {result.assist:.0f} N",
    ]
