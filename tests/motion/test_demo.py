"""The demo motions: planted feet, anatomical joints, and a physics that could carry them."""

import mujoco
import numpy as np
import pytest
import roma
import torch
from scipy.spatial import ConvexHull

from physhmr_kit.body import (
    BODY_NAMES,
    JOINT_NAMES,
    STANDING,
    Humanoid,
    dof_limits,
    dof_names,
    foot_corners,
    rotation_to_dof,
)
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import MOTIONS, demo_clip, demo_clips
from physhmr_kit.motion.kinematics import angular_velocity, forward_kinematics, heading, linear_velocity
from physhmr_kit.utils.errors import KitError

HUMANOID = Humanoid.mean()
ON_THE_SPOT = ("stand", "squat", "wave", "punch", "bow", "arm_raise", "reach")
CONTACT = 0.002
"""A sole corner lower than this touches the floor, m."""

each_clip = pytest.mark.parametrize("name", MOTIONS)


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {clip.name: clip for clip in demo_clips()}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(HUMANOID.mjcf())


def sole_corners(clip: Clip) -> np.ndarray:
    """World positions of the sixteen sole corners, (T, 16, 3) m: left foot, right foot, left toes, right toes."""
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, HUMANOID.offsets)
    corners = [
        pos[:, joint, None] + roma.quat_action(rot[:, joint, None].expand(-1, 4, 4), local.expand(len(clip), 4, 3))
        for joint, local in foot_corners().items()
    ]
    return torch.cat(corners, dim=1).numpy()


def hinge_addresses(model: mujoco.MjModel) -> tuple[list[int], list[int], list[int]]:
    """Where our 69 hinges lie in MuJoCo's qpos, qvel and ctrl."""
    names = [f"{BODY_NAMES[JOINT_NAMES.index(n[:-2])]}_{n[-1]}" for n in dof_names()]
    joints = [model.joint(n) for n in names]
    return [j.qposadr[0] for j in joints], [j.dofadr[0] for j in joints], [model.actuator(n).id for n in names]


def configurations(model: mujoco.MjModel, clip: Clip) -> np.ndarray:
    """MuJoCo's qpos of every frame, (T, 76)."""
    qpos = np.zeros((len(clip), model.nq))
    qpos[:, :3] = clip.root_pos
    qpos[:, 3:7] = clip.joint_rot[:, 0][:, [3, 0, 1, 2]]
    qpos[:, hinge_addresses(model)[0]] = rotation_to_dof(clip.joint_rot[:, 1:])
    return qpos


def margin_inside(points: np.ndarray, point: np.ndarray) -> float:
    """How far a floor point lies inside the convex hull of others, m; negative outside."""
    edges = ConvexHull(points).equations
    return float(-(edges[:, :2] @ point + edges[:, 2]).max())


def test_there_are_enough_motions_and_each_is_short():
    assert len(MOTIONS) >= 8
    assert {"stand", "squat", "wave", "walk_in_place", "walk_forward", "punch", "turn"} <= set(MOTIONS)
    for clip in demo_clips():
        assert clip.fps == 30 and 3 <= clip.duration <= 8


@each_clip
def test_a_motion_is_the_same_each_time(name, clips):
    again = MOTIONS[name]().clip()
    np.testing.assert_array_equal(again.poses, clips[name].poses)
    np.testing.assert_array_equal(again.trans, clips[name].trans)


def test_callers_may_change_the_list_they_get():
    demo_clips().clear()
    assert len(demo_clips()) == len(MOTIONS)


def test_an_unknown_motion_is_refused_with_the_known_ones():
    with pytest.raises(KitError, match="demo:moonwalk: no such demo motion, choose from stand, squat"):
        demo_clip("moonwalk")


@each_clip
def test_a_motion_starts_at_the_origin_facing_x_on_flat_feet(name, clips):
    clip = clips[name]
    assert clip.root_pos[0, :2].abs().max() < 1e-6
    torch.testing.assert_close(clip.joint_rot[0, 0], torch.tensor(STANDING), atol=1e-5, rtol=0)
    corners = sole_corners(clip)
    assert np.abs(corners[[0, -1], :, 2]).max() < 5e-4  # and it ends on flat feet


@each_clip
def test_the_soles_never_sink_and_never_all_leave_the_floor(name, clips):
    height = sole_corners(clips[name])[..., 2]
    assert height.min() > -5e-4
    assert height.min(axis=1).max() < CONTACT


@each_clip
def test_a_sole_corner_on_the_floor_does_not_slide(name, clips):
    corners = sole_corners(clips[name])
    down = corners[..., 2] < CONTACT
    slide = np.linalg.norm(np.diff(corners[..., :2], axis=0), axis=-1)[down[1:] & down[:-1]]
    assert slide.max() < 1e-3


@each_clip
def test_every_joint_stays_within_its_limits_and_no_knee_is_straight(name, clips):
    dof = rotation_to_dof(clips[name].joint_rot[:, 1:])
    low, high = dof_limits().unbind(-1)
    assert (dof >= low - 1e-4).all() and (dof <= high + 1e-4).all()
    knees = torch.rad2deg(dof[:, [dof_names().index("left_knee_x"), dof_names().index("right_knee_x")]])
    assert knees.min() > 5


@each_clip
def test_no_body_part_passes_through_another(name, clips, model):
    data = mujoco.MjData(model)
    for qpos in configurations(model, clips[name])[::2]:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        floor = model.geom("floor").id
        assert all(floor in pair for pair in data.contact.geom[: data.ncon].tolist())


@each_clip
def test_the_floor_can_push_as_the_motion_needs_it(name, clips, model):
    """Inverse dynamics of MuJoCo, contacts off: what must the floor give, and can it?

    It can only push, within the friction cone, and from a point under the soles.
    """
    free = mujoco.MjModel.from_xml_string(HUMANOID.mjcf())
    for flag in (
        mujoco.mjtDisableBit.mjDSBL_CONTACT,
        mujoco.mjtDisableBit.mjDSBL_ACTUATION,
        mujoco.mjtDisableBit.mjDSBL_LIMIT,
    ):
        free.opt.disableflags |= flag
    clip, data = clips[name], mujoco.MjData(free)
    qpos, corners = configurations(free, clip), sole_corners(clip)
    speed = np.zeros((len(clip) - 1, free.nv))
    for frame, row in enumerate(speed):
        mujoco.mj_differentiatePos(free, row, 1 / 30, qpos[frame], qpos[frame + 1])
    for frame in range(1, len(clip) - 1):
        data.qpos[:] = qpos[frame]
        data.qvel[:], data.qacc[:] = (speed[frame - 1] + speed[frame]) / 2, (speed[frame] - speed[frame - 1]) * 30
        mujoco.mj_inverse(free, data)
        force = data.qfrc_inverse[:3]
        moment = np.cross(data.qpos[:3], force) + data.body("Pelvis").xmat.reshape(3, 3) @ data.qfrc_inverse[3:6]
        push = np.array([-moment[1], moment[0]]) / force[2]
        assert 350 < force[2] < 1100  # half to one and a half times the weight
        assert np.linalg.norm(force[:2]) < 0.3 * force[2]
        touching = corners[frame][corners[frame][:, 2] < 0.004][:, :2]
        assert margin_inside(touching, push) > 0.010


@pytest.mark.parametrize("name", ON_THE_SPOT)
def test_the_centre_of_mass_stays_over_the_feet_when_no_foot_steps(name, clips):
    clip = clips[name]
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, HUMANOID.offsets)
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().expand_as(pos))
    com = np.average(centres.numpy(), axis=1, weights=HUMANOID.segment_masses())
    for frame, corners in enumerate(sole_corners(clip)):
        assert margin_inside(corners[:, :2], com[frame, :2]) > 0.05


def seconds_upright(model: mujoco.MjModel, clip: Clip) -> float:
    """Play the clip through the drives without any feedback: time until the mean body error passes 0.5 m."""
    data = mujoco.MjData(model)
    _, qvel_at, drive = hinge_addresses(model)
    dof = rotation_to_dof(clip.joint_rot[:, 1:])
    speed = linear_velocity(dof, 30)
    body_pos, _ = forward_kinematics(clip.root_pos, clip.joint_rot, HUMANOID.offsets)
    data.qpos[:] = configurations(model, clip)[0]
    data.qvel[:3] = linear_velocity(clip.root_pos, 30)[0]
    spin = angular_velocity(clip.joint_rot[:, :1], 30)[0, 0]
    data.qvel[3:6] = roma.quat_action(roma.quat_conjugation(clip.joint_rot[0, 0]), spin)
    data.qvel[qvel_at] = speed[0]
    bodies = [model.body(b).id for b in BODY_NAMES]
    for frame in range(1, len(clip)):
        data.ctrl[drive] = dof[frame] + HUMANOID.kd / HUMANOID.kp * speed[frame]  # cancels the drive's lag
        for _ in range(4):
            mujoco.mj_step(model, data)
        if np.linalg.norm(data.xpos[bodies] - body_pos[frame].numpy(), axis=-1).mean() > 0.5:
            return frame / 30
    return clip.duration


@pytest.mark.parametrize("name", ON_THE_SPOT)
def test_plain_drives_carry_the_motions_on_the_spot_to_their_end(name, clips, model):
    assert seconds_upright(model, clips[name]) == clips[name].duration


@pytest.mark.parametrize("name", sorted(set(MOTIONS) - set(ON_THE_SPOT)))
def test_even_without_feedback_steps_do_not_fall_at_once(name, clips, model):
    assert seconds_upright(model, clips[name]) > 1.5  # the first foot swings until about then


def test_the_motions_do_what_their_names_say(clips):
    def turned(name):
        return torch.rad2deg(heading(clips[name].joint_rot[-1, 0])).item()

    def moved(name):
        return (clips[name].root_pos[-1] - clips[name].root_pos[0])[:2].tolist()

    assert turned("turn") == pytest.approx(90, abs=1) and turned("walk_forward") == pytest.approx(0, abs=1)
    assert moved("walk_forward") == pytest.approx([1.44, 0], abs=0.03)
    assert moved("side_step") == pytest.approx([0, 0.32], abs=0.03)
    assert moved("walk_in_place") == pytest.approx([0, 0], abs=0.03)
    assert clips["squat"].root_pos[:, 2].min() < clips["stand"].root_pos[:, 2].min() - 0.2
    wrists = forward_kinematics(clips["wave"].root_pos, clips["wave"].joint_rot, HUMANOID.offsets)[0][:, [15, 21], 2]
    assert (wrists[:, 1] > wrists[:, 0]).any()  # the right hand comes up above the head joint
