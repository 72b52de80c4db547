"""Reward and termination terms against hand-computed values."""

import math
from dataclasses import replace

import pytest
import roma
import torch
from motions import rest_clip

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import rewards, terminations
from physhmr_kit.motion.following import mean_body_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState

MASSES = Humanoid.mean().segment_masses() / 70.0


@pytest.fixture(scope="module")
def still() -> BodyState:
    """Two bodies at rest."""
    return MotionLibrary([rest_clip(2)]).clip(0)


def shifted(state: BodyState, metres: float) -> BodyState:
    return replace(state, body_pos=state.body_pos + torch.tensor([metres, 0.0, 0.0]))


def turned(state: BodyState, angle: float) -> BodyState:
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, angle])).expand_as(state.body_rot)
    return replace(state, body_rot=roma.quat_product(turn, state.body_rot))


def faster(state: BodyState, speed: float) -> BodyState:
    return replace(state, body_lin_vel=state.body_lin_vel + torch.tensor([0.0, speed, 0.0]))


def spinning(state: BodyState, speed: float) -> BodyState:
    return replace(state, body_ang_vel=state.body_ang_vel + torch.tensor([0.0, 0.0, speed]))


# term, disturbance of the imitation, its amount, and the resulting reward:
#   100 * 0.1^2 / 3 axes; 10 * 0.2^2; 0.1 * 3^2 / 3 axes; 0.1 * 6^2 / 3 axes
IMITATION = [
    (rewards.position, shifted, 0.1, math.exp(-1 / 3)),
    (rewards.rotation, turned, 0.2, math.exp(-0.4)),
    (rewards.velocity, faster, 3.0, math.exp(-0.3)),
    (rewards.angular_velocity, spinning, 6.0, math.exp(-1.2)),
]


@pytest.mark.parametrize("term, spoil, amount, expected", IMITATION)
def test_imitation_terms_have_hand_computed_values(term, spoil, amount, expected, still):
    assert term(still, still).tolist() == pytest.approx([1, 1])
    torch.testing.assert_close(term(spoil(still, amount), still), torch.full((2,), expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("term, spoil, amount, expected", IMITATION)
def test_imitation_terms_decrease_with_the_error_regardless_of_its_sign(term, spoil, amount, expected, still):
    values = [float(term(spoil(still, share * amount), still)[0]) for share in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True) and values[-1] < values[0]
    torch.testing.assert_close(
        term(spoil(still, -amount), still), term(spoil(still, amount), still), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("term, spoil, amount, expected", IMITATION)
def test_an_error_affects_its_own_environment_only(term, spoil, amount, expected, still):
    mixed = still.with_rows(torch.tensor([1]), spoil(still, amount)[1:])
    value = term(mixed, still)
    assert value[0] == pytest.approx(1) and value[1] == pytest.approx(expected, rel=1e-3)


def test_power_is_the_sum_of_absolute_torque_times_velocity():
    torque, velocity = torch.zeros(2, 69), torch.zeros(2, 69)
    torque[0, :2], velocity[0, :2] = torch.tensor([2.0, 4.0]), torch.tensor([-3.0, 0.5])
    assert rewards.power(torque, velocity).tolist() == [8.0, 0.0]


@pytest.mark.parametrize(
    "joints, expected", [((7, 8, 10, 11), 1.0), ((10,), 0.25), ((7, 8), 0.5), ((0, 4, 15, 20), 0.0)]
)
def test_feet_is_the_mean_over_ankles_and_toes_only(joints, expected, still):
    pos = still.body_pos.clone()
    pos[0, list(joints)] += torch.tensor([0.06, 0.0, -0.08])
    value = rewards.feet(replace(still, body_pos=pos), still)
    assert value.tolist() == pytest.approx([math.exp(-50 * expected * 0.1**2), 1])


def planted(com_x: float, com_y: float) -> BodyState:
    """Feet at (0, +-0.1), every other body at (com_x, com_y)."""
    pos = torch.zeros(1, 24, 3)
    pos[:, :, 0], pos[:, :, 1] = com_x, com_y
    for joint, y in ((7, 0.1), (10, 0.1), (8, -0.1), (11, -0.1)):
        pos[:, joint] = torch.tensor([0.0, y, 0.05])
    zero, dof = torch.zeros(1, 24, 3), torch.zeros(1, 69)
    return BodyState(pos, torch.zeros(1, 24, 4), zero, zero, dof, dof)


WITHOUT_FEET = MASSES.clone()
WITHOUT_FEET[[7, 8, 10, 11]] = 0
WITHOUT_FEET /= WITHOUT_FEET.sum()


@pytest.mark.parametrize(
    "place, distance",
    [
        ((0.0, 0.0), 0.0),
        ((0.0, 0.09), 0.0),
        ((0.1, 0.0), 0.1),
        ((0.2, 0.05), 0.2),
        ((0.0, 0.3), 0.2),
        ((0.3, 0.5), 0.5),
    ],
)
def test_balance_uses_the_distance_from_the_centre_of_mass_to_the_segment_between_the_feet(place, distance):
    value = rewards.balance(planted(*place), WITHOUT_FEET)
    assert float(value) == pytest.approx(math.exp(-20 * distance**2), abs=1e-4)


def test_a_foot_is_the_midpoint_of_ankle_and_toes():
    body = planted(0.0, 0.0)
    body.body_pos[:, [10, 11], 0] = 0.2  # the feet point forwards
    assert float(rewards.balance(body, WITHOUT_FEET)) == pytest.approx(math.exp(-20 * 0.1**2), abs=1e-4)


def test_the_centre_of_mass_is_weighted_by_mass():
    body = planted(0.0, 0.0)
    body.body_pos[:, 0, 0] = 0.4
    share = float(WITHOUT_FEET[0])
    assert float(rewards.balance(body, WITHOUT_FEET)) == pytest.approx(math.exp(-20 * (0.4 * share) ** 2), abs=1e-4)


def test_balance_is_defined_with_both_feet_in_one_place():
    body = planted(0.1, 0.0)
    body.body_pos[:, [7, 8, 10, 11]] = 0.0
    assert float(rewards.balance(body, WITHOUT_FEET)) == pytest.approx(math.exp(-20 * 0.1**2), abs=1e-4)


def test_a_body_at_rest_is_balanced(still):
    assert (rewards.balance(still, MASSES) > 0.9).all()


def pressed(state: BodyState, left: float, right: float) -> torch.Tensor:
    force = torch.zeros(len(state), 24, 3)
    force[:, 7, 2], force[:, 8, 2] = left, right
    return force


def test_foot_contact_is_one_when_both_feet_agree_with_the_reference(still):
    assert rewards.foot_contact(still, still, pressed(still, 350, 350)).tolist() == [1, 1]
    assert rewards.foot_contact(still, still, pressed(still, 700, 0)).tolist() == [0.5, 0.5], "one foot is in the air"
    assert rewards.foot_contact(still, still, pressed(still, 5, 5)).tolist() == [0, 0], "below 10 N"


def test_a_slipping_foot_reduces_foot_contact(still):
    slipping = replace(still, body_lin_vel=still.body_lin_vel.index_fill(1, torch.tensor([7, 10]), 0.3))
    value = rewards.foot_contact(slipping, still, pressed(still, 350, 350))  # speed on the floor: 0.3 sqrt 2 m/s
    assert float(value[0]) == pytest.approx((1 + math.exp(-10 * 0.18)) / 2, abs=1e-4)


def test_only_the_slower_end_of_a_foot_and_only_sideways_counts_as_slipping(still):
    """A foot that rolls over its toes or is set down does not slip."""
    rolling = replace(still, body_lin_vel=still.body_lin_vel.index_fill(1, torch.tensor([7, 8]), 1.0))
    assert rewards.foot_contact(rolling, still, pressed(still, 350, 350)).tolist() == [1, 1]
    down = still.body_lin_vel.clone()
    down[..., 2] = -1.0
    landing = replace(still, body_lin_vel=down)
    assert rewards.foot_contact(landing, still, pressed(still, 350, 350)).tolist() == [1, 1]


def test_a_swing_foot_may_move(still):
    flying = replace(still, body_pos=still.body_pos + torch.tensor([0.0, 0.0, 0.5]))
    kicking = replace(still, body_lin_vel=still.body_lin_vel + 2.0)
    assert rewards.foot_contact(kicking, flying, pressed(still, 0, 0)).tolist() == [1, 1]


def test_foot_load_is_the_vertical_force_on_ankle_and_toes(still):
    force = torch.zeros(2, 24, 3)
    force[:, [7, 10, 8, 11], 2] = 6.0
    assert rewards.foot_contact(still, still, force).tolist() == [1, 1], "12 N on each foot"
    force[:, [10, 11], 2] = 3.0
    assert rewards.foot_contact(still, still, force).tolist() == [0, 0], "9 N"
    force[..., 0] = 100.0
    assert rewards.foot_contact(still, still, force).tolist() == [0, 0], "horizontal force does not count"


def test_reference_contact_needs_less_than_12_cm_height_and_0_3_m_per_s(still):
    low, high = still.body_pos.clone(), still.body_pos.clone()
    low[..., 2], high[..., 2] = 0.119, 0.121
    for pos, rests in ((low, True), (high, False)):
        assert bool(rewards.reference_contact(replace(still, body_pos=pos)).all()) == rests
    for speed, rests in ((0.29, True), (0.31, False)):
        moving = replace(still, body_pos=low, body_lin_vel=still.body_lin_vel + torch.tensor([0.6, 0.0, 0.8]) * speed)
        assert bool(rewards.reference_contact(moving).all()) == rests


def test_a_foot_lifted_by_the_reference_must_be_lifted(still):
    """The left foot is 20 cm up: only the right foot should be in contact."""
    lifted = still.body_pos.clone()
    lifted[:, [7, 10], 2] += 0.2
    reference = replace(still, body_pos=lifted)
    assert rewards.reference_contact(reference).tolist() == [[False, True, False, True]] * 2
    assert rewards.foot_contact(still, reference, pressed(still, 0, 700)).tolist() == [1, 1]
    assert rewards.foot_contact(still, reference, pressed(still, 350, 350)).tolist() == [0.5, 0.5]


def test_a_reference_on_its_toes_is_in_contact(still):
    """The left heel is 20 cm up, the toes are on the floor: one of the two is enough."""
    tiptoe = still.body_pos.clone()
    tiptoe[:, 7, 2] += 0.2
    reference = replace(still, body_pos=tiptoe)
    assert rewards.reference_contact(reference).tolist() == [[False, True, True, True]] * 2
    assert rewards.foot_contact(still, reference, pressed(still, 350, 350)).tolist() == [1, 1]


def test_a_fast_reference_foot_is_not_in_contact(still):
    moving = replace(still, body_lin_vel=still.body_lin_vel.index_fill(1, torch.tensor([8]), 1.0))
    assert rewards.reference_contact(moving).tolist() == [[True, False, True, True]] * 2


# Terminations


def test_any_body_far_has_the_configured_distance():
    there, here = torch.zeros(2, 24, 3), torch.zeros(2, 24, 3)
    here[:, 20, 0] = torch.tensor([0.26, 0.24])
    assert terminations.any_body_far(here, there, 0.25).tolist() == [True, False]


def test_training_ignores_feet_and_evaluation_ignores_toes_and_hands():
    there = torch.zeros(24, 24, 3)
    here = torch.eye(24)[:, :, None] * torch.tensor([0.2, -0.2, 0.0])  # body k of row k is 28 cm away
    far = terminations.any_body_far(here, there, 0.25)
    assert far.logical_not().nonzero().flatten().tolist() == [7, 8, 10, 11]
    counted = torch.tensor([float(joint not in (10, 11, 22, 23)) for joint in range(24)])
    torch.testing.assert_close(mean_body_distance(here, there), counted * 0.2 * 2**0.5 / 20)


def test_evaluation_uses_the_mean_distance_of_twenty_bodies():
    there, here = torch.zeros(3, 24, 3), torch.zeros(3, 24, 3)
    here[0, :, 2] = 0.51
    here[1, :, 2] = 0.49
    here[2, [10, 11, 22, 23], 2] = 100.0  # toes and hands do not count
    assert terminations.mean_body_far(here, there, 0.5).tolist() == [True, False, False]
    assert terminations.mean_body_far(here, there, 0.4).tolist() == [True, True, False]
    here[2] = 0
    here[2, 0, 0] = 20 * 0.51  # one body as far off as twenty together
    assert terminations.mean_body_far(here, there, 0.5)[2]


# Video: the root is unknown


def test_the_pose_is_compared_relative_to_the_root(still):
    assert rewards.pose(shifted(still, 0.4), still).tolist() == pytest.approx([1, 1])
    bent = still.body_pos.clone()
    bent[:, 1:] += torch.tensor([0.1, 0.0, 0.0])
    torch.testing.assert_close(
        rewards.pose(replace(still, body_pos=bent), still),
        torch.full((2,), math.exp(-100 * 0.01 * 23 / 24 / 3)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_ray_reward_measures_distances_from_rays(still):
    """Seen along +x from 5 m away, a body moved 0.2 m sideways is 0.2 m off its rays, one moved along them is not."""
    joints = still.body_pos[:, list(rewards.RAY_JOINTS)]
    centre = joints.mean(1) - torch.tensor([5.0, 0.0, 0.0])
    view = rewards.View(centre, joints, torch.ones(2, 12))
    assert rewards.rays(still, view).tolist() == pytest.approx([1, 1], abs=1e-5)
    aside = replace(still, body_pos=still.body_pos + torch.tensor([0.0, 0.2, 0.0]))
    assert rewards.rays(aside, view).tolist() == pytest.approx([math.exp(-60 * 0.04)] * 2, rel=0.05)
    away = replace(still, body_pos=centre[:, None] + 1.1 * (still.body_pos - centre[:, None]))
    assert rewards.rays(away, view).tolist() == pytest.approx([1, 1], abs=1e-4)


def test_the_ray_reward_clips_outliers_and_weights_by_confidence(still):
    joints = still.body_pos[:, list(rewards.RAY_JOINTS)]
    centre = joints.mean(1) - torch.tensor([5.0, 0.0, 0.0])
    point, confidence = joints.clone(), torch.ones(2, 12)
    point[:, 0] += torch.tensor([0.0, 3.0, 0.0])
    view = rewards.View(centre, point, confidence)
    assert rewards.rays(still, view).tolist() == pytest.approx([math.exp(-60 * 0.25 / 12)] * 2, rel=1e-3)
    confidence[:, 0] = 0
    assert rewards.rays(still, view).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert rewards.rays(still, view._replace(confidence=torch.zeros(2, 12))).tolist() == [1, 1]


def test_relative_body_far_ignores_horizontal_drift_but_not_a_fall(still):
    pos = still.body_pos
    assert not terminations.relative_body_far(pos + torch.tensor([3.0, -2.0, 0.0]), pos, 0.3).any()
    assert terminations.relative_body_far(pos - torch.tensor([0.0, 0.0, 0.31]), pos, 0.3).all()
    flat = pos[..., [2, 1, 0]]
    assert terminations.relative_body_far(flat, pos, 0.3).all()
    assert terminations.relative_body_far(flat, pos, 10.0).all(), "regardless of the distance"
    assert not terminations.relative_body_far(flat, flat, 0.3).any(), "the reference lies too"
    assert terminations.relative_body_far(pos * math.nan, pos, 0.3).all()
