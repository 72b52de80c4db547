"""Arms near gimbal lock are smoothed; elsewhere nothing changes."""

import math

import pytest
import roma
import torch

from data_prep.retargeting.arms import RACING, glide
from data_prep.retargeting.source import JOINT
from physhmr_kit.body import Humanoid, dof_limits, rotation_to_dof
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics

OFFSETS = Humanoid.mean().offsets.double()
ARM = [JOINT[f"right_{j}"] for j in ("shoulder", "elbow", "wrist")]


def swung(fps: float, by: float = 2.6, twist: float = 2.2) -> torch.Tensor:
    """A second of standing in which the right arm swings out by `by` rad, turned about itself by `twist` rad, and back: (T, 24, 4).

    At 1.6 rad of twist the three hinges of its shoulder lock."""
    seconds = torch.arange(round(fps), dtype=torch.float64) / fps
    share = (0.5 - 0.5 * torch.cos(2 * math.pi * seconds)).unsqueeze(1)
    rot = demo_clip("stand").joint_rot[:1].double().repeat(len(seconds), 1, 1)
    swing = roma.rotvec_to_unitquat(share * torch.tensor([0.0, 0.3, by], dtype=torch.float64))
    turn = roma.rotvec_to_unitquat(share.sqrt() * torch.tensor([twist, 0.0, 0.0], dtype=torch.float64))
    rot[:, ARM[0]] = roma.quat_product(swing, turn)
    return rot


def hinges(rot: torch.Tensor) -> torch.Tensor:
    """The hinge angles that a simulator is given: (T, 69) rad, within the limits."""
    return rotation_to_dof(rot[:, 1:]).clamp(*dof_limits().double().unbind(-1))


def fastest(rot: torch.Tensor, fps: float) -> float:
    return float(hinges(rot).diff(dim=0).abs().max() * fps)


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_a_fast_arm_is_smoothed_around_the_fault_only(fps):
    swing, still = swung(fps), swung(fps)[:1].repeat(round(2 * fps), 1, 1)
    captured = torch.cat([still, swing, still])
    assert fastest(captured, fps) > 1.5 * RACING
    mended = glide(captured, fps, OFFSETS)
    assert fastest(mended, fps) < RACING
    beyond = rotation_to_dof(mended[:, 1:]) - hinges(mended)
    assert beyond.abs().max() < 0.2  # what is left beyond the limits is for `within_limits`

    root = torch.zeros(len(captured), 3, dtype=torch.float64)
    (was, _), (now, _) = (forward_kinematics(root, rot, OFFSETS) for rot in (captured, mended))
    off = (was - now).norm(dim=-1)[len(still) : -len(still)]
    assert off.max() < 0.06 and off[:, JOINT["right_wrist"]].mean() < 0.02
    others = [j for j in range(24) if j not in ARM]
    assert torch.equal(mended[:, others], captured[:, others])

    far = round(1.6 * fps)
    assert torch.equal(mended[:far], captured[:far]) and torch.equal(mended[-far:], captured[-far:])
    step = roma.unitquat_geodesic_distance(mended[1:, ARM[0]], mended[:-1, ARM[0]])
    assert step.max() * fps < 36  # no jump where the smoothed frames begin


def test_a_slow_arm_is_left_unchanged():
    for name in ("wave", "punch", "reach"):
        rot = demo_clip(name).joint_rot.double()
        assert torch.equal(glide(rot, demo_clip(name).fps, OFFSETS), rot)
    easy = swung(30.0, by=0.4, twist=0.2)
    assert torch.equal(glide(easy, 30.0, OFFSETS), easy)


def test_a_clip_of_a_few_frames_is_left_unchanged():
    captured = swung(120.0)[:5]
    assert torch.equal(glide(captured, 120.0, OFFSETS), captured)
