"""Several rollouts of one motion in one recording, each in a view of its own: before and after, with and without physics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.viewer import bodies, plots
from physhmr_kit.viewer.blueprint import chart_view, eye, eye_above, scene_view, whole
from physhmr_kit.viewer.palette import GHOST, SERIES, SIMULATED
from physhmr_kit.viewer.shapes import humanoid_shapes


def log_comparison(rec: rr.RecordingStream, rollouts: Mapping[str, Any], track=None) -> rrb.Blueprint:
    """Log rollouts into an open recording and return their layout: a view for each, the paths from above, and one chart.

    Args:
        rollouts: label -> rollout, see `env.rollout.Rollout`; a reference that differs from the body is drawn as its ghost.
        track: what they followed; the chart then shows the distance from its rays, otherwise from each rollout's reference.
    """
    rec.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    shapes, first = humanoid_shapes(), 0 if track is None else track.first
    views: list[rrb.Spatial3DView] = []
    errors: dict[str, np.ndarray] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    longest = bodies.Times.steady(0, 30.0)
    for number, (label, rollout) in enumerate(rollouts.items()):
        body, colour = rollout.simulated, SERIES[number % len(SERIES)]
        times = bodies.Times.steady(len(body), rollout.fps, first)
        longest = max(longest, times, key=len)
        place, root = f"world/{label}", np.asarray(body.root_pos, np.float64)
        bodies.log_solid(rec, f"{place}/body", times, body.body_pos, body.body_rot, shapes, SIMULATED)
        bodies.log_path(rec, f"world/paths/{label}", root, colour)
        bodies.log_follow_target(rec, f"{place}/followed", times, root)
        apart = _from_reference(rollout)
        if apart is not None and np.nanmax(apart) > 1.0:
            ghost = rollout.reference[: len(body)]
            bodies.log_solid(rec, f"{place}/reference", times, ghost.body_pos, ghost.body_rot, shapes, GHOST)
        measured = apart if track is None else _from_rays(rollout, track)
        if measured is not None:
            errors[label], colours[label] = measured, colour
        views.append(scene_view(label, [f"+ $origin/{label}/**"], eye(root, f"{place}/followed")))
    padded = {
        name: np.pad(values, (0, len(longest) - len(values)), constant_values=np.nan) for name, values in errors.items()
    }
    charts = plots.log_errors(rec, longest, padded, colours)
    every = np.concatenate([np.asarray(r.simulated.root_pos, np.float64) for r in rollouts.values()])
    above = scene_view("Paths", ["+ $origin/paths/**"], eye_above(every))
    below = rrb.Horizontal(above, *map(chart_view, charts))
    return whole(rrb.Vertical(rrb.Horizontal(*views), below, row_shares=[3, 2]), longest.fps)


def _from_reference(rollout) -> np.ndarray | None:
    """Mean distance of the bodies from the reference, (T,) mm; None without a reference."""
    if rollout.reference is None:
        return None
    return plots.body_error(rollout.simulated.body_pos, rollout.reference.body_pos[: len(rollout.simulated)])


def _from_rays(rollout, track) -> np.ndarray:
    """Mean distance of the joints from the rays, (T,) mm."""
    count = min(len(rollout.simulated), len(track.keypoints))
    rays = track.centre[:count], track.ray_point[:count], track.ray_confidence[:count]
    return np.asarray(ray_distance(rollout.simulated.body_pos[:count], *rays).nanmean(1))
