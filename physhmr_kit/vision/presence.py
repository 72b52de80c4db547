"""When a person is seen: the spans of a film that can be reconstructed, and those in which nothing is placed.

Across a short gap the estimate is carried by what is seen on both sides of it (`refinement.bridged`, `path.solve_path`).
A longer one tells nothing about where the person went, so it parts the film.
"""

from __future__ import annotations

import numpy as np
import torch

from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack

UNSEEN = 0.1
"""Mean confidence of the limbs up to which a frame shows nobody."""

LONGEST_GAP = 0.5
"""Longest time, s, without the person that is bridged."""

SHORTEST_SPAN = 8
"""A person seen for fewer frames is no motion: a quarter of a second at 30 fps."""


def visibility(keypoints: torch.Tensor) -> torch.Tensor:
    """How much of the person a frame shows, 0..1: keypoints (T, 17, 3) -> (T,)."""
    return keypoints[:, RAY_COCO, 2].mean(1)


def seen_spans(seen: torch.Tensor, longest_gap: int) -> list[tuple[int, int]]:
    """Spans of frames that begin and end with a seen one and hold no gap of more than `longest_gap` frames.

    Args:
        seen: (T,) bool.

    Returns:
        first frame and the frame after the last, in order; none where nobody is seen.
    """
    rows = np.flatnonzero(seen.numpy())
    if len(rows) == 0:
        return []
    ends = np.flatnonzero(np.diff(rows) > longest_gap + 1)
    starts, stops = np.r_[0, ends + 1], np.r_[ends, len(rows) - 1]
    return [(int(rows[a]), int(rows[b]) + 1) for a, b in zip(starts, stops, strict=True)]


def spans_to_place(keypoints: KeypointTrack) -> list[tuple[int, int]]:
    """The spans of a track in which the person is seen, `SHORTEST_SPAN` frames or longer; the whole of one that shows the
    person throughout may be as short as it likes."""
    spans = seen_spans(visibility(keypoints.keypoints) > UNSEEN, round(LONGEST_GAP * keypoints.fps))
    return [(a, b) for a, b in spans if b - a >= min(SHORTEST_SPAN, len(keypoints))]
