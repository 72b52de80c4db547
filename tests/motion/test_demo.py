"""The demo motions: planted feet, anatomical joint angles, and feasible dynamics."""

import mujoco
import numpy as np
import pytest
import roma
import torch
from floor_forces import corners_of, floor_forces, qpos_of

from physhmr_kit.body import BODY_NAMES, STANDING, Humanoid, dof_limits, dof_names, rotation_to_dof
from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.motion.balance import support_margin
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import MOTIONS, demo_clip, demo_clips
from physhmr_kit.motion.kinematics import angular_velocity, forward_kinematics, heading, linear_velocity
from physhmr_kit.motion.library import states_of
from physhmr_kit.motion.overlap import self_overlap
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
def corners(clips) -> dict[str, np.ndarray]:
    """Sole corners of every clip, (T, 16, 3) m."""
    return {name: corners_of(clip) for name, clip in clips.items()}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(HUMANOID.mjcf())


def test_there_are_enough_motions_and_each_is_short(clips):
    assert len(MOTIONS) >= 8
    assert {"stand", "squat", "wave", "walk_in_place", "walk_forward", "punch", "turn"} <= set(MOTIONS)
    assert all(clip.fps == 30 and 3 <= clip.duration <= 8 for clip in clips.values())


def test_a_motion_is_reproducible(clips):
    again = MOTIONS["walk_forward"]().clip()
    np.testing.assert_array_equal(again.poses, clips["walk_forward"].poses)
    np.testing.assert_array_equal(again.trans, clips["walk_forward"].trans)


def test_callers_may_modify_the_returned_list():
    demo_clips().clear()
    assert len(demo_clips()) == len(MOTIONS)


def test_an_unknown_motion_is_refused_with_a_list_of_the_known_ones():
    with pytest.raises(KitError, match="demo:moonwalk: no such demo motion; choose from stand, squat"):
        demo_clip("moonwalk")


@each_clip
def test_a_motion_starts_at_the_origin_facing_x_and_ends_on_flat_feet(name, clips, corners):
    clip = clips[name]
    assert clip.root_pos[0, :2].abs().max() < 1e-6
    torch.testing.assert_close(clip.joint_rot[0, 0], torch.tensor(STANDING), atol=1e-5, rtol=0)
    assert np.abs(corners[name][[0, -1], :, 2]).max() < 5e-4


@each_clip
def test_soles_on_the_floor_neither_penetrate_nor_slide_and_one_always_touches(name, corners):
    height = corners[name][..., 2]
    assert height.min() > -5e-4
    assert height.min(axis=1).max() < CONTACT
    down = height < CONTACT
    slide = np.linalg.norm(np.diff(corners[name][..., :2], axis=0), axis=-1)[down[1:] & down[:-1]]
    assert slide.max() < 1e-3


@each_clip
def test_joints_stay_within_their_limits_knees_bent_and_limbs_apart(name, clips):
    dof = rotation_to_dof(clips[name].joint_rot[:, 1:])
    low, high = dof_limits().unbind(-1)
    assert (dof >= low - 1e-4).all() and (dof <= high + 1e-4).all()
    knees = torch.rad2deg(dof[:, [dof_names().index("left_knee_x"), dof_names().index("right_knee_x")]])
    assert knees.min() > 5
    assert self_overlap(states_of(clips[name], HUMANOID.offsets)[::2]).max() == 0


@each_clip
def test_the_floor_can_provide_the_required_force(name, clips, corners):
    """It can only push, within the friction cone, and from a point under the soles."""
    force, point = floor_forces(clips[name])
    load = force[:, 2]
    assert load.min() > 350 and load.max() < 1100  # half to one and a half times the weight
    assert (np.linalg.norm(force[:, :2], axis=1) < 0.3 * load).all()
    for frame in range(0, len(load), 2):
        sole = corners[name][frame + 1]
        assert support_margin(point[frame, None], sole[sole[:, 2] < 0.004, :2])[0] > 0.010, frame


@pytest.mark.parametrize("name", ON_THE_SPOT)
def test_the_centre_of_mass_stays_over_the_feet_without_steps(name, clips, corners):
    clip = clips[name]
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, HUMANOID.offsets)
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().expand_as(pos))
    com = np.average(centres.numpy(), axis=1, weights=HUMANOID.segment_masses())
    assert support_margin(com[:, :2], corners[name][0, :, :2]).min() > 0.05


def seconds_upright(model: mujoco.MjModel, clip: Clip) -> float:
    """Time until the mean body error exceeds 0.5 m when the PD actuators track the clip open loop."""
    data = mujoco.MjData(model)
    _, qvel_at, drive = dof_addresses(model)
    dof = rotation_to_dof(clip.joint_rot[:, 1:])
    speed = linear_velocity(dof, 30)
    targets = (dof + HUMANOID.kd / HUMANOID.kp * speed).numpy()  # cancels the lag of the actuators
    body_pos = forward_kinematics(clip.root_pos, clip.joint_rot, HUMANOID.offsets)[0].numpy()
    data.qpos[:] = qpos_of(model, clip)[0]
    data.qvel[:3] = linear_velocity(clip.root_pos, 30)[0]
    spin = angular_velocity(clip.joint_rot[:, :1], 30)[0, 0]
    data.qvel[3:6] = roma.quat_action(roma.quat_conjugation(clip.joint_rot[0, 0]), spin)
    data.qvel[qvel_at] = speed[0]
    bodies = [model.body(b).id for b in BODY_NAMES]
    for frame in range(1, len(clip)):
        data.ctrl[drive] = targets[frame]
        mujoco.mj_step(model, data, 4)
        if np.linalg.norm(data.xpos[bodies] - body_pos[frame], axis=-1).mean() > 0.5:
            return frame / 30
    return clip.duration


@pytest.mark.parametrize("name", ON_THE_SPOT)
def test_open_loop_tracking_of_motions_on_the_spot_succeeds(name, clips, model):
    assert seconds_upright(model, clips[name]) == clips[name].duration


@pytest.mark.parametrize("name", sorted(set(MOTIONS) - set(ON_THE_SPOT)))
def test_open_loop_tracking_of_steps_does_not_fall_at_once(name, clips, model):
    start = clips[name].cut(0, 46)  # the first foot swings until about 1.5 s
    assert seconds_upright(model, start) == start.duration


def test_the_motions_match_their_names(clips):
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
