"""A constant lean is corrected: of a pelvis that was fitted askew, or of a body that is not over its feet."""

import math
from dataclasses import replace

import pytest
import roma
import torch

from data_prep.retargeting.lean import stand_over_feet
from data_prep.retargeting.retarget import retarget
from data_prep.retargeting.source import JOINT, relative, twist
from physhmr_kit.body import Humanoid
from physhmr_kit.metrics.feasible import beyond_support
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.grounding import ground
from physhmr_kit.motion.kinematics import forward_kinematics, heading, local_rotations
from physhmr_kit.motion.leg_ik import reach_with
from physhmr_kit.motion.library import MotionLibrary
from tests.data_prep.test_retarget import source_of


def hollow(clip: Clip) -> float:
    """Median pitch of the pelvis under the chest, degrees."""
    _, rot = forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)
    pitch = twist(relative(rot[:, JOINT["spine3"]], rot[:, JOINT["pelvis"]]), torch.tensor([1.0, 0.0, 0.0]))
    return math.degrees(float(pitch.median()))


@pytest.mark.parametrize("degrees", [25.0, 5.0, -25.0])
def test_only_a_pelvis_tilted_forward_throughout_a_clip_is_corrected(degrees):
    source = source_of(demo_clip("stand"))
    tip = roma.rotvec_to_unitquat(torch.tensor([math.radians(degrees), 0.0, 0.0], dtype=torch.float64))
    rot = source.rot.clone()
    rot[:, 0] = roma.quat_product(rot[:, 0], tip.expand(len(rot), 4))
    usual = hollow(retarget(source))
    found = hollow(retarget(replace(source, rot=rot), keep_limits=False))
    assert found == pytest.approx(min(usual + degrees, 10.0), abs=0.5)


def leaning(clip: Clip, metres: float) -> Clip:
    """The clip with its body that much ahead of its feet."""
    offsets = Humanoid.mean().offsets.double()
    pos, rot = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), offsets)
    yaw, rot = heading(rot[:, 0]), rot.clone()
    moved = pos + metres * torch.stack([yaw.cos(), yaw.sin(), 0 * yaw], dim=-1)[:, None]
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        bones = offsets[knee], offsets[ankle]
        rot[:, hip], rot[:, knee] = reach_with(moved[:, hip], pos[:, ankle], rot[:, hip], rot[:, knee], *bones)
    return Clip.from_joints(moved[:, 0], local_rotations(rot), clip.fps, clip.name)


@pytest.mark.parametrize("metres", [0.13, -0.13])
def test_a_body_beside_its_feet_is_moved_over_them(metres):
    clip = ground(demo_clip("squat"))
    bad = leaning(clip, metres)
    mended = stand_over_feet(bad)
    back = (bad.root_pos - mended.root_pos).norm(dim=-1)
    assert torch.allclose(back, back[0].expand_as(back), atol=1e-4), "the same in every frame"
    assert 0.02 < float(back[0]) < 0.13
    assert beyond_support(MotionLibrary([mended]).clip(0)).max() < 0.02
    feet = [7, 8]
    bodies = [forward_kinematics(c.root_pos, c.joint_rot, Humanoid.mean().offsets)[0] for c in (bad, mended)]
    assert (bodies[0][:, feet] - bodies[1][:, feet]).norm(dim=-1).max() < 0.01


@pytest.mark.parametrize("name", ["walk_forward", "lunge", "bow", "turn"])
def test_a_body_over_its_feet_is_left_unchanged(name):
    clip = ground(demo_clip(name))
    assert stand_over_feet(clip) is clip


def test_a_short_clip_is_left_unchanged():
    short = leaning(ground(demo_clip("stand")).cut(0, 40), 0.13)
    assert stand_over_feet(short) is short
