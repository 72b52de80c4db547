"""A video becomes one person's keypoints: `python -m data_prep.video VIDEO --out K.npz`.

A 2-D detector looks at every frame, in an environment of its own that is built when it is first asked for (see
`data_prep.detect`); one of the people it saw is followed (see `data_prep.people`); and the rows are put on a constant rate.
What a detector saw is kept in the user's cache folder (PHYSHMR_CACHE), so another --person costs nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:  # reconstruct only wants the header; torch and NumPy come where there is work for them
    import numpy as np

    from data_prep.detect import Detections, Place
    from physhmr_kit.vision.keypoints import KeypointTrack

CONTROL_FPS = 30.0
"""Frames per second of whatever reads keypoints (`motion.clip.CONTROL_FPS`, which needs torch)."""

FEWEST_FRAMES = 8
"""A video with fewer frames is not a motion: a quarter of a second at 30 fps."""

LONGEST_GAP = 0.2
"""Longest time, s, between two frames across which keypoints are interpolated (as in `KeypointTrack.filled`)."""


@dataclass(frozen=True)
class VideoInfo:
    """A video in numbers.

    Attributes:
        frames: pictures in it.
        fps: average frames per second.
        image_size: (width, height) as a player shows it, pixels.
        constant: whether the frames are evenly spaced, see `rate_of`.
    """

    frames: int
    fps: float
    image_size: tuple[int, int]
    constant: bool = True


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
            packets = [packet for packet in container.demux(stream) if packet.size > 0]
            stamps = sorted(float(p.pts * p.time_base) for p in packets if p.pts is not None)
            constant = len(stamps) < 3 or _evenly(stamps)
            return VideoInfo(len(packets), float(stream.average_rate or 0), size[::-1] if turned else size, constant)
    except av.FFmpegError as fault:
        raise KitError(f"{path}: not a readable video ({fault})") from fault


def keypoints_of(
    video: str | os.PathLike,
    detector: str = "mediapipe",
    person: str | int = "largest",
    cache: str | os.PathLike | None = None,
    weights: str | os.PathLike | None = None,
    progress: bool = True,
    *,
    start: float = 0.0,
    end: float | None = None,
    max_frames: int | None = None,
    place: Place | None = None,
) -> KeypointTrack:
    """One person's COCO-17 keypoints in a video, at a constant rate.

    A frame without the person has confidence 0; one in which the detector may have looked at somebody else has at most
    `people.LOW`. Nothing is filled in here: `KeypointTrack.filled` closes short gaps.

    A video of 60 or more frames a second is looked at in every second (third, ...) picture: what follows runs at 30.

    Args:
        video: any file PyAV reads; turned upright by its metadata.
        detector: mediapipe, rtmlib or vitpose. person: 'largest', 'centre' or a number, see `people.choose`.
        place: where the person is, instead. A detector that sees one person looks at nothing else, from that second on.
        cache: folder for detections; `cache_folder()` by default.
        weights: file or folder, for detectors that do not carry theirs.
        progress: show a bar, and what is worth knowing, on stderr.
        start, end: seconds since the first frame, end excluded. max_frames: read at most so many.

    Returns:
        the track. Of a video of constant rate it has a row for each picture looked at; one of variable rate is put on the median rate.

    Raises:
        KitError: not a video, too short, nobody in it, no such person, no environment or no weights for the detector.
    """
    import torch

    from data_prep.cuts import find_cuts
    from data_prep.detect import Span, detect, find_detector
    from data_prep.people import follow
    from physhmr_kit.vision.keypoints import KeypointTrack

    chosen = find_detector(detector, weights)
    info = read_video_info(video)
    span = Span(start, end, max_frames, every_nth(info.fps))
    if min(info.frames, max_frames or info.frames) < FEWEST_FRAMES:
        raise _too_short(video, min(info.frames, max_frames or info.frames))
    found = detect(video, chosen, span, weights, cache, progress, place if chosen.alone else None)
    if len(found.times) < FEWEST_FRAMES:
        raise _too_short(video, len(found.times))
    notes = list(found.notes)
    cuts = find_cuts(found)
    if place and chosen.alone:  # it saw nobody else
        rows = follow(found, alone=True, cuts=cuts)
    else:
        rows = follow(found, person, chosen.alone, place, cuts, notes)
    if not rows[..., 2].any():
        raise _nobody(video, detector, found)
    if cuts:
        notes.append(f"cut at {', '.join(f'{found.times[frame]:.2f}' for frame in cuts)} s")
    fps, constant = rate_of(found.times)
    if not constant:
        rows = on_constant_rate(found.times, rows, fps)
        notes.append(f"variable frame rate; keypoints are put on its median, {fps:.6g} fps")
    if progress:
        for note in notes:
            print(f"{video}: {note}", file=sys.stderr)
    seconds = tuple(float(found.times[frame] - found.times[0]) for frame in cuts)
    return KeypointTrack(torch.from_numpy(rows).float(), fps, found.image_size, str(video), seconds)


def every_nth(fps: float) -> int:
    """How many pictures to step on so that 30 or more a second remain: 2 for 60 fps, 4 for 120, 1 for 50."""
    return max(1, int(fps / CONTROL_FPS + 0.02))  # 59.94 is 60


def _evenly(stamps: list[float]) -> bool:
    import numpy as np

    return rate_of(np.array(stamps))[1]


def _too_short(video: str | os.PathLike, frames: int) -> KitError:
    return KitError(f"{video}: {frames} frame(s); a motion needs at least {FEWEST_FRAMES}")


def _nobody(video: str | os.PathLike, detector: str, found: Detections) -> KitError:
    if found.spread.max() < 32:
        return KitError(f"{video}: all {len(found.times)} frames are black or of one colour; there is nobody to see")
    return KitError(
        f"{video}: {detector} found nobody in {len(found.times)} frames; film one person whole, and not too far away"
    )


def rate_of(times: np.ndarray) -> tuple[float, bool]:
    """Frames per second of time stamps, and whether they are constant.

    Constant means that no stamp is further than a quarter of a frame from an even count: containers round them, to a
    millisecond in Matroska. The rate is then that of the count, else of the median step and those near it.

    Args:
        times: (T,) s, T > 1.
    """
    import numpy as np

    steps = np.diff(times)
    even = (times[-1] - times[0]) / len(steps)
    if even > 0 and np.abs(times - times[0] - even * np.arange(len(times))).max() <= 0.25 * even:
        return round(1 / even, 6), True
    middle = np.median(steps[steps > 0])
    usual = steps[np.abs(steps - middle) <= 0.25 * middle]  # their mean undoes the rounding
    return round(1 / float(usual.mean()), 6), False


def on_constant_rate(times: np.ndarray, keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Rows at a constant rate from rows at any times; of two neighbours the more confident one weighs more.

    Where the neighbours are further apart than `LONGEST_GAP`, a row that is not next to one of them has confidence 0.

    Args:
        times: (T,) s, rising. keypoints: (T, 17, 3) pixel u, v, confidence.

    Returns:
        (S, 17, 3), from the first time to the last.
    """
    import numpy as np

    times = np.maximum.accumulate(times) - times[0]
    at = np.arange(int(times[-1] * fps + 1e-6) + 1) / fps
    high = np.searchsorted(times, at, side="left").clip(0, len(times) - 1)
    low = np.where(times[high] <= at, high, (high - 1).clip(min=0))
    width = times[high] - times[low]
    blend = np.where(width > 0, (at - times[low]) / np.maximum(width, 1e-9), 0.0)[:, None]
    before, after = keypoints[low], keypoints[high]
    shares = np.stack([(1 - blend) * before[..., 2], blend * after[..., 2]], axis=-1)
    total = shares.sum(-1, keepdims=True)
    shares = np.where(total > 0, shares / np.maximum(total, 1e-12), np.stack([1 - blend, blend], axis=-1))
    pixels = shares[..., :1] * before[..., :2] + shares[..., 1:] * after[..., :2]
    confidence = (1 - blend) * before[..., 2] + blend * after[..., 2]
    invented = (width > LONGEST_GAP) & (np.minimum(at - times[low], times[high] - at) > 0.5 / fps)
    confidence[invented] = 0
    return np.concatenate([pixels, confidence[..., None]], axis=-1).astype(np.float32)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise KitError(f"{message} (see python -m data_prep.video --help)")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    opening, _, rest = __doc__.partition("\n\n")
    parser = _Parser(prog="python -m data_prep.video", description=opening, epilog=rest)
    parser.add_argument("video", type=Path, help="any video PyAV reads")
    parser.add_argument(
        "--out", type=Path, metavar="K.npz", help="VIDEO's name with _keypoints.npz, in this folder, by default"
    )
    parser.add_argument("--detector", choices=("mediapipe", "rtmlib", "vitpose"), default="mediapipe")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="local weights; rtmlib and vitpose need them")
    parser.add_argument(
        "--person",
        default="largest",
        help="of several: largest, centre or a number, 0 being the largest; mediapipe sees one person, so point at that with --box",
    )
    parser.add_argument("--box", type=float, nargs=4, metavar=("X", "Y", "W", "H"), help="where the person is, pixels")
    parser.add_argument("--at", type=float, default=0.0, metavar="S", help="second at which the person is there")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="first second")
    parser.add_argument("--end", type=float, metavar="S", help="last second")
    parser.add_argument("--max-frames", type=int, metavar="N", help="read at most so many frames")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.video`."""
    options = _parse(argv)
    out = options.out or Path(f"{options.video.stem}_keypoints.npz")
    if out.is_dir():
        raise KitError(f"{out}: is a folder; --out names a file")
    if options.out is None and out.exists():
        raise KitError(f"{out}: exists already; name it with --out to write over it")
    from data_prep.detect import Place

    track = keypoints_of(
        options.video,
        options.detector,
        options.person,
        weights=options.weights,
        start=options.start,
        end=options.end,
        max_frames=options.max_frames,
        place=Place(tuple(options.box), options.at) if options.box else None,
    )
    from data_prep.people import SURE

    try:
        track.save(out)
    except OSError as fault:
        raise KitError(f"{out}: cannot be written ({fault.strerror or fault})") from fault
    seen = float((track.confidence >= SURE).any(1).float().mean())
    width, height = track.image_size
    print(
        f"{options.video}: {len(track)} frames at {track.fps:g} fps, {width}x{height}; "
        f"the person is seen in {100 * seen:.0f} % of them"
    )
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
