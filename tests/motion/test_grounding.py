"""Grounding: synthetic faults are removed, and a well-grounded clip hardly changes."""

import math

import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body import Humanoid
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.grounding import _foot_corrections, ground, level, plant_feet, settle_feet, stance_of
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import measure_soles


def tilted(clip: Clip, rise: float, offset: float = 0.0) -> Clip:
    """The clip on a floor that rises by `rise` metres for each metre along +x, `offset` too high."""
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, -math.atan(rise), 0.0])).expand(len(clip), 4)
    rot = clip.joint_rot
    rot[:, 0] = roma.quat_product(turn, rot[:, 0])
    return Clip.from_joints(
        roma.quat_action(turn, clip.root_pos) + torch.tensor([0, 0, offset]), rot, clip.fps, clip.name
    )


def ankle_rolled(clip: Clip, degrees: float) -> Clip:
    rot = clip.joint_rot
    roll = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, math.radians(degrees)])).expand(len(clip), 4)
    for ankle in (7, 8):
        rot[:, ankle] = roma.quat_product(rot[:, ankle], roll)
    return Clip.from_joints(clip.root_pos, rot, clip.fps, clip.name)


@pytest.mark.parametrize("name", ["stand", "squat", "walk_forward", "punch"])
def test_a_well_grounded_clip_hardly_changes(name):
    clip = demo_clip(name)
    after = ground(clip)
    root = clip.root_pos - torch.tensor([*clip.root_pos[0, :2], 0.0])
    assert (after.root_pos - root).norm(dim=-1).max() < 0.03
    assert torch.rad2deg(roma.unitquat_geodesic_distance(after.joint_rot, clip.joint_rot)[:, [1, 2, 4, 5]].median()) < 2
    assert after.fps == clip.fps and after.name == clip.name and len(after) == len(clip)


def test_grounding_does_not_modify_its_input():
    clip = tilted(demo_clip("squat"), 0.0, 0.2)
    poses, trans = clip.poses.copy(), clip.trans.copy()
    ground(clip)
    assert np.array_equal(clip.poses, poses) and np.array_equal(clip.trans, trans)


def test_a_sloping_floor_at_any_height_becomes_level():
    clip = demo_clip("walk_forward").resample(60.0)
    for rise, offset in ((0.02, 0.3), (-0.015, -1.0)):
        before = tilted(clip, rise, offset)
        assert measure_soles(before).penetration > 0.02 or not stance_of(before).any()
        after = ground(before)
        seen = measure_soles(after)
        assert seen.penetration < 1e-3 and seen.float_height < 2e-3
        height = level(before).root_pos[:, 2]
        climbed = height[-5:].mean() - height[:5].mean()
        assert abs(float(climbed)) < 0.5 * abs(rise) * float(clip.root_pos[-1, 0] - clip.root_pos[0, 0])


def test_standing_with_one_foot_higher_does_not_tilt_the_world():
    clip = demo_clip("stand")
    rot = clip.joint_rot
    raised = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, math.radians(2.0)])).expand(len(clip), 4)
    rot[:, 0] = roma.quat_product(rot[:, 0], raised)  # 2 degrees sideways: one sole 7 mm above the other
    leaning = Clip.from_joints(clip.root_pos, rot, clip.fps)
    turned = roma.unitquat_geodesic_distance(level(leaning).joint_rot[:, 0], leaning.joint_rot[:, 0])
    assert torch.rad2deg(turned).max() < 0.7


def test_sliding_of_a_badly_scaled_capture_is_removed():
    clip = demo_clip("walk_forward").resample(60.0)
    seconds = torch.arange(len(clip)) / 60
    slid = clip.root_pos + torch.stack([0.25 * seconds, 0 * seconds, 0 * seconds], dim=-1)
    before = Clip.from_joints(slid, clip.joint_rot, 60.0, "slid")
    levelled = level(before)
    stance = stance_of(levelled)
    assert stance.double().mean() > 0.5
    after = plant_feet(settle_feet(levelled, stance), stance)
    assert measure_soles(before, stance).sliding > 0.2
    assert measure_soles(after, stance).sliding < 0.03
    assert float(after.root_pos[-1, 0] - clip.root_pos[-1, 0] + clip.root_pos[0, 0]) < 0.5 * 0.25 * float(seconds[-1])


def test_rolled_soles_are_flattened_and_the_legs_hardly_move():
    clip = ankle_rolled(demo_clip("walk_forward").resample(60.0), 12.0)
    after = ground(clip)
    assert math.degrees(measure_soles(clip).roll) > 10
    assert math.degrees(measure_soles(after).roll) < 1
    turned = roma.unitquat_geodesic_distance(after.joint_rot, clip.joint_rot)[:, [1, 2, 4, 5]]
    assert torch.rad2deg(turned.median()) < 4


def test_a_jump_keeps_its_flight():
    clip = demo_clip("squat").resample(60.0)
    count = len(clip)
    lift = torch.zeros(count)
    up = slice(count // 2 - 15, count // 2 + 15)
    time = torch.linspace(-0.25, 0.25, 30)
    lift[up] = 0.5 * 9.81 * (0.25**2 - time**2)  # half a second of ballistic flight, 31 cm high
    jumped = Clip.from_joints(clip.root_pos + torch.stack([0 * lift, 0 * lift, lift], -1), clip.joint_rot, 60.0)
    after = ground(jumped)
    assert not stance_of(after)[count // 2 - 10 : count // 2 + 10].any()
    assert float((after.root_pos[:, 2] - jumped.root_pos[:, 2]).abs().max()) < 0.03


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_very_short_clips_are_grounded_too(frames):
    after = ground(tilted(demo_clip("squat").cut(0, frames), 0.0, 0.5))
    assert len(after) == frames
    assert measure_soles(after).penetration < 1e-3


def test_a_clip_without_any_stance_is_only_lowered():
    clip = demo_clip("stand")
    rush = clip.root_pos + torch.arange(len(clip))[:, None] / 30 * torch.tensor([0.0, 0.0, 3.0])
    after = ground(Clip.from_joints(rush, clip.joint_rot, clip.fps))
    assert roma.unitquat_geodesic_distance(after.joint_rot[:, 1:], clip.joint_rot[:, 1:]).max() < 1e-3


def test_bones_keep_their_length():
    clip = demo_clip("walk_forward")
    after = ground(tilted(clip, 0.015))
    pos, _ = forward_kinematics(after.root_pos, after.joint_rot, Humanoid.mean().offsets)
    for upper, lower in ((1, 4), (4, 7), (2, 5), (5, 8)):
        length = (pos[:, lower] - pos[:, upper]).norm(dim=-1)
        assert torch.allclose(length, Humanoid.mean().offsets[lower].norm().expand(len(after)), atol=1e-4)


def test_a_standing_foot_is_moved_onto_the_floor():
    corners = torch.zeros(20, 2, 4, 3)
    corners[:, 0, :, 2], corners[:, 1, :, 2] = 0.02, -0.01
    shift = _foot_corrections(corners, torch.ones(20, 2, dtype=torch.bool), 30.0)
    torch.testing.assert_close(shift[:, 0, 2], torch.full((20,), -0.02, dtype=shift.dtype), atol=1e-4, rtol=0)
    torch.testing.assert_close(shift[:, 1, 2], torch.full((20,), 0.01, dtype=shift.dtype), atol=1e-4, rtol=0)


def test_a_levelled_clip_starts_above_the_origin():
    clip = demo_clip("squat")
    root = clip.root_pos + torch.tensor([3.0, -2.0, 0.0])
    start = level(Clip.from_joints(root, clip.joint_rot, clip.fps, clip.name)).root_pos[0]
    assert start[:2].abs().max() < 1e-4 and start[2] > 0.8
