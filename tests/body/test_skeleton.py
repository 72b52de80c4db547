"""The 24 joints: names, tree, mirroring, rest pose."""

import torch

from physhmr_kit.body.skeleton import (
    BODY_NAMES,
    JOINT_NAMES,
    MIRROR,
    NUM_JOINTS,
    PARENTS,
    mean_offsets,
    rest_joints,
    standing_height,
    without_side,
)


def test_there_are_24_joints_and_parents_come_before_children():
    assert len(JOINT_NAMES) == len(BODY_NAMES) == len(PARENTS) == NUM_JOINTS == 24
    assert len(set(JOINT_NAMES)) == len(set(BODY_NAMES)) == 24
    assert all(parent < joint for joint, parent in enumerate(PARENTS))


def test_mirroring_twice_changes_nothing_and_swaps_left_with_right():
    assert [MIRROR[MIRROR[j]] for j in range(24)] == list(range(24))
    for joint, other in enumerate(MIRROR):
        assert without_side(JOINT_NAMES[other]) == without_side(JOINT_NAMES[joint])
        assert (other == joint) == (without_side(JOINT_NAMES[joint]) == JOINT_NAMES[joint])
        assert PARENTS[other] == (MIRROR[PARENTS[joint]] if PARENTS[joint] >= 0 else -1)


def test_the_mean_shape_is_its_own_mirror_image():
    offsets = mean_offsets()
    torch.testing.assert_close(offsets[list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0]), offsets)


def test_the_rest_pose_has_the_size_of_an_adult():
    joints = rest_joints()
    arm_span = float(joints[22, 0] - joints[23, 0])
    assert 1.3 < arm_span < 1.6  # from hand joint to hand joint, without fingers
    assert 0.85 < standing_height() < 1.0
    assert 1.45 < float(joints[15, 1]) + standing_height() < 1.65  # the head joint, below the crown
