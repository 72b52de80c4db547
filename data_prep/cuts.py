"""Cuts in a film: where the picture changes at once, and nobody in it goes on from where somebody was.

Neither is enough alone: a flash or a whip of the camera changes the picture, and a detector that jumps to somebody else moves every
keypoint. After a cut there is another camera, so each shot is reconstructed by itself.
"""

from __future__ import annotations

import os

import numpy as np

from data_prep.detect import Detections
from data_prep.people import SHORT, bodies_of, similarity

LEAST_CHANGE = 15.0
"""Mean difference of a picture from the one before, 0..255, from which on it may be another shot's first."""

GOES_ON = 0.75
"""Similarity of bodies (`people.similarity`) from which on somebody goes on. Far above `people.SAME`: a cut to a nearer view of the
same man in the middle of the picture left 0.67, and his neighbouring frames had 0.92 or more."""

_SUDDEN = 4.0  # times the usual change of the pictures around
_AROUND = 15  # pictures on either side


def find_cuts(found: Detections) -> list[int]:
    """Numbers of the frames with which a new shot begins; none where the pictures are unknown (`Detections.change`)."""
    if found.change is None:
        return []
    bodies = bodies_of(found)

    def goes_on(frame: int) -> bool:
        here = found.times[frame]
        before = np.flatnonzero((bodies.frame < frame) & (here - bodies.times <= SHORT))
        after = np.flatnonzero((bodies.frame >= frame) & (bodies.times - here <= SHORT))
        last = before[bodies.frame[before] == bodies.frame[before].max(initial=-1)]
        first = after[bodies.frame[after] == bodies.frame[after].min(initial=len(found.times))]
        return any(similarity(bodies, int(a), int(b), np.zeros(2)) >= GOES_ON for a in last for b in first)

    return [frame for frame in _sudden(found.change) if not goes_on(frame)]


def _sudden(change: np.ndarray) -> list[int]:
    """Frames whose picture differs much more from the one before than is usual around them."""
    frames = []
    for frame in np.flatnonzero(change >= LEAST_CHANGE).tolist():
        around = np.concatenate([change[max(1, frame - _AROUND) : frame], change[frame + 1 : frame + _AROUND + 1]])
        if len(around) == 0 or change[frame] >= _SUDDEN * np.median(around):
            frames.append(frame)
    return frames


def picture_changes(video: str | os.PathLike) -> np.ndarray:
    """Mean difference of each picture of a video from the one before, 0..255: (T,), at first 0."""
    import av

    changes, before = [], None
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            small = frame.reformat(96, 54, "gray").to_ndarray().astype(np.int16)
            changes.append(0.0 if before is None else float(np.abs(small - before).mean()))
            before = small
    return np.array(changes)
