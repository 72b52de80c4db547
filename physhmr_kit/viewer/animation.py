"""Animated pictures for READMEs: detected keypoints, the simulated body over the video, and the simulation with its rays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.library import states_of
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.viewer.frames import frames_at
from physhmr_kit.viewer.overlay import BodyOverlay, is_shown
from physhmr_kit.viewer.palette import BACKGROUND, DETECTED, GRID
from physhmr_kit.viewer.track_picture import floor_lines
from physhmr_kit.viewer.viewpoint import ray_tips, viewpoint
from physhmr_kit.vision.camera import Camera

KINDS = {".gif": "GIF", ".webp": "WEBP"}
"""Suffixes of animated pictures, and their format names in Pillow."""

_GAP = 8  # pixels between the panels
_ASPECT = 1.6  # width over height of the simulation panel
_MARGIN = 0.12  # around the person, relative to the larger side of the box of all keypoints


def animate(
    path: str | os.PathLike,
    motion,
    track=None,
    video: str | os.PathLike | None = None,
    *,
    fps: float = 15.0,
    height: int = 320,
) -> Path:
    """Write a looping animation, atomically.

    Args:
        path: .gif or .webp; .webp is about a quarter of the size.
        motion: a rollout or a `Clip`.
        track: the `vision.track.VisualTrack` that a rollout followed; adds rays to the simulation and two panels cropped to the
            person: the keypoints, and the simulated body over them.
        video: of the track, drawn behind its panels; default: a plain background.
        fps: frames per second. height: pixels.

    Raises:
        KitError: another suffix, or a video that cannot be read or has another size than the track.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise KitError(f"{path}: unknown kind of animation; use .webp or .gif")
    body, rate = _body(motion)
    count = len(body) if track is None else min(len(body), len(track))
    frames = np.arange(0, count, max(1.0, rate / fps)).round().astype(int)
    frames = frames[frames < count]
    panels = [_simulation(body[:count], track, frames, height)]
    if track is not None:
        panels = [*_camera_panels(body[:count], track, frames, video, height), *panels]
    pictures = [_side_by_side(row) for row in zip(*panels, strict=True)]
    options = {"quality": 70, "method": 4} if path.suffix == ".webp" else {"optimize": True}
    with atomic(path) as part:
        first, *others = pictures
        duration = round(1000 / fps)
        first.save(part, KINDS[path.suffix], save_all=True, append_images=others, duration=duration, loop=0, **options)
    return path


def _body(motion) -> tuple[BodyState, float]:
    """The simulated body of a rollout, or the body of a clip, and its frames per second."""
    if isinstance(motion, Clip):
        return states_of(motion, mean_offsets()), CONTROL_FPS
    return motion.simulated, motion.fps


def _camera_panels(body: BodyState, track, frames: np.ndarray, video, height: int) -> Iterator[list[Image.Image]]:
    """Two panels: the keypoints over the video, and the simulated body over both."""
    box = person_box(track.keypoints)
    camera = _crop(track.camera, box)
    keypoints = track.keypoints - torch.tensor([*box[:2], 0.0])
    width, tall = camera.image_size
    overlay = BodyOverlay(body, camera, max(2, round(height * min(1.0, width / tall))), keypoints)
    size = round(height * overlay.size[0] / overlay.size[1]), height
    images = _background(video, track, frames, box, overlay.size)
    pictures = [
        (overlay.draw_keypoints(image, frame), overlay.draw(image, frame))
        for frame, image in zip(frames.tolist(), images, strict=True)
    ]
    for panel in zip(*pictures, strict=True):
        yield [picture.resize(size, Image.Resampling.LANCZOS) for picture in panel]  # overlays have even sizes


def person_box(keypoints: torch.Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in pixels, of all visible keypoints (T, 17, 3), with a margin."""
    seen = keypoints[is_shown(keypoints)][:, :2]
    low, high = seen.amin(0), seen.amax(0)
    margin = _MARGIN * float((high - low).max())
    (left, top), (right, bottom) = (low - margin).int().tolist(), (high + margin).int().tolist()
    return left, top, right, bottom


def _crop(camera: Camera, box: tuple[int, int, int, int]) -> Camera:
    """The camera of a cropped image: box is left, top, right, bottom in pixels."""
    K = camera.K.clone()
    K[..., 0, 2] -= box[0]
    K[..., 1, 2] -= box[1]
    return replace(camera, K=K, image_size=(box[2] - box[0], box[3] - box[1]))


def _background(video, track, frames: np.ndarray, box, size: tuple[int, int]) -> Iterator[Image.Image]:
    """The video at some frames of the track, cropped and scaled; plain without a video."""
    plain = Image.new("RGB", size, BACKGROUND)
    if video is None:
        yield from (plain for _ in frames)
        return
    for image in frames_at(video, (track.first + frames) / track.fps, track.fps):
        if image is not None and image.shape[1::-1] != tuple(track.image_size):
            raise KitError(f"{video}: {image.shape[1]}x{image.shape[0]}, but the track is of a video of another size")
        yield plain if image is None else Image.fromarray(image).crop(box).resize(size, Image.Resampling.BILINEAR)


def _simulation(body: BodyState, track, frames: np.ndarray, height: int) -> list[Image.Image]:
    """The body in the world, seen from the side, with floor, camera and rays."""
    root = body.root_pos.numpy()
    centre = None if track is None else np.asarray(track.centre).mean(0)
    position, target = viewpoint(root, centre)
    if centre is None:  # the viewpoint is fixed: move it back until it shows the whole path
        reach = float(np.ptp(root, axis=0).max())
        target = (root.min(0) + root.max(0)) / 2
        position = target + (1 + 0.5 * reach) * (position - root[0])
    size = round(_ASPECT * height / 2) * 2, height
    camera = Camera.look_at(position, target, focal=height / (2 * np.tan(np.deg2rad(21))), image_size=size)
    overlay = BodyOverlay(body, camera, height)
    ground = Image.new("RGB", overlay.size, BACKGROUND)
    draw = ImageDraw.Draw(ground)
    for line in floor_lines(camera, torch.tensor(root.mean(0))):
        draw.line(line.flatten().tolist(), fill=GRID)
    if track is None:
        return [overlay.draw(ground, frame) for frame in frames.tolist()]
    return [overlay.draw(_with_rays(ground, camera, track, body, frame), frame) for frame in frames.tolist()]


def _with_rays(ground: Image.Image, camera: Camera, track, body: BodyState, frame: int) -> Image.Image:
    """Draw the video's camera as a frustum and its rays through the keypoints over a picture of the floor."""
    picture = ground.copy()
    draw, film, now = ImageDraw.Draw(picture), track.camera.at(frame), slice(frame, frame + 1)
    centre, (width, height) = film.centre, film.image_size
    tips, shown = ray_tips(centre[None], track.ray_point[now], track.ray_confidence[now], body.root_pos[now])
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    depth = 0.2 * (body.root_pos[frame] - centre).norm()
    corners = film.unproject(corners, depth.expand(4))
    lines = [(centre, end) for end in (*torch.from_numpy(tips[shown]), *corners)]
    lines += zip(corners, corners.roll(1, 0), strict=True)
    for ends in lines:
        points = torch.stack(ends)
        if (camera.to_camera(points)[:, 2] > 0.1).all():
            draw.line(camera.project(points).flatten().tolist(), fill=DETECTED)
    return picture


def _side_by_side(panels) -> Image.Image:
    """Panels of equal height in a row, on white."""
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    row, left = Image.new("RGB", (width, panels[0].height), "white"), 0
    for panel in panels:
        row.paste(panel, (left, 0))
        left += panel.width + _GAP
    return row
