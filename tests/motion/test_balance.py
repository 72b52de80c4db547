"""Balance and leg IK, the mechanics of the synthetic motions."""

import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import SOLE_DEPTH
from physhmr_kit.motion.balance import GRAVITY, acceleration, cart_table, support_margin, tipping, zero_moment_point
from physhmr_kit.motion.flight import Flight
from physhmr_kit.motion.leg_ik import HEEL_EDGE, foot_pose, knee_position, leg_ik, straight_leg, turn_x

OFFSETS = Humanoid.mean().offsets.double()
FLIGHT = Flight(start=5, takeoff=23, landing=29, stop=50, rise=0.03, sink=0.02)
FLIGHT_FINE = Flight(50, 230, 290, 500, 0.03, 0.02)


def moment_of(support: np.ndarray, height: np.ndarray) -> np.ndarray:
    """The moment for `cart_table` from a zero-moment point (T, 2) m and the height (T,) m of the centre of mass."""
    return (GRAVITY + acceleration(height, 30))[:, None] * support


def test_a_static_body_has_its_zmp_under_its_centre_of_mass():
    centres = np.random.default_rng(0).normal(1, 0.3, (1, 24, 3)).repeat(9, axis=0)
    masses = np.linspace(1, 5, 24)
    com = np.average(centres, axis=1, weights=masses)
    np.testing.assert_allclose(zero_moment_point(centres, masses, 30), com[:, :2])


def test_a_point_that_accelerates_has_its_zmp_behind_it():
    times = np.arange(31) / 30
    centres = np.zeros((31, 1, 3))
    centres[:, 0, 0], centres[:, 0, 2] = 0.5 * 2.0 * times**2, 0.9
    behind = centres[:, 0, 0] - zero_moment_point(centres, np.array([70.0]), 30)[:, 0]
    np.testing.assert_allclose(behind[1:-1], 0.9 / GRAVITY * 2.0)


def test_the_cart_table_inverts_the_zero_moment_point():
    phase = np.linspace(0, 3, 120)
    support = np.stack([np.tanh(phase - 1.5), np.sin(3 * phase)], axis=-1) * 0.1
    height = 0.9 + 0.03 * np.sin(4 * phase)
    com = cart_table(moment_of(support, height), height, 30)
    point = np.concatenate([com, height[:, None]], axis=-1)[:, None]
    np.testing.assert_allclose(zero_moment_point(point, np.array([70.0]), 30), support, atol=1e-9)


def test_the_centre_of_mass_cuts_the_corners_of_its_support():
    support = np.where(np.arange(150) % 50 < 25, 0.1, -0.1)[:, None].repeat(2, axis=1)
    height = np.full(150, 0.9)
    com = cart_table(moment_of(support, height), height, 30)
    assert np.abs(com[25:-25]).max() < 0.1


def test_in_free_fall_the_cart_table_moves_in_a_straight_line():
    height = FLIGHT.heights(np.full(61, 0.9), 30)
    support = np.where(np.arange(61) < 25, 0.0, 0.3)[:, None].repeat(2, axis=1)
    com = cart_table(moment_of(support, height), height, 30)
    air = slice(FLIGHT.takeoff + 1, FLIGHT.landing)
    np.testing.assert_allclose(acceleration(com, 30)[air], 0, atol=1e-9)
    assert np.diff(com[:, 0])[air].min() > 0.01  # and does move
    moment, load = tipping(np.column_stack([com, height])[:, None], np.array([70.0]), 30)
    np.testing.assert_allclose(load[air], 0, atol=1e-9)
    np.testing.assert_allclose(moment, load[:, None] * support, atol=1e-6)


def test_a_flight_is_free_fall_between_two_crouches():
    height = FLIGHT.heights(np.full(61, 0.9), 30)
    np.testing.assert_allclose(acceleration(height, 30)[FLIGHT.takeoff + 1 : FLIGHT.landing], -GRAVITY)
    assert height[FLIGHT.takeoff] == pytest.approx(0.93) and height[FLIGHT.landing] == pytest.approx(0.88)
    assert height[: FLIGHT.takeoff].min() < 0.85 and height[FLIGHT.landing :].min() < 0.85
    np.testing.assert_allclose(height[: FLIGHT.start + 1], 0.9)
    np.testing.assert_allclose(height[FLIGHT.stop :], 0.9)
    jerk = np.abs(np.diff(FLIGHT_FINE.heights(np.full(601, 0.9), 300), 2)) * 300**2
    assert np.abs(np.diff(jerk)).max() < 2  # the acceleration is continuous


def test_the_margin_of_a_point_is_its_distance_from_the_nearest_edge():
    square = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    points = np.array([[0.5, 0.4], [0.5, 1.3], [-0.3, -0.4], [1.0, 0.5]])
    np.testing.assert_allclose(support_margin(points, square), [0.4, -0.3, -0.5, 0.0], atol=1e-12)
    assert np.isnan(support_margin(points, square[:2])).all()
    assert np.isnan(support_margin(points, square[[0, 1, 4]])).all()  # on a line


@pytest.mark.parametrize("side", ["left", "right"])
def test_leg_ik_reaches_the_ankle_target(side):
    knee, ankle = (4, 7) if side == "left" else (5, 8)
    thigh, shank = OFFSETS[knee], OFFSETS[ankle]
    draw = torch.Generator().manual_seed(0)
    hips = torch.randn(200, 3, generator=draw, dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.randn(200, 3, generator=draw, dtype=torch.float64), dim=-1)
    ankles = hips + direction * (0.25 + 0.5 * torch.rand(200, 1, generator=draw, dtype=torch.float64))
    axis = torch.nn.functional.normalize(torch.randn(200, 3, generator=draw, dtype=torch.float64), dim=-1)
    thigh_rot, knee_rot, reach = leg_ik(hips, ankles, thigh, shank, axis)
    shank_rot = roma.quat_product(thigh_rot, knee_rot)
    found = hips + roma.quat_action(thigh_rot, thigh.expand(200, 3)) + roma.quat_action(shank_rot, shank.expand(200, 3))
    torch.testing.assert_close(found, ankles, atol=1e-9, rtol=0)
    assert (roma.unitquat_to_rotvec(knee_rot)[:, 0] > 0).all() and (reach < 1).all()
    knees = hips + roma.quat_action(thigh_rot, thigh.expand(200, 3))
    again = knee_position(*(part.numpy() for part in (hips, ankles, thigh, shank, axis)))
    np.testing.assert_allclose(again, knees.numpy(), atol=1e-9)
    longest = (ankles - hips).norm(dim=-1) / reach
    np.testing.assert_allclose(longest, straight_leg(thigh.numpy(), shank.numpy()))


def test_the_reach_exceeds_one_for_a_target_beyond_the_leg():
    hips, axis = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[0.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    ankles = torch.tensor([[0.0, 0.0, -0.6], [0.0, 0.0, -0.9]], dtype=torch.float64)
    thigh_rot, knee_rot, reach = leg_ik(hips, ankles, OFFSETS[4], OFFSETS[7], axis)
    assert reach[0] < 1 < reach[1]
    assert thigh_rot.isfinite().all() and knee_rot.isfinite().all()


def feet(heel: float, toe: float, lift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Sole corners of a left foot box and toe box, (4, 3) m each, for heel and toes raised by degrees."""
    one = torch.ones(1, dtype=torch.float64)
    angles = torch.deg2rad(heel * one), torch.deg2rad(toe * one)
    pos, rot = foot_pose(0.3 * one, 0.1 * one, 0.5 * one, lift * one, *angles, OFFSETS[10])
    toe_pos, toe_rot = pos + roma.quat_action(rot, OFFSETS[10].expand(1, 3)), roma.quat_product(rot, turn_x(-angles[0]))
    corners = foot_corners()
    return tuple(
        p + roma.quat_action(q.expand(4, 4), corners[joint].double())
        for joint, p, q in ((7, pos, rot), (10, toe_pos, toe_rot))
    )


def test_a_flat_foot_lies_on_the_floor_and_a_lifted_one_above_it():
    for lift in (0.0, 0.05):
        for corners in feet(0, 0, lift):
            torch.testing.assert_close(corners[:, 2], torch.full((4,), lift, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_toes_do_not_move_while_the_heel_rises():
    (flat, toes), (raised, toes_after) = feet(0, 0), feet(35, 0)
    torch.testing.assert_close(toes_after, toes, atol=1e-9, rtol=0)
    assert (raised[:2, 2] - flat[:2, 2] > 0.08).all()  # heel corners
    assert raised[:, 2].min() > -1e-6


def test_the_heel_does_not_move_while_the_toes_rise():
    (flat, _), (rolled, toes) = feet(0, 0), feet(0, 15)
    torch.testing.assert_close(rolled[:2], flat[:2], atol=1e-6, rtol=0)
    assert toes[:, 2].min() > 0.04


def test_the_heel_edge_is_that_of_the_foot_box():
    heel = foot_corners()[7][:2]
    torch.testing.assert_close(heel[:, 2], torch.full((2,), HEEL_EDGE))
    torch.testing.assert_close(heel[:, 1], torch.full((2,), -SOLE_DEPTH))
