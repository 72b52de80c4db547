"""Spans of a video in which the person is seen."""

import pytest
import torch

from physhmr_kit.vision.presence import seen_spans


@pytest.mark.parametrize(
    ("film", "gap", "spans"),
    [
        ("######", 1, [(0, 6)]),
        ("..##..", 1, [(2, 4)]),
        ("##.##", 1, [(0, 5)]),
        ("##..##", 1, [(0, 2), (4, 6)]),
        ("##..##", 2, [(0, 6)]),
        ("#...#..#", 2, [(0, 1), (4, 8)]),
        ("....", 2, []),
    ],
)
def test_short_gaps_are_bridged_and_long_ones_split_the_video(film, gap, spans):
    assert seen_spans(torch.tensor([c == "#" for c in film]), gap) == spans
