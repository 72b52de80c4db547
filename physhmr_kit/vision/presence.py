"""The spans of a video that show the person and can be reconstructed.

A short gap is bridged from the frames on both sides (`refinement.bridged`, `path.solve_path`). After a longer one the
position of the person is unknown, so it splits the video.
"""

from __future__ import annotations

import numpy as np
import torch

from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack

UNSEEN = 0.1
"""Mean confidence of the limb keypoints up to which a frame counts as showing nobody."""

LONGEST_GAP = 0.5
"""Longest gap, s, that is bridged."""

SHORTEST_SPAN = 8
"""Frames in the shortest span that is reconstructed: a quarter of a second at 30 fps."""


def visibility(keypoints: torch.Tensor) -> torch.Tensor:
    """Visible share of the person per frame, 0..1: keypoints (T, 17, 3) -> (T,)."""
    return keypoints[:, RAY_COCO, 2].mean(1)


def seen_spans(seen: torch.Tensor, longest_gap: int) -> list[tuple[int, int]]:
    """Spans of frames that start and end with a seen frame and contain no gap of more than `longest_gap` frames.

    Args:
        seen: (T,) bool.

    Returns:
        (first frame, last frame + 1) of each span, in order; empty if nobody is seen.
    """
    rows = np.flatnonzero(seen.numpy())
    if len(rows) == 0:
        return []
    ends = np.flatnonzero(np.diff(rows) > longest_gap + 1)
    starts, stops = np.r_[0, ends + 1], np.r_[ends, len(rows) - 1]
    return [(int(rows[a]), int(rows[b]) + 1) for a, b in zip(starts, stops, strict=True)]


def spans_to_place(keypoints: KeypointTrack) -> list[tuple[int, int]]:
    """Spans of at least `SHORTEST_SPAN` frames in which the person is seen; a shorter track that is seen throughout is kept."""
    spans = seen_spans(visibility(keypoints.keypoints) > UNSEEN, round(LONGEST_GAP * keypoints.fps))
    return [(a, b) for a, b in spans if b - a >= min(SHORTEST_SPAN, len(keypoints))]
