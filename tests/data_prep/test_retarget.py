"""Retargeting: the result depends on the source's motion, not on its rest pose."""

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from data_prep.bvh import read_source
from data_prep.retargeting.compare import limb_direction_error
from data_prep.retargeting.retarget import beyond_limits, retarget, within_limits
from data_prep.retargeting.source import JOINT, SourceMotion, low_pass, mend_elbows, twist, unit
from physhmr_kit.body import Humanoid, dof_limits, dof_to_rotation
from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.overlap import self_overlap


def source_of(clip, rest_turns: dict[str, tuple] | None = None, scale: float = 1.0) -> SourceMotion:
    """A clip seen as a capture: y-up, in another unit, bones at rest turned by rotation vectors (degrees)."""
    offsets = Humanoid.mean().offsets.double() * scale
    down = roma.quat_conjugation(torch.tensor(STANDING, dtype=torch.float64))
    joint_rot = clip.joint_rot.double()
    joint_rot[:, 0] = roma.quat_product(down.expand(len(clip), 4), joint_rot[:, 0])
    root = roma.quat_action(down.expand(len(clip), 4), clip.root_pos.double()) * scale
    pos, rot = forward_kinematics(root, joint_rot, offsets)
    local = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).repeat(24, 1)
    for joint, degrees in (rest_turns or {}).items():
        local[JOINT[joint]] = roma.rotvec_to_unitquat(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)))
    rest, turned = forward_kinematics(torch.zeros(3, dtype=torch.float64), local, offsets)
    since_rest = roma.quat_product(rot, roma.quat_conjugation(turned).expand_as(rot))
    return SourceMotion(pos, since_rest, rest, clip.fps, clip.name)


SPLAYED = {
    "left_hip": (0, 0, 20), "right_hip": (0, 0, -20), "left_shoulder": (0, 0, -40), "right_shoulder": (0, 0, 40),
    "left_elbow": (0, -20, 0), "right_elbow": (0, 20, 0), "left_ankle": (-8, 0, 0), "right_ankle": (-8, 0, 0),
}  # fmt: skip
LEGS = [JOINT[f"{s}_{j}"] for s in ("left", "right") for j in ("hip", "knee", "ankle")]
ARMS = [JOINT[f"{s}_{j}"] for s in ("left", "right") for j in ("shoulder", "elbow")]


@pytest.mark.parametrize("name", ["walk_forward", "squat", "punch"])
@pytest.mark.parametrize("rest", [{}, SPLAYED], ids=["T-pose", "splayed"])
def test_rest_pose_and_unit_of_the_source_do_not_matter(name, rest):
    clip = demo_clip(name)
    back = retarget(source_of(clip, rest, scale=17.7))
    assert len(back) == len(clip) and back.name == name
    moved = clip.root_pos - clip.root_pos[0] - (back.root_pos - back.root_pos[0])
    assert moved.norm(dim=-1).max() < 1e-3
    turned = torch.rad2deg(roma.unitquat_geodesic_distance(back.joint_rot, clip.joint_rot))
    assert turned[:, LEGS].max() < 5
    assert (
        turned[:, ARMS].max() < 20
    )  # twist alone, and the elbow's undoes the shoulder's: the hinge of a nearly straight arm
    errors = limb_direction_error(back, source_of(clip, rest))
    assert all(torch.rad2deg(errors[limb]).max() < 1 for limb in ("thigh", "shank", "upper arm", "forearm", "hand"))


def test_limb_directions_are_kept_exactly_without_limits():
    source = source_of(demo_clip("punch"), SPLAYED)
    errors = limb_direction_error(retarget(source, keep_limits=False), source)
    for limb in ("thigh", "shank", "upper arm", "forearm", "trunk", "head"):
        assert torch.rad2deg(errors[limb]).max() < 0.1, limb


def wider(source: SourceMotion, metres: float) -> SourceMotion:
    """The same capture of a person with wider hips; the legs keep their directions."""
    pos, rest = source.pos.clone(), source.rest.clone()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        out = torch.tensor([sign * metres / 2, 0.0, 0.0], dtype=torch.float64)
        leg = [JOINT[f"{side}_{j}"] for j in ("hip", "knee", "ankle", "foot")]
        rest[leg] += out
        pos[:, leg] += roma.quat_action(source.rot[:, 0], out.expand(len(pos), 3))[:, None]
    return replace(source, pos=pos, rest=rest)


@pytest.mark.parametrize("metres", [0.04, -0.02])
def test_feet_stay_as_far_apart_as_they_were_under_wider_or_narrower_hips(metres):
    """CMU's hips are 3 cm wider than SMPL's: a walker with feet closer by that would sway beyond them and fall."""
    clip = demo_clip("walk_forward")
    source = wider(source_of(clip), metres)
    back = retarget(source, keep_limits=False)
    offsets = Humanoid.mean().offsets.double()
    pos, _ = forward_kinematics(back.root_pos.double(), back.joint_rot.double(), offsets)
    was = source.pos[:, JOINT["left_ankle"]] - source.pos[:, JOINT["right_ankle"]]
    now = pos[:, JOINT["left_ankle"]] - pos[:, JOINT["right_ankle"]]
    upright = torch.tensor(STANDING, dtype=torch.float64).expand(len(was), 4)
    assert (now - roma.quat_action(upright, was)).norm(dim=-1).max() < 0.003
    same, _ = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), offsets)
    before = same[:, JOINT["left_ankle"]] - same[:, JOINT["right_ankle"]]
    assert ((now - before).norm(dim=-1) - abs(metres)).abs().max() < 0.003


def test_limb_direction_error_measures_a_wrong_forearm():
    clip = demo_clip("stand")
    source = source_of(clip)
    rot = clip.joint_rot
    ten = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, math.radians(10)]))
    rot[:, JOINT["left_elbow"]] = roma.quat_product(rot[:, JOINT["left_elbow"]], ten.expand(len(clip), 4))
    bent = limb_direction_error(type(clip).from_joints(clip.root_pos, rot, clip.fps), source)
    assert torch.rad2deg(bent["forearm"][:, 0]).mean() == pytest.approx(10, abs=0.5)
    assert torch.rad2deg(bent["forearm"][:, 1]).max() < 0.1
    assert torch.rad2deg(bent["upper arm"]).max() < 0.1


def test_turning_the_capture_turns_the_clip():
    source = source_of(demo_clip("walk_forward"), SPLAYED)
    yaw = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.9, 0.0], dtype=torch.float64))
    turned = SourceMotion(
        roma.quat_action(yaw.expand(len(source), 24, 4), source.pos),
        roma.quat_product(yaw.expand_as(source.rot), source.rot),
        source.rest,
        source.fps,
        "turned",
    )
    a, b = retarget(source), retarget(turned)
    assert torch.allclose(heading(b.joint_rot[:, 0]) - heading(a.joint_rot[:, 0]), torch.tensor(0.9), atol=1e-4)
    assert roma.unitquat_geodesic_distance(a.joint_rot[:, 1:], b.joint_rot[:, 1:]).max() < 1e-3


def test_flat_soles_are_estimated_from_standing_and_not_from_the_rest_pose():
    rolled = {"left_ankle": (0, 0, 24), "right_ankle": (0, 0, -24)}  # CMU's trap: soles rolled by 24 degrees at rest
    clip = demo_clip("walk_forward")
    back = retarget(source_of(clip, rolled))
    ankles = [JOINT["left_ankle"], JOINT["right_ankle"]]
    assert torch.rad2deg(roma.unitquat_geodesic_distance(back.joint_rot, clip.joint_rot)[:, ankles]).median() < 3


def with_backward_elbows(source: SourceMotion) -> SourceMotion:
    pos, rot = source.pos.clone(), source.rot.clone()
    for side in ("left", "right"):
        shoulder, elbow, wrist, hand = (JOINT[f"{side}_{n}"] for n in ("shoulder", "elbow", "wrist", "hand"))
        flexion = roma.quat_product(roma.quat_conjugation(rot[:, shoulder]), rot[:, elbow])
        half = roma.rotvec_to_unitquat(math.pi * unit(source.rest[elbow] - source.rest[shoulder])).expand_as(flexion)
        wrong = roma.quat_product(rot[:, shoulder], roma.quat_product(roma.quat_product(half, flexion), half))
        turn = roma.quat_product(wrong, roma.quat_conjugation(rot[:, elbow]))
        for joint in (elbow, wrist, hand):
            pos[:, joint] = pos[:, elbow] + roma.quat_action(turn, pos[:, joint] - pos[:, elbow])
            rot[:, joint] = roma.quat_product(turn, rot[:, joint])
    return SourceMotion(pos, rot, source.rest, source.fps, source.name)


def test_backward_elbows_are_mended_and_others_left_unchanged():
    source = source_of(demo_clip("punch"))
    same, mended = mend_elbows(source)
    assert mended == () and same is source
    right, mended = mend_elbows(with_backward_elbows(source))
    assert mended == ("left", "right")
    assert torch.allclose(right.pos, source.pos, atol=1e-6)


def test_the_boxer_with_backward_elbows_in_the_file_is_mended(cmu):
    source = read_source(cmu("bvh/13_18.bvh")).cut(0, 600)
    assert mend_elbows(source)[1] == ("left", "right")
    assert (self_overlap(MotionLibrary([retarget(source)]).clip(0)) > 0.01).float().mean() < 0.05, (
        "no hands in his chest"
    )


def test_an_upper_arm_turned_by_half_a_turn_is_not_a_backward_elbow():
    source = source_of(demo_clip("punch"))
    rot = source.rot.clone()
    for side in ("left", "right"):
        shoulder, elbow = JOINT[f"{side}_shoulder"], JOINT[f"{side}_elbow"]
        along = unit(source.rest[elbow] - source.rest[shoulder])
        half = roma.rotvec_to_unitquat(math.pi * along).expand(len(source), 4)
        rot[:, shoulder] = roma.quat_product(rot[:, shoulder], half)
    turned = SourceMotion(source.pos, rot, source.rest, source.fps, source.name)
    assert mend_elbows(turned)[1] == ()
    errors = limb_direction_error(retarget(turned), source)
    assert torch.rad2deg(errors["forearm"]).median() < 1


def test_rotations_within_the_limits_are_unchanged_and_others_are_moved_to_the_limit():
    limits = dof_limits()
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(200, 69, generator=generator)
    inside = torch.lerp(limits[:, 0] + 1e-3, limits[:, 1] - 1e-3, share)
    root = torch.tensor([0.0, 0, 0, 1]).expand(200, 1, 4)
    rot = torch.cat([root, dof_to_rotation(inside)], dim=1)
    assert torch.equal(within_limits(rot), rot)

    beyond = inside.clone()
    knee = 3 * (JOINT["left_knee"] - 1)
    beyond[:, knee] = limits[knee, 1] + 0.2
    kept = within_limits(torch.cat([root, dof_to_rotation(beyond)], dim=1))
    clip = type(demo_clip("stand")).from_joints(torch.zeros(200, 3), kept, 30.0)
    assert beyond_limits(clip).max() < 1e-3
    beyond[:, knee] = limits[knee, 1]
    expected = torch.cat([root, dof_to_rotation(beyond)], dim=1)
    assert roma.unitquat_geodesic_distance(kept, expected).max() < 1e-3


def test_low_pass_removes_shaking_and_keeps_the_motion():
    clip = demo_clip("wave")
    source = source_of(clip.resample(120.0))
    time = torch.arange(len(source), dtype=torch.float64) / 120
    shake = 0.01 * torch.sin(2 * math.pi * 25 * time)[:, None, None]
    smooth = low_pass(SourceMotion(source.pos + shake, source.rot, source.rest, 120.0, "shaken"))
    assert (smooth.pos - source.pos).abs()[20:-20].max() < 2e-3
    assert roma.unitquat_geodesic_distance(smooth.rot, source.rot).max() < 0.05
    slow = SourceMotion(source.pos, source.rot, source.rest, 30.0, "slow")
    assert low_pass(slow) is slow


def test_twist_is_the_angle_about_the_axis():
    axis = unit(torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64))
    angles = torch.tensor([-2.0, -0.3, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert np.allclose(twist(roma.rotvec_to_unitquat(angles[:, None] * axis), axis), angles)


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_very_short_captures_are_retargeted(frames):
    source = source_of(demo_clip("squat").resample(120.0).cut(0, frames), SPLAYED)
    assert len(retarget(source)) == frames
