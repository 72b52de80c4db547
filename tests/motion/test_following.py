"""The rules for tracking failure and for foot contact."""

import torch

from physhmr_kit.body.skeleton import FEET
from physhmr_kit.metrics.functional import fail_frame
from physhmr_kit.motion.contact import STANCE
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.following import LOST_DISTANCE, is_lost, mean_body_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.soles import foot_contact, sole_corners, sole_height


def test_tracking_fails_when_20_bodies_are_half_a_metre_away_on_average():
    target = torch.zeros(5, 24, 3)
    body = target.clone()
    body[1, :, 0], body[2, :, 1], body[3, [10, 11, 22, 23]] = 0.51, 0.49, 100.0
    body[4, 3, 2] = float("nan")
    assert LOST_DISTANCE == 0.5
    assert is_lost(body, target).tolist() == [False, True, False, False, True]
    assert torch.allclose(mean_body_distance(body, target)[:4], torch.tensor([0.0, 0.51, 0.49, 0.0]))


def test_tables_and_environments_agree_on_the_failure_frame():
    target = torch.zeros(40, 24, 3)
    body = target + torch.linspace(0, 1, 40)[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    assert fail_frame(body, target) == int(is_lost(body, target).int().argmax()) == 20


def test_contact_requires_a_low_and_slow_point():
    height, speed = torch.tensor([0.0, 0.029, 0.031, 0.0]), torch.tensor([0.0, 0.39, 0.0, 0.41])
    assert STANCE(height, speed).tolist() == [True, True, False, False]


def test_sole_height_is_the_lowest_corner_of_each_foot_body():
    state = MotionLibrary([demo_clip("walk_forward")]).clip(0)
    corners = sole_corners(state.body_pos, state.body_rot)
    height = sole_height(state.body_pos, state.body_rot)
    assert FEET == (7, 8, 10, 11)
    for column, (side, box) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        expected = corners[:, side, 4 * box : 4 * box + 4, 2].amin(-1)
        assert torch.equal(height[:, column], expected)


def test_batched_windows_have_the_contact_of_each_window():
    state = MotionLibrary([demo_clip("walk_forward")]).clip(0)
    pos, rot = state.body_pos[:60], state.body_rot[:60]
    alone = foot_contact(pos, rot, 30.0)
    assert alone.any() and not alone.all()
    both = foot_contact(torch.stack([pos, pos], 1), torch.stack([rot, rot], 1), 30.0)
    assert torch.equal(both[:, 0], alone) and torch.equal(both[:, 1], alone)
