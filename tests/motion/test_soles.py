"""Soles: corners, stance, tilt and metrics."""

import math

import pytest
import roma
import torch

from physhmr_kit.body import Humanoid, foot_corners
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics, yaw_quaternion
from physhmr_kit.motion.soles import contact_point, find_stance, measure_soles, runs, sole_corners, sole_tilt


def standing(frames=60, fps=60.0, move=(0.0, 0.0, 0.0)) -> Clip:
    """The rest pose on its soles, moving by `move` m/s."""
    rot = torch.tensor([0.0, 0, 0, 1]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.tensor([0.0, 0.0, standing_height()]) + torch.arange(frames)[:, None] / fps * torch.tensor(move)
    return Clip.from_joints(root, rot, fps, "standing")


def bodies(clip):
    return forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)


def test_the_rest_pose_stands_on_sixteen_corners_at_height_zero():
    corners = sole_corners(*bodies(standing(2)))
    assert corners.shape == (2, 2, 8, 3)
    assert corners[..., 2].abs().max() < 1e-4
    assert (corners[:, 0, :, 1] > 0).float().mean() > 0.9  # left foot at +y
    pos, _ = bodies(standing(1))
    heel = foot_corners()[7][0]  # y-up body frame: x left, z forward
    expected = pos[0, 7] + torch.stack([heel[2], heel[0], heel[1]])
    assert torch.allclose(corners[0, 0, 0], expected, atol=1e-5)


def test_a_static_foot_is_in_stance_and_a_fast_or_high_one_is_not():
    assert find_stance(sole_corners(*bodies(standing())), 60.0).all()
    corners = sole_corners(*bodies(standing()))
    assert not find_stance(corners + torch.tensor([0, 0, 0.04]), 60.0).any()
    swinging = corners.clone()
    swinging[:, 0, :, 0] += torch.linspace(0, 2.0, 60)[:, None]  # one foot at 2 m/s, the other still
    stance = find_stance(swinging, 60.0)
    assert not stance[:, 0].any() and stance[:, 1].all()


def test_feet_that_slide_with_a_travelling_body_are_in_stance():
    corners = sole_corners(*bodies(standing(move=(0.45, 0.0, 0.0))))
    assert find_stance(corners, 60.0).all()


def test_short_gaps_are_closed_and_short_stances_dropped():
    corners = sole_corners(*bodies(standing(frames=200, fps=100.0)))
    corners[50:52, 0, :, 2] += 0.05  # 20 ms in the air, and as long again of rising and falling
    corners[:, 1, :, 2] += 0.05
    corners[100:106, 1, :, 2] -= 0.05  # 60 ms on the floor
    stance = find_stance(corners, 100.0)
    assert stance[:, 0].all() and not stance[:, 1].any()


def test_runs_of_a_mask():
    mask = torch.tensor([True, True, False, True, False, False])
    assert runs(mask) == [(0, 2), (3, 4)]
    assert runs(mask, False) == [(2, 3), (4, 6)]


def test_a_sole_rolling_about_its_lowest_edge_does_not_slide():
    frames, fps = 50, 100.0
    corners = sole_corners(*bodies(standing(frames, fps)))
    toe = corners[0, 0, 4:, 0].max()
    angle = torch.linspace(0, 0.6, frames)[:, None]  # heel rises about the front edge of the toe box
    back = corners[:, 0, :, 0] - toe
    corners[:, 0, :, 0], corners[:, 0, :, 2] = toe + back * angle.cos(), -back * angle.sin()
    point, velocity = contact_point(corners, fps)
    assert velocity[15:-1, 0, :2].norm(dim=-1).max() < 0.01
    assert (point[15:, 0, 0] - toe).abs().max() < 0.01


@pytest.mark.parametrize("axis, angle, which", [((0, 1, 0), 0.3, 1), ((1, 0, 0), 0.2, 2), ((0, 0, 1), 0.7, 0)])
def test_tilt_is_yaw_pitch_roll_of_the_sole(axis, angle, which):
    # pitch: the heel higher (nose down, +y turn); roll: the left edge higher (+x turn); yaw about z
    rot = bodies(standing(1))[1]
    turn = roma.rotvec_to_unitquat(angle * torch.tensor(axis, dtype=torch.float32)).expand_as(rot)
    expected = torch.zeros(3)
    expected[which] = angle
    assert torch.allclose(sole_tilt(roma.quat_product(turn, rot))[0, 0], expected, atol=1e-5)


def test_metrics_of_a_known_motion():
    sunk = standing(move=(0.1, 0.0, 0.0))
    sunk = Clip.from_joints(sunk.root_pos - torch.tensor([0.0, 0, 0.012]), sunk.joint_rot, 60.0)
    seen = measure_soles(sunk)
    assert seen.penetration == pytest.approx(0.012, abs=1e-4) and seen.deepest == pytest.approx(0.012, abs=1e-4)
    assert seen.sliding == pytest.approx(0.1, abs=1e-3)
    assert seen.float_height == pytest.approx(0.012, abs=1e-4)
    assert seen.roll < 1e-3 and seen.pitch < 1e-3


def test_stance_metrics_are_nan_without_stance():
    clip = standing()
    flying = Clip.from_joints(clip.root_pos + torch.tensor([0.0, 0, 0.5]), clip.joint_rot, 60.0)
    seen = measure_soles(flying)
    assert seen.penetration == 0 and math.isnan(seen.sliding) and math.isnan(seen.roll)


def test_heading_does_not_change_the_metrics():
    clip = demo_clip("walk_forward")
    yaw = yaw_quaternion(torch.tensor(1.1))
    rot = clip.joint_rot
    rot[:, 0] = roma.quat_product(yaw.expand(len(clip), 4), rot[:, 0])
    turned = Clip.from_joints(roma.quat_action(yaw.expand(len(clip), 4), clip.root_pos), rot, clip.fps)
    a, b = measure_soles(clip), measure_soles(turned)
    assert a.sliding == pytest.approx(b.sliding, abs=1e-3) and a.pitch == pytest.approx(b.pitch, abs=1e-3)
