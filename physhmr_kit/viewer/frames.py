"""Frames of a video for the viewer, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from physhmr_kit.errors import KitError


def video_frames(path: str | os.PathLike, fps: float = 10.0) -> Iterator[tuple[float, np.ndarray]]:
    """Some frames of a video.

    Args:
        path: any file PyAV reads.
        fps: frames per second to keep; a slower video gives all of its frames.

    Yields:
        seconds from the first frame, (H, W, 3) uint8 RGB.

    Raises:
        KitError: no such file, or not a video.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such video")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise KitError(f"{path}: no video stream in the file")
            container.streams.video[0].thread_type = "AUTO"
            first, wanted = None, 0
            for frame in container.decode(video=0):
                first = frame.time if first is None else first
                seconds = frame.time - first
                if seconds * fps >= wanted - 1e-3:
                    wanted = int(seconds * fps + 1e-3) + 1
                    yield seconds, frame.to_ndarray(format="rgb24")
    except av.FFmpegError as fault:
        raise KitError(f"{path}: not a readable video ({fault})") from fault
