"""Support: who sits on a chair that is not there, or hangs in the air, is doubted; who stands, walks or lies is not."""

import math

import pytest
import roma
import torch

from data_prep.support import doubt_support, unsupported
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.grounding import lift_sunken
from physhmr_kit.motion.kinematics import forward_kinematics


def posed(height: float, frames: int = 60, root=(0.0, 0.0, 0.0), **turns) -> Clip:
    """A still pose: rotation vectors of joints by number, e.g. j1=(x, y, z) rad; the root turned from upright."""
    rot = torch.tensor([0.0, 0, 0, 1]).repeat(frames, 24, 1)
    rot[:, 0] = roma.quat_product(torch.tensor(STANDING), roma.rotvec_to_unitquat(torch.tensor(root)))
    for joint, turn in turns.items():
        rot[:, int(joint[1:])] = roma.rotvec_to_unitquat(torch.tensor(turn))
    return Clip.from_joints(torch.tensor([0.0, 0.0, height]).expand(frames, 3), rot, 30.0, "posed")


def test_a_body_that_sits_on_nothing_is_doubted_with_its_share():
    right = math.pi / 2
    sits = posed(0.54, j1=(-right, 0.0, 0.0), j2=(-right, 0.0, 0.0), j4=(right, 0.0, 0.0), j5=(right, 0.0, 0.0))
    assert unsupported(sits).all()
    (line,) = doubt_support(sits)
    assert "without support in 100 % of its frames" in line


def test_a_body_that_hangs_in_the_air_is_doubted():
    assert "100 %" in doubt_support(posed(1.8))[0]


@pytest.mark.parametrize("name", ["stand", "walk_forward", "squat"])
def test_who_stands_walks_or_squats_is_not(name):
    assert doubt_support(demo_clip(name)) == []


def test_who_lies_on_the_floor_is_not():
    assert doubt_support(posed(0.1, root=(-math.pi / 2, 0.0, 0.0))) == []


def test_a_body_that_stands_on_its_hands_under_the_floor_is_raised():
    up = {"j16": (0.0, 0.0, 1.4), "j17": (0.0, 0.0, -1.4)}  # arms beside the head
    clip = posed(1.0, root=(math.pi, 0.0, 0.0), **up)
    low = forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)[0][..., 2].min()
    under = Clip.from_joints(clip.root_pos - torch.tensor([0.0, 0.0, float(low) + 0.15]), clip.joint_rot, 30.0)
    raised = lift_sunken(under, torch.zeros(60, 2, dtype=torch.bool))
    low = forward_kinematics(raised.root_pos, raised.joint_rot, Humanoid.mean().offsets)[0][..., 2].min()
    assert float(low) == pytest.approx(0.05, abs=0.01)
    stands = demo_clip("stand")
    assert lift_sunken(stands, torch.ones(len(stands), 2, dtype=torch.bool)) is stands
