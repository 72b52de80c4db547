"""Upright frames of a video, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:
    from PIL import Image

_TIMESTAMP_ERROR = 1e-3  # seconds; containers round time stamps to a millisecond


def video_frames(path: str | os.PathLike, fps: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
    """Some frames of a video, turned upright by its metadata.

    Args:
        path: any file PyAV reads.
        fps: frames per second to keep; a slower video gives all of its frames.

    Yields:
        seconds from the first frame, (H, W, 3) uint8 RGB.

    Raises:
        KitError: no such file, or not a video.
    """
    import av

    try:
        for seconds, image in decode_frames(path, fps):
            yield seconds, np.asarray(image)
    except av.FFmpegError as fault:
        raise KitError(f"{path}: not a readable video ({fault})") from fault


def decode_frames(
    path: str | os.PathLike, fps: float, size: tuple[int, int] | None = None, of: tuple[int, int] | None = None
) -> Iterator[tuple[float, Image.Image]]:
    """Upright frames of a video as images, one at a time, at most `fps` a second.

    Args:
        size: (width, height) to scale to; its own when omitted. of: (width, height) that the upright video must have.

    Yields:
        seconds from the first picture, and the picture.

    Raises:
        KitError: no such file, no video in it, or a video of another size than `of`.
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
            quarter = round(getattr(frame, "rotation", 0) / 90) % 4  # phones store the sensor's orientation as metadata
            if first is None:
                first = frame.time
                found = (frame.height, frame.width) if quarter % 2 else (frame.width, frame.height)
                if of is not None and found != of:
                    (a, b), (c, d) = found, of
                    raise KitError(f"{path}: {a}x{b}, but the camera's image is {c}x{d}; use the video it belongs to")
            seconds = frame.time - first
            if (seconds + _TIMESTAMP_ERROR) * fps < wanted:
                continue
            wanted = int((seconds + _TIMESTAMP_ERROR) * fps) + 1
            width, height = size[::-1] if size and quarter % 2 else size or (None, None)
            image = frame.to_image(width=width, height=height, interpolation="FAST_BILINEAR" if size else None)
            yield seconds, image.rotate(90 * quarter, expand=True) if quarter else image
