"""Cutting at teleports: calibration frames are dropped, one teleport gives two clips, many are refused."""

import numpy as np
import pytest
from motions import waving_clip

from data_prep.retargeting.parts import cut, whole_parts
from physhmr_kit.motion.check import Teleport, check_clip
from physhmr_kit.motion.clip import Clip


def shifted(clip: Clip, *stretches: slice) -> Clip:
    """The clip, standing half a metre further on for each stretch."""
    trans = clip.trans.copy()
    for stretch in stretches:
        trans[stretch, 0] += 0.5
    return Clip(clip.poses, trans, clip.fps, clip.name)


def teleport_of(clip: Clip) -> Teleport:
    with pytest.raises(Teleport) as caught:
        check_clip(clip)
    return caught.value


@pytest.mark.parametrize(
    ("steps", "parts"),
    [
        ([], [(0, 90)]),
        ([2], [(3, 90)]),
        ([0, 3], [(4, 90)]),
        ([86], [(0, 87)]),
        ([2, 86], [(3, 87)]),
        ([40], [(0, 41), (41, 90)]),
        ([40, 41], [(0, 41), (42, 90)]),
        ([3, 40], [(4, 41), (41, 90)]),
        ([30, 60], [(0, 31), (31, 61), (61, 90)]),
        ([15, 30, 45, 60], []),
    ],
)
def test_ranges_between_teleports_are_kept_if_they_are_long_enough(steps, parts):
    assert [(p.start, p.stop) for p in whole_parts(steps, 90, 30.0)] == parts


def test_a_clip_with_one_teleport_is_cut_in_two():
    clip = waving_clip(90)
    (first, second), lines = cut(teleport_of(shifted(clip, slice(50, None))))
    assert (first.name, second.name) == ("waving_part1", "waving_part2")
    np.testing.assert_array_equal(first.poses, clip.poses[:50])
    np.testing.assert_array_equal(second.poses, clip.poses[50:])
    assert lines == ["cut in two where it teleports, from frame 49 to 50 (1.63 s)"]
    assert check_clip(first)[0] is first and check_clip(second)[0] is second


def test_calibration_at_both_ends_is_dropped_and_the_name_stays():
    clip = waving_clip(90)
    (part,), lines = cut(teleport_of(shifted(clip, slice(0, 4), slice(88, None))))
    assert part.name == clip.name and len(part) == 84
    np.testing.assert_array_equal(part.trans, clip.trans[4:88])
    assert [line.split(":")[0] for line in lines] == ["first 4 frame(s) left out", "last 2 frame(s) left out"]


def test_many_teleports_are_refused_with_their_number():
    fault = teleport_of(shifted(waving_clip(90), slice(15, 30), slice(45, 60)))
    with pytest.raises(Teleport, match=r"teleports from frame 14 to 15 .*; 4 such steps in 90 frames$"):
        cut(fault)
