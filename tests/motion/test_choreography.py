"""Choreographies: smooth channels, mirrored motions, and errors with the time."""

import numpy as np
import pytest
import torch

from physhmr_kit.body.hinges import dof_names, rotation_to_dof
from physhmr_kit.motion.choreography import Channel, Choreography, both, left, minimum_jerk, right
from physhmr_kit.motion.demo import punch, walk_forward
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.utils.errors import KitError


def test_a_minimum_jerk_move_starts_and_ends_at_rest():
    s = minimum_jerk(np.linspace(0, 1, 1001))
    speed = np.gradient(s, 1e-3)
    assert (s[0], s[500], s[-1]) == pytest.approx((0, 0.5, 1))
    assert speed[0] < 1e-4 and speed[-1] < 1e-4 and speed.max() == pytest.approx(1.875, abs=1e-3)
    assert minimum_jerk(np.array([-1.0, 2.0])).tolist() == [0, 1]


def test_a_channel_holds_its_value_between_moves():
    channel = Channel("arm", 10.0)
    channel.move(1.0, 2.0, 50.0)
    channel.move(3.0, 4.0, -20.0)
    assert channel.sample(np.array([0.0, 1.0, 1.5, 2.0, 2.7, 4.0, 9.0])) == pytest.approx(
        [10, 10, 30, 50, 50, -20, -20]
    )


def test_angles_for_the_right_side_mirror_those_of_the_left():
    assert left(elbow_y=-90, hip_x=5) == {"left_elbow_y": -90, "left_hip_x": 5}
    assert right(elbow_y=-90, hip_x=5) == {"right_elbow_y": 90, "right_hip_x": 5}
    assert both(elbow_z=3) == {"left_elbow_z": 3, "right_elbow_z": -3}


def test_a_channel_sets_the_angle_of_its_hinge():
    m = Choreography("point", 2.0)
    m.move(0.2, 1.0, left_shoulder_y=-80, left_elbow_y=-30, neck_x=20)
    dof = torch.rad2deg(rotation_to_dof(m.clip().joint_rot[-1, 1:]))
    for name, angle in (("left_shoulder_y", -80), ("left_elbow_y", -30), ("neck_x", 20), ("right_elbow_y", 14)):
        assert dof[dof_names().index(name)].item() == pytest.approx(angle, abs=0.01)


def test_swapping_left_and_right_mirrors_the_motion():
    clips = []
    for side, other, limb in (("left", "right", left), ("right", "left", right)):
        m = Choreography("step", 3.5, pelvis_height=-0.04)
        m.shift(0.3, 1.0, other)
        m.step(side, 1.0, 1.7, heel=15, toe=8, **m.place(side, x=0.2))
        m.move(1.0, 2.0, **limb(shoulder_y=-60, elbow_y=-40, elbow_z=5))
        m.shift(1.7, 2.4, "both")
        clips.append(m.clip())
    pos, joints = mirrored(clips[0].root_pos, clips[0].joint_rot)
    torch.testing.assert_close(pos, clips[1].root_pos, atol=1e-5, rtol=0)
    assert (joints * clips[1].joint_rot).sum(-1).abs().min() > 1 - 1e-6


def test_the_weight_goes_where_it_is_shifted():
    m = Choreography("lean", 4.0, pelvis_height=-0.03)
    m.shift(0.5, 2.0, "left")
    y = m.clip().root_pos[:, 1]
    assert y[0] == 0 and 0.06 < y[-1] < 0.12  # the left ankle stands at 0.095 m


@pytest.mark.parametrize("write", [punch, walk_forward], ids=lambda f: f.__name__)
def test_velocities_and_accelerations_are_continuous(write):
    """For a continuous curve the largest difference between frames halves when the rate is doubled."""
    jumps = []
    for fps in (90.0, 180.0):
        clip = write().clip(fps)
        curve = torch.cat([clip.root_pos, rotation_to_dof(clip.joint_rot[:, 1:])], dim=-1).double().numpy()
        speed = np.diff(curve, axis=0) * fps
        change = np.diff(speed, axis=0) * fps
        jumps.append([np.abs(np.diff(d, axis=0)).max() for d in (speed, change)])
    coarse, fine = np.array(jumps)
    assert (fine < 0.62 * coarse).all(), (coarse, fine)


def test_errors_name_the_motion_and_the_time():
    m = Choreography("odd", 3.0)
    m.move(0.5, 1.5, neck_x=10)
    with pytest.raises(KitError, match=r"odd: neck_x: a move starts at 1 s while another lasts to 1\.5 s"):
        m.move(1.0, 2.0, neck_x=0)
    with pytest.raises(KitError, match="odd: neck_y: a move from 2 s to 2 s takes no time"):
        m.move(2.0, 2.0, neck_y=5)
    with pytest.raises(KitError, match="odd: no channel named left_knee_x"):
        m.move(0.0, 1.0, left_knee_x=90)  # the legs follow the feet
    with pytest.raises(KitError, match="odd: no channel named pelvis_hight"):
        Choreography("odd", 3.0, pelvis_hight=-0.1)


def test_a_step_beyond_the_leg_is_refused_with_its_time():
    m = Choreography("stride", 4.0)
    m.shift(0.2, 1.0, "right")
    m.step("left", 1.0, 1.6, **m.place("left", x=0.9))
    with pytest.raises(KitError, match=r"stride: the left foot is out of reach at \d\.\d\d s, lower the pelvis"):
        m.clip()


def test_a_joint_beyond_its_limit_is_refused_with_its_range():
    m = Choreography("twist", 2.0)
    m.move(0.2, 1.0, neck_y=95)
    with pytest.raises(KitError, match=r"twist: neck_y is \d\d degrees at \d\.\d\d s, keep it in -70\.\.70"):
        m.clip()
