"""Detects whether the camera of a video moves, by the shift of the background from frame to frame.

Consecutive frames are compared by phase correlation (Kuglin and Hines 1975), with the person's box masked out. It detects
panning, hand-held and shaking cameras, but not a zoom or a roll about the image centre.
"""

from __future__ import annotations

import os

import numpy as np

from physhmr_kit.vision.keypoints import KeypointTrack

SIZE = 192, 108
"""Width and height of the compared images, pixels."""

MOVES = 0.03
"""Minimum drift of the background of a moving camera, as a fraction of the image width. On a tripod it stays under 0.005."""

_MARGIN = 0.15  # of the person's box, on each side


def background_path(video: str | os.PathLike, track: KeypointTrack) -> np.ndarray:
    """Accumulated shift of the background in each frame, as a fraction of the image width: (T, 2) right and down, first row 0.

    Args:
        video: any file PyAV reads. track: of the person, whose box is masked out.
    """
    import av

    shifts, before = [], None
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            picture = frame.reformat(*SIZE, "gray").to_ndarray().astype(np.float32)
            person = _person(track, frame.time or 0.0)
            if before is None:
                shifts.append(np.zeros(2))
            else:
                hidden = person | before[1]
                shifts.append(phase_shift(_without(before[0], hidden), _without(picture, hidden)))
            before = picture, person
    return np.array(shifts).reshape(-1, 2).cumsum(0) / SIZE[0]


def drift(path: np.ndarray) -> float:
    """The larger range of the two components of a path (T, 2)."""
    return float(np.ptp(path, axis=0).max()) if len(path) else 0.0


def phase_shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Shift (2,) pixels, right and down, between two images (H, W); 0 if they have nothing in common."""
    window = np.hanning(before.shape[0])[:, None] * np.hanning(before.shape[1])
    a, b = (np.fft.rfft2(window * (x - x.mean())) for x in (before, after))
    cross = np.conj(a) * b
    peaks = np.fft.irfft2(cross / (np.abs(cross) + 1e-3 * np.abs(cross).max() + 1e-12), before.shape)
    at = np.unravel_index(peaks.argmax(), peaks.shape)
    if peaks[at] < 0.03:
        return np.zeros(2)
    found = [_refined(peaks, at, axis) for axis in (1, 0)]
    return np.array([d - n if d > n / 2 else d for d, n in zip(found, before.shape[::-1], strict=True)])


def _refined(peaks: np.ndarray, at: tuple, axis: int) -> float:
    """Subpixel position of a maximum along an axis, by a parabola through it and its neighbours."""
    line = np.moveaxis(peaks, axis, 0)[:, at[1 - axis]]
    k = at[axis]
    left, middle, right = line[k - 1], line[k], line[(k + 1) % len(line)]
    bend = left - 2 * middle + right
    return k + (0.0 if bend == 0 else 0.5 * (left - right) / bend)


def _person(track: KeypointTrack, seconds: float) -> np.ndarray:
    """(H, W) bool: the person's box at a time of the video."""
    mask = np.zeros(SIZE[::-1], dtype=bool)
    points = track.keypoints[min(round(seconds * track.fps), len(track) - 1)].numpy()
    seen = points[points[:, 2] > 0, :2] / np.array(track.image_size)
    if len(seen):
        low, high = seen.min(0), seen.max(0)
        low, high = low - _MARGIN * (high - low), high + _MARGIN * (high - low)
        (x0, y0), (x1, y1) = (np.clip(v, 0, 1) * SIZE for v in (low, high))
        mask[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    return mask


def _without(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image with the masked pixels replaced by the mean of the others."""
    return np.where(mask, picture[~mask].mean() if (~mask).any() else 0.0, picture)
