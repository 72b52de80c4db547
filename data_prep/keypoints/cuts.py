"""Detects cuts in a video: the image changes abruptly, and no person continues across the change.

Neither is sufficient: a flash or a fast pan also changes the image, and a detector that jumps to somebody else moves every
keypoint. After a cut the camera is another one, so each shot is reconstructed separately.
"""

from __future__ import annotations

import os

import numpy as np

from data_prep.detect import Detections
from data_prep.keypoints.people import SHORT, bodies_of, similarity

LEAST_CHANGE = 15.0
"""Minimum mean difference of a frame from the previous one, 0..255, at a cut."""

CONTINUES = 0.75
"""Minimum similarity of bodies (`people.similarity`) of a person who continues. Far above `people.SAME`: a cut to a closer view of
the same man in the image centre gave 0.67; within a shot his neighbouring frames had at least 0.92."""

_SUDDEN = 4.0  # times the median change of the frames around
_AROUND = 15  # frames on either side


def find_cuts(found: Detections) -> list[int]:
    """Frames at which a new shot begins; empty if `Detections.change` is None."""
    if found.change is None:
        return []
    bodies = bodies_of(found)

    def continues(frame: int) -> bool:
        here = found.times[frame]
        before = np.flatnonzero((bodies.frame < frame) & (here - bodies.times <= SHORT))
        after = np.flatnonzero((bodies.frame >= frame) & (bodies.times - here <= SHORT))
        last = before[bodies.frame[before] == bodies.frame[before].max(initial=-1)]
        first = after[bodies.frame[after] == bodies.frame[after].min(initial=len(found.times))]
        return any(similarity(bodies, int(a), int(b), np.zeros(2)) >= CONTINUES for a in last for b in first)

    return [frame for frame in _sudden(found.change) if not continues(frame)]


def _sudden(change: np.ndarray) -> list[int]:
    """Frames that differ from the previous one much more than the frames around them do."""
    frames = []
    for frame in np.flatnonzero(change >= LEAST_CHANGE).tolist():
        around = np.concatenate([change[max(1, frame - _AROUND) : frame], change[frame + 1 : frame + _AROUND + 1]])
        if len(around) == 0 or change[frame] >= _SUDDEN * np.median(around):
            frames.append(frame)
    return frames


def picture_changes(video: str | os.PathLike) -> np.ndarray:
    """Mean absolute difference of each frame of a video from the previous one, 0..255: (T,), the first 0."""
    import av

    changes, before = [], None
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            small = frame.reformat(96, 54, "gray").to_ndarray().astype(np.int16)
            changes.append(0.0 if before is None else float(np.abs(small - before).mean()))
            before = small
    return np.array(changes)
