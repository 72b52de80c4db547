"""A moving picture for a README: what the camera saw, the simulated body over it, and the simulation beside its rays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.viewer.frames import video_frames
from physhmr_kit.viewer.overlay import BodyOverlay
from physhmr_kit.viewer.palette import BACKGROUND, DETECTED, GRID, MIN_SHOWN
from physhmr_kit.viewer.track_picture import floor_lines
from physhmr_kit.viewer.viewpoint import ray_tips, viewpoint
from physhmr_kit.vision.camera import Camera

KINDS = {".gif": "GIF", ".webp": "WEBP"}
"""Suffixes of moving pictures, and what Pillow calls them."""

_GAP = 8  # pixels between the panels
_WIDE = 1.6  # width of the simulation's panel over its height
_MARGIN = 0.12  # around the person, as a share of the box of all keypoints


def animate(
    path: str | os.PathLike,
    motion,
    track=None,
    video: str | os.PathLike | None = None,
    *,
    fps: float = 15.0,
    height: int = 320,
) -> Path:
    """Write a moving picture that repeats; it appears whole or not at all.

    Args:
        path: .gif or .webp; .webp is about a quarter of the size.
        motion: a rollout or a `Clip`.
        track: what a rollout followed, see `vision.track.VisualTrack`: two more panels, the keypoints and the simulated body over
            them, both cut to the person, and rays in the simulation. video: the film of the track, drawn beneath; a plain
            background when omitted.
        fps: pictures a second. height: pixels.

    Raises:
        KitError: another suffix, or a video that cannot be read or is not the track's.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise KitError(f"{path}: unknown kind of moving picture; use .webp or .gif")
    body, rate = _body(motion)
    count = len(body) if track is None else min(len(body), len(track))
    chosen = np.unique((np.arange(0, count, max(1.0, rate / fps))).round().astype(int))
    chosen = chosen[chosen < count]
    panels = [_simulation(body[:count], track, chosen, height)]
    if track is not None:
        panels = [*_seen(body[:count], track, chosen, video, height), *panels]
    pictures = [_beside(row) for row in zip(*panels, strict=True)]
    options = {"quality": 70, "method": 4} if path.suffix == ".webp" else {"optimize": True}
    with atomic(path) as part:
        pictures[0].save(
            part,
            KINDS[path.suffix],
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / fps),
            loop=0,
            **options,
        )
    return path


def _body(motion) -> tuple[BodyState, float]:
    """Body and frames per second of a rollout or a clip."""
    if not isinstance(motion, Clip):
        return motion.simulated, motion.fps
    pos, rot = forward_kinematics(motion.root_pos, motion.joint_rot, mean_offsets())
    still, dofs = torch.zeros_like(pos), torch.zeros(len(motion), 69)
    return BodyState(pos, rot, still, still, dofs, dofs), motion.fps


def _seen(body: BodyState, track, chosen: np.ndarray, video, height: int) -> Iterator[list[Image.Image]]:
    """Two panels: the keypoints in the camera's picture, and the simulated body over both."""
    box = person_box(track.keypoints)
    camera = _cut(track.camera, box)
    keypoints = track.keypoints - torch.tensor([*box[:2], 0.0])
    width, tall = camera.image_size
    sheet = BodyOverlay(body, camera, max(2, round(height * min(1.0, width / tall))), keypoints)
    size = round(height * sheet.size[0] / sheet.size[1]), height
    films = _film(video, track, chosen, box, sheet.size)
    pictures = [
        (sheet.keypoints_over(film, frame), sheet.over(film, frame))
        for frame, film in zip(chosen.tolist(), films, strict=True)
    ]
    for panel in zip(*pictures, strict=True):
        yield [picture.resize(size, Image.Resampling.LANCZOS) for picture in panel]  # sizes of overlays are even


def person_box(keypoints: torch.Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all keypoints that are seen, (T, 17, 3), with a margin; pixels."""
    seen = keypoints[(keypoints[..., 2] > MIN_SHOWN) & keypoints.isfinite().all(-1)][:, :2]
    low, high = seen.amin(0), seen.amax(0)
    margin = _MARGIN * float((high - low).max())
    (left, top), (right, bottom) = (low - margin).int().tolist(), (high + margin).int().tolist()
    return left, top, right, bottom


def _cut(camera: Camera, box: tuple[int, int, int, int]) -> Camera:
    """The camera whose picture is a box of this one's."""
    K = camera.K.clone()
    K[..., 0, 2] -= box[0]
    K[..., 1, 2] -= box[1]
    return replace(camera, K=K, image_size=(box[2] - box[0], box[3] - box[1]))


def _film(video, track, chosen: np.ndarray, box, size: tuple[int, int]) -> Iterator[Image.Image]:
    """The film's picture of each chosen frame, cut and scaled; plain where there is no film."""
    plain = Image.new("RGB", size, BACKGROUND)
    if video is None:
        yield from (plain for _ in chosen)
        return
    frames, shown = video_frames(video, track.fps), plain
    when, image = next(frames, (np.inf, None))
    for seconds in (track.first + chosen) / track.fps:
        while image is not None and when <= seconds + 0.5 / track.fps:
            if image.shape[1::-1] != tuple(track.image_size):
                raise KitError(
                    f"{video}: {image.shape[1]}x{image.shape[0]}, but the track is of a film of another size"
                )
            shown = Image.fromarray(image).crop(box).resize(size, Image.Resampling.BILINEAR)
            when, image = next(frames, (np.inf, None))
        yield shown


def _simulation(body: BodyState, track, chosen: np.ndarray, height: int) -> list[Image.Image]:
    """The body in its world from one side, with floor, camera and rays."""
    root = body.root_pos.numpy()
    centre = None if track is None else np.asarray(track.centre).reshape(-1, 3).mean(0)
    position, target = viewpoint(root if centre is not None else root[[0, -1]], centre)
    reach = 0.0 if centre is not None else float(np.ptp(root, axis=0).max())
    if centre is None:  # the viewpoint does not follow the body: stand far enough back for the whole way
        target = (root.min(0) + root.max(0)) / 2
        position = target + (1 + 0.5 * reach) * (position - root[0])
    size = round(_WIDE * height / 2) * 2, height
    camera = Camera.look_at(position, target, focal=height / (2 * np.tan(np.deg2rad(21))), image_size=size)
    sheet = BodyOverlay(body, camera, height)
    ground = Image.new("RGB", sheet.size, BACKGROUND)
    draw = ImageDraw.Draw(ground)
    for line in floor_lines(camera, torch.tensor(root.mean(0))):
        draw.line([tuple(p) for p in line.tolist()], fill=GRID)
    if track is None:
        return [sheet.over(ground, frame) for frame in chosen.tolist()]
    return [sheet.over(_with_rays(ground, camera, track, body, frame), frame) for frame in chosen.tolist()]


def _with_rays(ground: Image.Image, camera: Camera, track, body: BodyState, frame: int) -> Image.Image:
    """The floor with the film's camera as a frustum and the rays that it sends through the keypoints."""
    picture = ground.copy()
    draw, film = ImageDraw.Draw(picture), track.camera[frame] if track.camera.batch_shape else track.camera
    centre = film.centre
    tips, seen = ray_tips(
        centre[None],
        track.ray_point[frame : frame + 1],
        track.ray_confidence[frame : frame + 1],
        body.root_pos[frame : frame + 1],
    )
    width, height = film.image_size
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    depth = 0.2 * (body.root_pos[frame] - centre).norm()
    corners = film.unproject(corners, depth.expand(4))
    lines = [(centre, tip) for tip in torch.as_tensor(tips[0])[torch.as_tensor(seen[0])]]
    lines += [(centre, corner) for corner in corners] + list(zip(corners, corners.roll(1, 0), strict=True))
    for ends in lines:
        points = torch.stack([torch.as_tensor(end, dtype=torch.float32) for end in ends])
        if (camera.to_camera(points)[:, 2] > 0.1).all():
            draw.line([tuple(p) for p in camera.project(points).tolist()], fill=DETECTED)
    return picture


def _beside(panels) -> Image.Image:
    """Panels of one height in a row, on white."""
    width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    row, left = Image.new("RGB", (width, panels[0].height), "white"), 0
    for panel in panels:
        row.paste(panel, (left, 0))
        left += panel.width + _GAP
    return row
