"""What the header and the packets of a video say, without decoding its pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from physhmr_kit.errors import KitError


@dataclass(frozen=True)
class VideoInfo:
    """A video in numbers.

    Attributes:
        frames: pictures in it.
        fps: average frames per second.
        image_size: (width, height) as a player shows it, pixels.
    """

    frames: int
    fps: float
    image_size: tuple[int, int]


def read_video_info(path: str | os.PathLike) -> VideoInfo:
    """Count the frames of a video and read its rate and size.

    Phones store upright video lying down with a note to turn it; the size is that of the turned picture, the one a
    detector saw.

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
            stream = container.streams.video[0]
            first = next(container.decode(stream), None)
            if first is None:
                raise KitError(f"{path}: the video has no frames")
            size = (first.width, first.height)
            turned = abs(getattr(first, "rotation", 0)) % 180 == 90
            container.seek(0)
            frames = sum(1 for packet in container.demux(stream) if packet.size > 0)
            return VideoInfo(frames, float(stream.average_rate or 0), size[::-1] if turned else size)
    except av.FFmpegError as fault:
        raise KitError(f"{path}: not a readable video ({fault})") from fault
