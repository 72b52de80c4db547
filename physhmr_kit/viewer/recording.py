"""Writes clips, rollouts and comparisons of rollouts as Rerun recordings (.rrd)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.files import atomic
from physhmr_kit.viewer import bodies, camera_view, plots
from physhmr_kit.viewer.about import about
from physhmr_kit.viewer.blueprint import make_blueprint
from physhmr_kit.viewer.comparison import log_comparison
from physhmr_kit.viewer.palette import GHOST, REFERENCE, SIMULATED
from physhmr_kit.viewer.shapes import humanoid_shapes

FOLLOWED = "world/followed"
"""The entity that the viewpoint follows."""
APPLICATION = "physhmr_kit"
"""Rerun's application id of our recordings."""


def record_rollout(path: str | os.PathLike, rollout, track=None, images: Iterable | None = None) -> Path:
    """Write a rollout as an .rrd with its layout, atomically.

    Args:
        path: the file to write.
        rollout: an `env.rollout.Rollout`; reference, rewards, contact_force and success may be None.
        track: the `vision.track.VisualTrack` that the policy observed; times are then those of the video.
        images: pairs (seconds, (H, W, 3) uint8) of the video, e.g. `frames.video_frames(path)`.
    """
    return _write(path, rollout.name, lambda rec: log_rollout(rec, rollout, track, images))


def record_clip(path: str | os.PathLike, clip: Clip) -> Path:
    """Write a clip as an .rrd with its layout, atomically."""
    return _write(path, clip.name, lambda rec: log_clip(rec, clip))


def record_comparison(path: str | os.PathLike, rollouts: Mapping[str, Any], track=None) -> Path:
    """Write several rollouts of one motion side by side as an .rrd, atomically; arguments as in `log_comparison`."""
    return _write(path, " / ".join(rollouts), lambda rec: log_comparison(rec, rollouts, track))


def record(path: str | os.PathLike, motion, track=None, images: Iterable | None = None) -> Path:
    """Write a clip or a rollout as an .rrd."""
    return record_clip(path, motion) if isinstance(motion, Clip) else record_rollout(path, motion, track, images)


def log_rollout(rec: rr.RecordingStream, rollout, track=None, images: Iterable | None = None) -> rrb.Blueprint:
    """Log a rollout to an open recording and return its layout; arguments as in `record_rollout`."""
    reference, rewards = rollout.reference, rollout.rewards or {}
    count = len(rollout.simulated) if reference is None else min(len(rollout.simulated), len(reference))
    first = 0 if track is None else track.first
    times, simulated = bodies.Times.uniform(count, rollout.fps, first), rollout.simulated[:count]
    errors, centre, shapes = {}, None, humanoid_shapes()
    rec.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    bodies.log_solid(rec, "world/simulated", times, simulated.body_pos, simulated.body_rot, shapes, SIMULATED)
    bodies.log_path(rec, "world/path/simulated", simulated.root_pos, SIMULATED)
    entities = ["world/simulated", "world/path"]
    if reference is not None:
        reference = reference[:count]
        bodies.log_solid(rec, "world/reference", times, reference.body_pos, reference.body_rot, shapes, GHOST)
        bodies.log_path(rec, "world/path/reference", reference.root_pos, REFERENCE)
        errors["body"] = plots.body_error(simulated.body_pos, reference.body_pos)
        entities += ["world/reference", "errors/body"]
    if rollout.contact_force is not None:
        bodies.log_contacts(rec, "world/contacts", times, simulated.body_pos, rollout.contact_force[:count])
        entities.append("world/contacts")
    if track is not None:
        errors["rays"] = _log_track(rec, times, track, simulated, images)
        centre = np.asarray(track.centre)[:count].mean(0)
        entities += ["world/camera", "world/rays", "errors/rays"]
    terms = plots.log_rewards(rec, times, {name: np.asarray(values)[:count] for name, values in rewards.items()})
    entities += [chart.origin for chart in terms]
    _log_about(rec, rollout.name, entities, _outcome(rollout, count, errors))
    root = np.asarray(simulated.root_pos)
    bodies.log_follow_target(rec, FOLLOWED, times, root)
    charts = [*plots.log_errors(rec, times, errors), *terms]
    return make_blueprint(root, FOLLOWED, camera_centre=centre, charts=charts, fps=rollout.fps)


def log_clip(rec: rr.RecordingStream, clip: Clip) -> rrb.Blueprint:
    """Log a clip, as a reference motion, to an open recording and return its layout."""
    times = bodies.Times.uniform(len(clip), clip.fps)
    humanoid = Humanoid.mean()
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, humanoid.offsets)
    rec.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    bodies.log_solid(rec, "world/reference", times, pos, rot, humanoid_shapes(humanoid), REFERENCE)
    bodies.log_path(rec, "world/path/reference", clip.root_pos, REFERENCE)
    bodies.log_follow_target(rec, FOLLOWED, times, clip.root_pos)
    note = f"{len(clip)} frames at {clip.fps:g} fps, {clip.duration:.1f} s."
    _log_about(rec, clip.name, ["world/reference", "world/path"], note)
    return make_blueprint(clip.root_pos.numpy(), FOLLOWED, fps=clip.fps)


def _log_track(rec, times: bodies.Times, track, simulated, images) -> np.ndarray:
    """Log camera, images, keypoints and rays; returns the distance of the body from the rays, (T,) mm, NaN after the track ends."""
    count = min(len(times), len(track.keypoints))
    track_times = bodies.Times(times.seconds[:count], times.fps)
    camera, pos = track.camera.at(slice(count)), simulated.body_pos[:count]
    centre, point, confidence = track.centre[:count], track.ray_point[:count], track.ray_confidence[:count]
    distance = float(np.linalg.norm(np.asarray(pos[:, 0]) - np.asarray(centre), axis=-1).mean())
    camera_view.log_camera(rec, "world/camera", track_times, camera, size=0.25 * distance)
    if images is not None:
        camera_view.log_images(rec, "world/camera/image", track_times, images, camera)
    camera_view.log_keypoints(rec, "world/camera/keypoints", track_times, track.keypoints[:count], camera)
    camera_view.log_overlay(rec, "world/camera/simulated", track_times, camera, pos, SIMULATED)
    camera_view.log_rays(rec, "world/rays", track_times, centre, point, confidence, pos[:, 0])
    error = np.full(len(times), np.nan)
    error[:count] = ray_distance(pos, centre, point, confidence).nanmean(1)
    return error


def _log_about(rec: rr.RecordingStream, title: str, entities: list[str], note: str) -> None:
    rec.log("about", rr.TextDocument(about(title, entities, note), media_type="text/markdown"), static=True)


def _outcome(rollout, count: int, errors: dict[str, np.ndarray]) -> str:
    words = [f"{count} frames at {rollout.fps:g} fps"]
    if rollout.success is not None:
        words.append("tracked to the end" if rollout.success else f"lost at frame {rollout.fail_frame}")
    if "body" in errors:
        words.append(f"mean body error {np.nanmean(errors['body']):.0f} mm")
    return ", ".join(words) + "."


def _write(path: str | os.PathLike, name: str, log: Callable[[rr.RecordingStream], rrb.Blueprint]) -> Path:
    rec = rr.RecordingStream(APPLICATION)
    rec.send_recording_name(name)
    layout = log(rec)  # buffered until the file is opened, so that the layout comes first in it
    with atomic(path) as part:
        try:
            rec.save(part, default_blueprint=layout)
            rec.flush()
        finally:
            rec.disconnect()
    return Path(path)
