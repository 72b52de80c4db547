"""Extracts one person's 2-D keypoints from a video: `python -m data_prep.video VIDEO --out K.npz`.

A 2-D detector runs on every frame, in its own environment that is built on first use (see `data_prep.detect`); one of the
detected people is tracked (see `data_prep.keypoints.people`); and the track is resampled to a constant rate. Detections are cached in
the user's cache folder (PHYSHMR_CACHE), so choosing another --person is fast.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.importing import Parser
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:  # reconstruct needs only the header; torch and NumPy are imported where they are used
    import numpy as np

    from data_prep.detect import Place
    from physhmr_kit.vision.keypoints import KeypointTrack

CONTROL_FPS = 30.0
"""Frames per second of the control loop (`motion.clip.CONTROL_FPS`, whose import needs torch)."""

FEWEST_FRAMES = 8
"""Minimum length of a video: a quarter of a second at 30 fps."""

LONGEST_GAP = 0.2
"""Longest gap, s, between two frames across which keypoints are interpolated (as in `KeypointTrack.filled`)."""


@dataclass(frozen=True)
class VideoInfo:
    """The header of a video.

    Attributes:
        frames: number of frames.
        fps: average frames per second.
        image_size: (width, height) of the upright frame, pixels.
        constant: whether the frame rate is constant, see `rate_of`.
    """

    frames: int
    fps: float
    image_size: tuple[int, int]
    constant: bool = True


def read_video_info(path: str | os.PathLike) -> VideoInfo:
    """Count the frames of a video and read its rate and size.

    Phones store portrait video rotated, with the rotation in the metadata; the size is that of the upright frame, as
    detectors see it.

    Raises:
        KitError: no such file, or not a video.
    """
    import av
    import numpy as np

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
            sideways = abs(getattr(first, "rotation", 0)) % 180 == 90
            container.seek(0)
            packets = [packet for packet in container.demux(stream) if packet.size > 0]
            stamps = sorted(float(p.pts * p.time_base) for p in packets if p.pts is not None)
            constant = len(stamps) < 3 or rate_of(np.array(stamps))[1]
            return VideoInfo(len(packets), float(stream.average_rate or 0), size[::-1] if sideways else size, constant)
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

    Frames without the person have confidence 0; frames in which the detector may have found somebody else have at most
    `people.LOW`. Gaps are not filled: `KeypointTrack.filled` closes short ones.

    Of a video at 60 or more fps, only every second (third, ...) frame is processed: the control rate is 30 fps.

    Args:
        video: any file PyAV reads; rotated upright by its metadata.
        detector: mediapipe, rtmlib or vitpose. person: 'largest', 'centre' or a number, see `people.choose`.
        place: where the person is, in place of `person`. A single-person detector is confined to it, from that time on.
        cache: folder for detections; `cache_folder()` by default.
        weights: file or folder, for detectors that do not come with theirs.
        progress: show a progress bar and notes on stderr.
        start, end: seconds since the first frame, end exclusive. max_frames: process at most this many.

    Returns:
        the track: a row per processed frame, or at the median rate if the video's rate is variable.

    Raises:
        KitError: not a video, too short, nobody in it, no such person, no environment or no weights for the detector.
    """
    import torch

    from data_prep.detect import Span, detect, find_detector
    from data_prep.keypoints.cuts import find_cuts
    from data_prep.keypoints.people import follow
    from physhmr_kit.vision.keypoints import KeypointTrack

    chosen = find_detector(detector, weights)
    info = read_video_info(video)
    span = Span(start, end, max_frames, every_nth(info.fps))
    _check_length(video, min(info.frames, max_frames or info.frames))
    found = detect(video, chosen, span, weights, cache, progress, place if chosen.single_person else None)
    _check_length(video, len(found.times))
    notes = list(found.notes)
    cuts = find_cuts(found)
    if place and chosen.single_person:  # it was confined to that person
        rows = follow(found, single_person=True, cuts=cuts)
    else:
        rows = follow(found, person, chosen.single_person, place, cuts, notes)
    if not rows[..., 2].any():
        if found.spread.max() < 32:
            raise KitError(f"{video}: all {len(found.times)} frames are black or of one colour")
        raise KitError(
            f"{video}: {detector} found nobody in {len(found.times)} frames; the person must be fully in view and not too far away"
        )
    if cuts:
        notes.append(f"cut at {', '.join(f'{found.times[frame]:.2f}' for frame in cuts)} s")
    fps, constant = rate_of(found.times)
    if not constant:
        rows = on_constant_rate(found.times, rows, fps)
        notes.append(f"variable frame rate; keypoints are resampled to the median, {fps:.6g} fps")
    if progress:
        for note in notes:
            print(f"{video}: {note}", file=sys.stderr)
    seconds = tuple(float(found.times[frame] - found.times[0]) for frame in cuts)
    return KeypointTrack(torch.from_numpy(rows).float(), fps, found.image_size, str(video), seconds)


def every_nth(fps: float) -> int:
    """The largest stride that leaves at least 30 fps: 2 for 60 fps, 4 for 120, 1 for 50."""
    return max(1, int(fps / CONTROL_FPS + 0.02))  # 59.94 is 60


def _check_length(video: str | os.PathLike, frames: int) -> None:
    if frames < FEWEST_FRAMES:
        raise KitError(f"{video}: {frames} frame(s); a motion needs at least {FEWEST_FRAMES}")


def rate_of(times: np.ndarray) -> tuple[float, bool]:
    """Frames per second from time stamps, and whether the rate is constant.

    Constant means that no stamp is more than a quarter of a frame off a regular grid: containers round them, Matroska to a
    millisecond. The rate is then that of the grid; otherwise the mean of the steps near the median step.

    Args:
        times: (T,) s, T > 1.
    """
    import numpy as np

    steps = np.diff(times)
    even = (times[-1] - times[0]) / len(steps)
    if even > 0 and np.abs(times - times[0] - even * np.arange(len(times))).max() <= 0.25 * even:
        return round(1 / even, 6), True
    middle = np.median(steps[steps > 0])
    usual = steps[np.abs(steps - middle) <= 0.25 * middle]  # averaging undoes the rounding
    return round(1 / float(usual.mean()), 6), False


def on_constant_rate(times: np.ndarray, keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Resample keypoints from irregular times to a constant rate, weighting neighbours by their confidence.

    Inside a gap longer than `LONGEST_GAP`, rows that are not next to an original frame get confidence 0.

    Args:
        times: (T,) s, increasing. keypoints: (T, 17, 3) pixel u, v, confidence.

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


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.video`."""
    parser = Parser("video", __doc__)
    parser.add_argument("video", type=Path, help="any video PyAV reads")
    parser.add_argument(
        "--out", type=Path, metavar="K.npz", help="file to write; by default VIDEO_keypoints.npz in the current folder"
    )
    parser.add_argument("--detector", choices=("mediapipe", "rtmlib", "vitpose"), default="mediapipe")
    parser.add_argument("--weights", type=Path, metavar="PATH", help="local weights; rtmlib and vitpose need them")
    parser.add_argument(
        "--person",
        default="largest",
        help="if there are several: largest, centre or a number, 0 being the largest; mediapipe detects one person: select them with --box",
    )
    parser.add_argument("--box", type=float, nargs=4, metavar=("X", "Y", "W", "H"), help="where the person is, pixels")
    parser.add_argument("--at", type=float, default=0.0, metavar="S", help="time at which the person is in the box, s")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="start time, s")
    parser.add_argument("--end", type=float, metavar="S", help="end time, s")
    parser.add_argument("--max-frames", type=int, metavar="N", help="process at most N frames")
    options = parser.parse_args(argv)
    out = options.out or Path(f"{options.video.stem}_keypoints.npz")
    if out.is_dir():
        raise KitError(f"{out}: is a folder; --out must name a file")
    if options.out is None and out.exists():
        raise KitError(f"{out}: already exists; name it with --out to overwrite it")
    from data_prep.detect import Place
    from data_prep.keypoints.people import SURE

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
    track.save(out)
    visible = float((track.confidence >= SURE).any(1).float().mean())
    width, height = track.image_size
    print(
        f"{options.video}: {len(track)} frames at {track.fps:g} fps, {width}x{height}; "
        f"the person is visible in {100 * visible:.0f} % of them"
    )
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
