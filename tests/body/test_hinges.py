"""Hinge triples: round trips, limits, and the choice of the middle axis."""

import math

import pytest
import roma
import torch

from physhmr_kit.body.hinges import axis_orders, dof_limits, dof_names, dof_to_rotation, hinge_axes, rotation_to_dof
from physhmr_kit.body.skeleton import JOINT_NAMES, MIRROR

# Ranges of motion of the American Academy of Orthopaedic Surgeons, degrees, as hinge angles of the left side
# (x bends forwards, so knee flexion is positive and hip flexion, dorsiflexion are negative).
_TEXTBOOK = {
    "left_hip_x": (-120, 30), "left_hip_z": (-30, 45), "left_hip_y": (-45, 45), "left_knee_x": (0, 135),
    "left_ankle_x": (-20, 50), "left_elbow_y": (-150, 0), "left_wrist_z": (-80, 70), "left_shoulder_y": (-150, 60),
    "neck_x": (-45, 45), "neck_y": (-60, 60),
}  # fmt: skip


def random_dof(count: int, seed: int = 0) -> torch.Tensor:
    """Angles drawn within the limits, (count, 69) float64."""
    low, high = dof_limits().double().unbind(-1)
    return low + (high - low) * torch.rand(
        count, 69, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_angles_within_the_limits_survive_the_round_trip():
    dof = random_dof(500)
    torch.testing.assert_close(rotation_to_dof(dof_to_rotation(dof)), dof, atol=1e-9, rtol=0)


def test_any_rotation_survives_the_inverse_round_trip():
    rotation = roma.random_unitquat((200, 23), dtype=torch.float64)
    back = dof_to_rotation(rotation_to_dof(rotation))
    assert roma.unitquat_geodesic_distance(back, rotation).max() < 1e-6


def test_a_single_hinge_turns_about_its_own_axis():
    for index, name in enumerate(dof_names()):
        dof = torch.zeros(69, dtype=torch.float64)
        dof[index] = 0.3
        rotvec = roma.unitquat_to_rotvec(dof_to_rotation(dof))
        joint, axis = divmod(index, 3)
        torch.testing.assert_close(rotvec[joint], 0.3 * hinge_axes()[joint, axis].double())
        assert name == f"{JOINT_NAMES[joint + 1]}_{axis_orders()[joint][axis]}"
        assert rotvec.norm(dim=-1).count_nonzero() == 1


def test_the_middle_axis_has_the_smallest_range_and_stays_clear_of_gimbal_lock():
    limits = dof_limits().unflatten(0, (23, 3))
    span = limits[..., 1] - limits[..., 0]
    assert (span[:, 1] <= span.min(dim=1).values + 1e-6).all()
    assert limits[:, 1].abs().max() < math.radians(90)


def test_the_limits_of_the_right_side_mirror_those_of_the_left():
    limits, names = dof_limits(), dof_names()
    for index, name in enumerate(names):
        joint, axis = name.rsplit("_", 1)
        other = names.index(f"{JOINT_NAMES[MIRROR[JOINT_NAMES.index(joint)]]}_{axis}")
        expected = limits[index] if axis == "x" else -limits[index].flip(0)
        if other != index:
            torch.testing.assert_close(limits[other], expected)


@pytest.mark.parametrize(("name", "textbook"), _TEXTBOOK.items())
def test_the_limits_contain_the_textbook_range_and_little_more(name, textbook):
    low, high = torch.rad2deg(dof_limits()[dof_names().index(name)]).tolist()
    assert low <= textbook[0] + 1e-3 and textbook[1] - 1e-3 <= high
    assert textbook[0] - low <= 30 and high - textbook[1] <= 30


def test_zero_is_within_every_limit():
    low, high = dof_limits().unbind(-1)
    assert (low < 0).all() and (high > 0).all()
