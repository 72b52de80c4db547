"""Draws a visual track for inspection: keypoints, body, horizon and floor over a few frames of the video."""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from matplotlib.figure import Figure

from physhmr_kit.motion.state import BodyState
from physhmr_kit.viewer.frames import frames_at
from physhmr_kit.viewer.palette import CONTACT, DETECTED, GRID, SIMULATED, unit
from physhmr_kit.viewer.picture import save_figure
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_BONES, coco_from_bodies
from physhmr_kit.vision.track import VisualTrack

_REACH = 2  # metres; half the side of the drawn floor


def track_picture(
    track: VisualTrack,
    body: BodyState,
    video: str | os.PathLike | None = None,
    path: str | os.PathLike | None = None,
    frames: int = 4,
) -> Figure:
    """Draw a track.

    Args:
        body: T frames, e.g. of `reconstruction.track_check`.
        video: drawn in the background.
        path: file to write (.png, .svg or .pdf), atomically; None to return the figure only.
        frames: number of frames, at even intervals.

    Returns:
        keypoints in green, the body in blue, the horizon in red, the floor around the person as a grid of metres.

    Raises:
        KitError: a video that cannot be read.
    """
    at = np.unique(np.linspace(0, len(track) - 1, frames).round().astype(int))
    pictures = frames_at(video, (track.first + at) / track.fps, track.fps) if video else [None] * len(at)
    width, height = track.image_size
    figure = Figure(figsize=(3.2 * len(at) * min(1.6, width / height) + 0.2, 3.6), layout="constrained")
    for axes, frame, picture in zip(figure.subplots(1, len(at), squeeze=False)[0], at, pictures, strict=True):
        camera = track.camera.at(int(frame))
        if picture is not None:
            axes.imshow(picture, extent=(0, width, height, 0))
        for line in floor_lines(camera, body.root_pos[frame]):
            axes.plot(*line.T, color=unit(GRID), linewidth=0.8)
        horizon = horizon_line(camera)
        if horizon is not None:
            axes.plot(*horizon.T, color=unit(CONTACT), linewidth=1.2, linestyle="--")
        projected = camera.project(coco_from_bodies(body.body_pos[frame], body.body_rot[frame]))
        for points, colour in ((track.keypoints[frame, :, :2], DETECTED), (projected, SIMULATED)):
            for pair in COCO_BONES:
                axes.plot(*points[list(pair)].T.numpy(), color=unit(colour), linewidth=1.6)
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"{frame / track.fps:.1f} s", fontsize=9)
    if path is not None:
        save_figure(figure, path, dpi=110)
    return figure


def floor_lines(camera: Camera, around: torch.Tensor) -> list[np.ndarray]:
    """Project a grid of metres on the floor around a point (3,) m: polylines (K, 2) pixels, only what is in front of the camera."""
    middle = around[:2].round()
    steps = torch.arange(-_REACH, _REACH + 1).float()
    fine = torch.linspace(-_REACH, _REACH, 17)
    lines = []
    for offset in steps:
        for along in (0, 1):
            line = torch.zeros(len(fine), 3)
            line[:, along], line[:, 1 - along] = middle[along] + fine, middle[1 - along] + offset
            front = camera.to_camera(line)[:, 2] > 0.2
            if front.sum() > 1:
                lines.append(camera.project(line[front]).numpy())
    return lines


def horizon_line(camera: Camera) -> np.ndarray | None:
    """The horizon of a camera as two points of the image (2, 2) pixels, or None if out of view; without lens distortion."""
    up = camera.R[:, 2]  # world up in the camera frame
    a, b, c = (torch.linalg.inv(camera.K).T @ up).tolist()  # a u + b v + c = 0
    width, height = camera.image_size
    if abs(b) > abs(a):
        ends = np.array([[u, -(a * u + c) / b] for u in (0.0, float(width))])
        inside = ends[:, 1].max() > 0 and ends[:, 1].min() < height
    elif math.hypot(a, b) > 1e-9:
        ends = np.array([[-(b * v + c) / a, v] for v in (0.0, float(height))])
        inside = ends[:, 0].max() > 0 and ends[:, 0].min() < width
    else:
        return None
    return ends if inside else None
