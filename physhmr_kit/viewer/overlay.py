"""Draws the simulated body and the detected keypoints over the video.

Each collision shape is convex, so its image is (up to lens distortion) the convex hull of the projections of a few surface
points: 24 polygons, drawn far to near and blended with the frame. In its own camera a ray is a point, the keypoint; the
distance of the simulated joint from the ray is drawn as a line from the keypoint to the projected joint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import roma
import torch
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull, QhullError

from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.viewer.frames import decode_frames
from physhmr_kit.viewer.palette import CONTACT, MIN_SHOWN, SIMULATED, by_confidence
from physhmr_kit.viewer.shapes import Shape, humanoid_shapes
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_BONES, RAY_COCO, RAY_JOINTS

OPACITY = 0.72
"""Opacity of the body; the person stays visible behind it."""

MARK_SECONDS = 0.5
"""Duration of the red border after a marked frame."""

_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A body to draw over part of a video.

    Attributes:
        body: T frames in the world frame of `camera`. camera: fixed, or moving with batch shape (T,).
        first: video frame, counted at the rate of the body, at which the body starts.
        marked: body frames (restarts) that start a red border of `MARK_SECONDS`.
        keypoints: (T, 17, 3) u px, v px, confidence, drawn over the body; None to omit them.
    """

    body: BodyState
    camera: Camera
    first: int = 0
    marked: Sequence[int] = ()
    keypoints: torch.Tensor | None = None


def write_overlay(
    video: str | os.PathLike,
    out: str | os.PathLike,
    parts: Sequence[Drawn],
    fps: float = 30.0,
    lines: int = 720,
) -> Path:
    """Write an .mp4 of the video with bodies drawn over it, atomically.

    Each video frame shows the body frame that is nearest in time, or no body between the parts; the overlay ends with the last
    part. Of a video with a higher rate than the bodies only as many frames are kept as the bodies have.

    Args:
        video: any file that PyAV reads; rotated as its metadata says.
        parts: bodies in temporal order; all cameras have the same image size. fps: of the bodies.
        lines: pixels of the shorter side, at most; larger videos are downscaled.

    Raises:
        KitError: not a readable video, or one of another size than the cameras' images.
    """
    import av

    overlays = [BodyOverlay(part.body, part.camera, lines, part.keypoints) for part in parts]
    size, image_size = overlays[0].size, parts[0].camera.image_size
    end = max(part.first + len(part.body) for part in parts)
    try:
        with atomic(out) as part_file, av.open(str(part_file), "w", format="mp4") as container:
            stream = container.add_stream(_codec(), rate=Fraction(fps).limit_denominator(1000))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.options = {"crf": "23", "preset": "ultrafast"}
            stream.codec_context.time_base = _MILLISECOND
            last = -1
            for seconds, picture in decode_frames(video, fps, size, image_size):
                if round(seconds * fps) >= end:
                    break
                for part, overlay in zip(parts, overlays, strict=True):
                    frame = round(seconds * fps) - part.first
                    if 0 <= frame < len(part.body):
                        since = (seconds - (part.first + m) / fps for m in part.marked)
                        picture = overlay.draw(picture, frame, any(0 <= s < MARK_SECONDS for s in since))
                image = av.VideoFrame.from_image(picture)
                last = max(round(1000 * seconds), last + 1)
                image.pts, image.time_base = last, _MILLISECOND
                container.mux(stream.encode(image))
            container.mux(stream.encode())
    except av.FFmpegError as fault:
        raise KitError(f"{video}: cannot draw over this video ({fault})") from fault
    return Path(out)


class BodyOverlay:
    """Draws single frames of a body over pictures.

    Args:
        body: T frames. camera: of the video at full size. lines: pixels of the shorter side of the pictures, at most.
        keypoints: (T, 17, 3) u px and v px at full size, confidence; or None.

    Attributes:
        size: (width, height) of the pictures, pixels; even, as video codecs require.
    """

    def __init__(self, body: BodyState, camera: Camera, lines: int = 720, keypoints: torch.Tensor | None = None):
        width, full = camera.image_size
        shrink = min(1.0, lines / min(width, full))
        self.size = max(2, round(width * shrink / 2) * 2), max(2, round(full * shrink / 2) * 2)
        self.shrink = torch.tensor([self.size[0] / width, self.size[1] / full])
        self.body, self.camera, self.keypoints = body, camera, keypoints

    def draw(self, picture: Image.Image, frame: int, framed: bool = False) -> Image.Image:
        """A picture of `size` with one frame of the body drawn over it, and a red border if `framed`."""
        opaque = picture.copy()
        draw = ImageDraw.Draw(opaque)
        for outline, shade in self.polygons(frame):
            colour = tuple(round(c + (255 - c) * shade) for c in SIMULATED)
            draw.polygon(outline, fill=colour, outline=tuple(round(0.6 * c) for c in colour))
        out = Image.blend(picture, opaque, OPACITY)
        if self.keypoints is not None:
            draw = ImageDraw.Draw(out)
            self._draw_distances(draw, frame, self.keypoints[frame])
            self._draw_keypoints(draw, self.keypoints[frame])
        if framed:
            edge = max(3, self.size[1] // 60)
            ImageDraw.Draw(out).rectangle((0, 0, self.size[0] - 1, self.size[1] - 1), outline=CONTACT, width=edge)
        return out

    def draw_keypoints(self, picture: Image.Image, frame: int) -> Image.Image:
        """A picture of `size` with the keypoints of one frame, without the body."""
        assert self.keypoints is not None
        out = picture.copy()
        self._draw_keypoints(ImageDraw.Draw(out), self.keypoints[frame])
        return out

    def _draw_keypoints(self, draw: ImageDraw.ImageDraw, keypoints: torch.Tensor) -> None:
        """Draw keypoints (17, 3) and the bones between them, coloured by confidence."""
        at, width, seen = (keypoints[:, :2] * self.shrink).tolist(), self._line_width, is_shown(keypoints)
        colours = [tuple(colour) for colour in by_confidence(keypoints[:, 2].numpy()).tolist()]
        for a, b in COCO_BONES:
            if seen[a] and seen[b]:
                draw.line((*at[a], *at[b]), fill=max(colours[a], colours[b]), width=width)  # the less confident one
        for k, (u, v) in enumerate(at):
            if seen[k]:
                draw.ellipse(
                    (u - 2 * width, v - 2 * width, u + 2 * width, v + 2 * width), fill=colours[k], outline="white"
                )

    def _draw_distances(self, draw: ImageDraw.ImageDraw, frame: int, keypoints: torch.Tensor) -> None:
        """Draw a line from each keypoint that has a ray to the projected simulated joint."""
        camera = self.camera.at(frame)
        joints = self.body.body_pos[frame, list(RAY_JOINTS)]
        in_front = camera.to_camera(joints)[:, 2] > 0.05
        at, seen = (keypoints[:, :2] * self.shrink).tolist(), is_shown(keypoints)
        for k, point, shown in zip(RAY_COCO, (camera.project(joints) * self.shrink).tolist(), in_front, strict=True):
            if seen[k] and shown:
                draw.line((*at[k], *point), fill=CONTACT, width=self._line_width)

    @property
    def _line_width(self) -> int:
        return max(1, min(self.size) // 200)

    def polygons(self, frame: int) -> Iterator[tuple[list[tuple[float, float]], float]]:
        """Outline (pixels of the picture) and shade 0..1 of each shape in front of the camera, far to near."""
        points, owner = surface_points()
        pos, rot = self.body.body_pos[frame, owner], self.body.body_rot[frame, owner]
        world = pos + roma.quat_action(rot, points)
        camera = self.camera.at(frame)
        depth = camera.to_camera(world)[..., 2]
        pixels = (camera.project(world) * self.shrink).numpy()
        nearest = [float(depth[owner == k].amin()) for k in range(24)]
        middle = np.array([float(depth[owner == k].mean()) for k in range(24)])
        span = max(float(np.ptp(middle)), 0.3)
        for k in np.argsort(-middle):
            if nearest[k] > 0.05:
                outline = _hull(pixels[owner.numpy() == k])
                if len(outline) > 2:
                    yield outline, 0.45 * (1 - (middle[k] - middle.min()) / span)


def is_shown(keypoints: torch.Tensor) -> torch.Tensor:
    """Whether keypoints (..., 3) u, v, confidence are drawn."""
    return (keypoints[..., 2] > MIN_SHOWN) & keypoints.isfinite().all(-1)


def _hull(points: np.ndarray) -> list[tuple[float, float]]:
    try:
        return [tuple(points[i]) for i in ConvexHull(points).vertices]
    except QhullError:  # projected to a line or a point
        return []


@cache
def surface_points() -> tuple[torch.Tensor, torch.Tensor]:
    """Surface points of the collision shapes (N, 3) m, in the frame of their body, and the index of that body (N,)."""
    clouds = [_surface(shape) for shape in humanoid_shapes()]
    owner = torch.tensor([k for k, cloud in enumerate(clouds) for _ in cloud])
    return torch.from_numpy(np.concatenate(clouds)).float(), owner


def _surface(shape: Shape) -> np.ndarray:
    grid = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    if shape.kind == "box":
        return shape.centre + grid[np.abs(grid).sum(1) == 3] * shape.size
    ball = grid[np.abs(grid).sum(1) > 0]
    ball = shape.size[0] * ball / np.linalg.norm(ball, axis=1, keepdims=True)
    ends = [shape.centre] if shape.end is None else [shape.centre, shape.end]
    return np.concatenate([end + ball for end in ends])


@cache
def _codec() -> str:
    import av

    try:
        av.CodecContext.create("libx264", "w")
        return "libx264"
    except (av.FFmpegError, ValueError):
        return "mpeg4"
