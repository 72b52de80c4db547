"""Inverse dynamics: the torques that carry a reference."""

import pytest
import torch

from physhmr_kit.body import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import MotionLibrary


@pytest.fixture(scope="module")
def squat() -> MotionLibrary:
    return MotionLibrary([demo_clip("squat")])


def test_a_body_in_a_squat_loads_its_knees_and_standing_hardly_does(squat):
    states = squat.clip(0)
    torque = reference_torques(states, Humanoid.mean())
    knee = 3 * (JOINT_NAMES.index("left_knee") - 1)
    deepest = int(states.root_pos[:, 2].argmin())
    assert torque[deepest, knee].abs() > 30  # N m: half the trunk's weight behind a lever of some 10 cm, at least
    assert torque[0, knee].abs() < 0.5 * torque[deepest, knee].abs()


def test_a_symmetric_motion_needs_symmetric_torques(squat):
    torque = reference_torques(squat.clip(0), Humanoid.mean())
    left, right = (3 * (JOINT_NAMES.index(f"{side}_hip") - 1) for side in ("left", "right"))
    assert torch.allclose(torque[:, left], torque[:, right], atol=3.0)


def test_torques_stay_within_the_drives(squat):
    humanoid = Humanoid.mean()
    assert (reference_torques(squat.clip(0), humanoid).abs() <= humanoid.torque_limit + 1e-4).all()
