"""Several rollouts of one motion side by side in one recording, e.g. before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.viewer import bodies, plots
from physhmr_kit.viewer.blueprint import chart_view, eye, eye_above, playing, scene_view
from physhmr_kit.viewer.palette import GHOST, SERIES, SIMULATED
from physhmr_kit.viewer.shapes import humanoid_shapes


def log_comparison(rec: rr.RecordingStream, rollouts: Mapping[str, Any], track=None) -> rrb.Blueprint:
    """Log rollouts to an open recording and return its layout: a view for each, the paths from above, and one chart.

    Args:
        rollouts: label -> `env.rollout.Rollout`; a reference more than 1 mm away from the body is drawn as well.
        track: the visual track that was followed; the chart then shows the distance from its rays instead of the reference.
    """
    rec.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    shapes, first = humanoid_shapes(), 0 if track is None else track.first
    views: list[rrb.Spatial3DView] = []
    errors: dict[str, np.ndarray] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    longest = bodies.Times.uniform(0, 30.0)
    for number, (label, rollout) in enumerate(rollouts.items()):
        body, colour = rollout.simulated, SERIES[number % len(SERIES)]
        times = bodies.Times.uniform(len(body), rollout.fps, first)
        longest = max(longest, times, key=len)
        entity, root = f"world/{label}", np.asarray(body.root_pos, np.float64)
        bodies.log_solid(rec, f"{entity}/body", times, body.body_pos, body.body_rot, shapes, SIMULATED)
        bodies.log_path(rec, f"world/paths/{label}", root, colour)
        bodies.log_follow_target(rec, f"{entity}/followed", times, root)
        if rollout.reference is not None:
            reference = rollout.reference[: len(body)]
            errors[label] = plots.body_error(body.body_pos, reference.body_pos)
            if np.nanmax(errors[label]) > 1.0:
                bodies.log_solid(
                    rec, f"{entity}/reference", times, reference.body_pos, reference.body_rot, shapes, GHOST
                )
        if track is not None:
            count = min(len(body), len(track.keypoints))
            rays = track.centre[:count], track.ray_point[:count], track.ray_confidence[:count]
            errors[label] = np.asarray(ray_distance(body.body_pos[:count], *rays).nanmean(1))
        colours[label] = colour
        views.append(scene_view(label, [f"+ $origin/{label}/**"], eye(root, f"{entity}/followed")))
    padded = {
        name: np.pad(values, (0, len(longest) - len(values)), constant_values=np.nan) for name, values in errors.items()
    }
    charts = plots.log_errors(rec, longest, padded, colours)
    every_root = np.concatenate([np.asarray(r.simulated.root_pos, np.float64) for r in rollouts.values()])
    above = scene_view("Paths", ["+ $origin/paths/**"], eye_above(every_root))
    below = rrb.Horizontal(above, *map(chart_view, charts))
    return playing(rrb.Vertical(rrb.Horizontal(*views), below, row_shares=[3, 2]), longest.fps)
