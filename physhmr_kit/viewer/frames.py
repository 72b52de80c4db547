"""Reads upright frames of a video with PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:
    from PIL import Image

_TIMESTAMP_ERROR = 1e-3  # seconds; containers round time stamps to milliseconds


def video_frames(path: str | os.PathLike, fps: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a video, rotated as its metadata says.

    Args:
        path: any file that PyAV reads.
        fps: frames per second to keep, at most.

    Yields:
        seconds since the first frame, (H, W, 3) uint8 RGB.

    Raises:
        KitError: no such file, or not a video.
    """
    import av

    try:
        for seconds, image in decode_frames(path, fps):
            yield seconds, np.asarray(image)
    except av.FFmpegError as fault:
        raise KitError(f"{path}: not a readable video ({fault})") from fault


def frames_at(path: str | os.PathLike, seconds: Iterable[float], fps: float) -> Iterator[np.ndarray | None]:
    """The frame of a video at each of some increasing times: the latest that starts by then, within half a frame of `fps`.

    None before the first frame and from a frame after the last one. Errors as in `video_frames`.
    """
    frames = video_frames(path, fps)
    shown: np.ndarray | None = None
    end = -np.inf
    start, image = next(frames, (np.inf, None))
    for when in seconds:
        while start <= when + 0.5 / fps:
            shown, end = image, start + 1.5 / fps
            start, image = next(frames, (np.inf, None))
        yield shown if start < np.inf or when < end else None


def decode_frames(
    path: str | os.PathLike,
    fps: float,
    size: tuple[int, int] | None = None,
    expected_size: tuple[int, int] | None = None,
) -> Iterator[tuple[float, Image.Image]]:
    """Upright frames of a video as images, at most `fps` per second.

    Args:
        size: (width, height) to scale to; default: unscaled.
        expected_size: (width, height) that the upright video must have.

    Yields:
        seconds since the first frame, and the image.

    Raises:
        KitError: no such file, no video stream in it, or a video of another size than `expected_size`.
        av.FFmpegError: a file that PyAV cannot read.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such video")
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise KitError(f"{path}: no video stream in the file")
        container.streams.video[0].thread_type = "AUTO"
        first, wanted = None, 0
        for frame in container.decode(video=0):
            quarter = (
                round(getattr(frame, "rotation", 0) / 90) % 4
            )  # phones store the orientation of the sensor as metadata
            if first is None:
                first = frame.time
                found = (frame.height, frame.width) if quarter % 2 else (frame.width, frame.height)
                if expected_size is not None and found != expected_size:
                    (a, b), (c, d) = found, expected_size
                    raise KitError(f"{path}: {a}x{b}, but the camera's image is {c}x{d}; use the video it belongs to")
            seconds = frame.time - first
            if (seconds + _TIMESTAMP_ERROR) * fps < wanted:
                continue
            wanted = int((seconds + _TIMESTAMP_ERROR) * fps) + 1
            width, height = size[::-1] if size and quarter % 2 else size or (None, None)
            image = frame.to_image(width=width, height=height, interpolation="FAST_BILINEAR" if size else None)
            yield seconds, image.rotate(90 * quarter, expand=True) if quarter else image
