"""Forward kinematics and velocities compared with MuJoCo's; heading compared with its definition."""

import math
from dataclasses import fields

import mujoco
import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body import BODY_NAMES, PARENTS, STANDING, Humanoid, dof_limits, dof_to_rotation, quaternions
from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.motion import kinematics
from physhmr_kit.motion.kinematics import (
    angular_velocity,
    forward_kinematics,
    heading,
    hinge_kinematics,
    linear_velocity,
    local_rotations,
    yaw_quaternion,
)

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())


@pytest.fixture(scope="module")
def random_states() -> dict[str, torch.Tensor]:
    """Generalised coordinates and velocities of eight bodies in mid-air, float64."""
    draw = torch.Generator().manual_seed(3)
    low, high = dof_limits().double().unbind(-1)
    quat = torch.nn.functional.normalize(torch.randn(8, 4, generator=draw, dtype=DOUBLE), dim=-1)
    return {
        "root_pos": torch.randn(8, 3, generator=draw, dtype=DOUBLE),
        "root_rot": quat,
        "root_lin_vel": torch.randn(8, 3, generator=draw, dtype=DOUBLE),
        "root_ang_vel": torch.randn(8, 3, generator=draw, dtype=DOUBLE),
        "dof_pos": low + (high - low) * torch.rand(8, 69, generator=draw, dtype=DOUBLE),
        "dof_vel": 3 * torch.randn(8, 69, generator=draw, dtype=DOUBLE),
    }


def mujoco_bodies(model: mujoco.MjModel, state: dict[str, torch.Tensor], row: int) -> tuple[np.ndarray, ...]:
    """xpos, xquat (xyzw), linear and angular velocity of the 24 bodies as MuJoCo computes them."""
    data = mujoco.MjData(model)
    qpos_of, qvel_of, _ = dof_addresses(model)
    rot = state["root_rot"][row]
    data.qpos[:3] = state["root_pos"][row]
    data.qpos[3:7] = rot[[3, 0, 1, 2]]
    data.qvel[:3] = state["root_lin_vel"][row]
    data.qvel[3:6] = roma.quat_action(roma.quat_conjugation(rot), state["root_ang_vel"][row])  # MuJoCo: body frame
    data.qpos[qpos_of] = state["dof_pos"][row]
    data.qvel[qvel_of] = state["dof_vel"][row]
    mujoco.mj_forward(model, data)
    bodies = [model.body(b).id for b in BODY_NAMES]
    velocity = np.zeros((24, 6))
    for k, body in enumerate(bodies):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity[k], 0)
    return data.xpos[bodies], data.xquat[bodies][:, [1, 2, 3, 0]], velocity[:, 3:], velocity[:, :3]


def test_hinge_kinematics_agrees_with_mujoco_in_pose_and_velocity(model, random_states):
    ours = hinge_kinematics(**random_states, offsets=Humanoid.mean().offsets.double())
    for row in range(8):
        pos, rot, lin, ang = (torch.from_numpy(x) for x in mujoco_bodies(model, random_states, row))
        torch.testing.assert_close(ours.body_pos[row], pos, atol=2e-6, rtol=0)  # the MJCF prints six digits
        assert roma.unitquat_geodesic_distance(ours.body_rot[row], rot).max() < 1e-6
        torch.testing.assert_close(ours.body_lin_vel[row], lin, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.body_ang_vel[row], ang, atol=1e-6, rtol=0)


def test_both_forward_kinematics_agree(random_states):
    offsets = Humanoid.mean().offsets.double()
    joints = torch.cat([random_states["root_rot"].unsqueeze(1), dof_to_rotation(random_states["dof_pos"])], dim=1)
    pos, rot = forward_kinematics(random_states["root_pos"], joints, offsets)
    ours = hinge_kinematics(**random_states, offsets=offsets)
    torch.testing.assert_close(pos, ours.body_pos)
    assert roma.unitquat_geodesic_distance(rot, ours.body_rot).max() < 1e-6


def test_local_rotations_invert_forward_kinematics(random_states):
    joints = torch.cat([random_states["root_rot"].unsqueeze(1), dof_to_rotation(random_states["dof_pos"])], dim=1)
    _, rot = forward_kinematics(random_states["root_pos"], joints, Humanoid.mean().offsets.double())
    assert roma.unitquat_geodesic_distance(local_rotations(rot), joints).max() < 1e-6


def test_bones_keep_their_length_in_any_pose_and_batch_shape():
    offsets = Humanoid.mean().offsets
    joints = roma.random_unitquat((2, 5, 24))
    pos, rot = forward_kinematics(torch.zeros(2, 5, 3), joints, offsets)
    assert pos.shape == (2, 5, 24, 3) and rot.shape == (2, 5, 24, 4)
    shin = (pos[..., 7, :] - pos[..., 4, :]).norm(dim=-1)
    torch.testing.assert_close(shin, offsets[7].norm().expand(2, 5), atol=1e-5, rtol=0)


def test_velocities_are_central_differences_and_one_sided_at_the_ends():
    t = torch.arange(6, dtype=DOUBLE)[:, None] / 30
    expected = torch.tensor([1, 2, 4, 6, 8, 9], dtype=DOUBLE)[:, None] / 30
    torch.testing.assert_close(linear_velocity(t**2, 30), expected)
    turn = roma.rotvec_to_unitquat(t**2 * torch.tensor([0.0, 0.0, 1.0], dtype=DOUBLE))
    torch.testing.assert_close(angular_velocity(turn, 30)[:, 2:], expected, atol=1e-9, rtol=0)


def test_coordinates_in_mujocos_convention_give_the_same_bodies(random_states):
    """The root's angular velocity is in its own frame, and environments are columns."""
    s, offsets = random_states, Humanoid.mean().offsets.double()
    spin = roma.quat_action(roma.quat_conjugation(s["root_rot"]), s["root_ang_vel"])
    names = ("root_pos", "root_rot", "dof_pos", "root_lin_vel", None, "dof_vel")
    columns = torch.cat([(spin if name is None else s[name]).T for name in names])
    ours, expected = kinematics.coordinate_kinematics(columns, offsets), hinge_kinematics(**s, offsets=offsets)
    for field in fields(expected):
        torch.testing.assert_close(getattr(ours, field.name), getattr(expected, field.name))


def test_world_rotations_are_products_along_the_tree():
    joints = roma.random_unitquat((3, 24), dtype=DOUBLE)
    world = [joints[:, 0]]
    for joint in range(1, 24):
        world.append(roma.quat_product(world[PARENTS[joint]], joints[:, joint]))
    ours = kinematics.world_rotations_reversed(joints.permute(2, 1, 0)).permute(2, 1, 0)
    assert roma.unitquat_geodesic_distance(ours, torch.stack(world, 1)).max() < 1e-6


def test_angular_velocity_of_a_steady_turn_is_its_rate_in_the_world_frame():
    rate = torch.tensor([0.3, -1.2, 2.0], dtype=DOUBLE)
    times = torch.arange(20, dtype=DOUBLE)[:, None] / 30
    start = roma.random_unitquat(dtype=DOUBLE)
    rotation = roma.quat_product(roma.rotvec_to_unitquat(times * rate), start.expand(20, 4))
    torch.testing.assert_close(angular_velocity(rotation, 30), rate.expand(20, 3), atol=1e-9, rtol=0)


def test_angular_velocity_ignores_the_sign_of_quaternions():
    rotation = roma.quat_product(
        roma.rotvec_to_unitquat(torch.arange(9.0)[:, None] * torch.tensor([0.0, 0.0, 0.1])),
        roma.random_unitquat().expand(9, 4),
    )
    flipped = rotation * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0])[:, None]
    torch.testing.assert_close(angular_velocity(rotation, 30), angular_velocity(flipped, 30), atol=1e-4, rtol=0)


def test_a_single_frame_has_no_velocity():
    assert not linear_velocity(torch.ones(1, 24, 3), 30).any()
    assert not angular_velocity(roma.random_unitquat((1, 24)), 30).any()


def test_the_rest_pose_heads_along_x():
    assert heading(torch.tensor(STANDING)).item() == pytest.approx(0.0, abs=1e-6)


def test_turning_the_body_by_a_yaw_adds_exactly_that_yaw_to_its_heading():
    draw = torch.Generator().manual_seed(5)
    rotation = torch.nn.functional.normalize(torch.randn(200, 4, generator=draw, dtype=DOUBLE), dim=-1)
    yaw = (torch.rand(200, generator=draw, dtype=DOUBLE) * 2 - 1) * 4
    turned = heading(roma.quat_product(yaw_quaternion(yaw), rotation))
    difference = turned - heading(rotation) - yaw
    assert torch.atan2(difference.sin(), difference.cos()).abs().max() < 1e-6


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_bending_and_leaning_do_not_change_the_heading(axis):
    standing = torch.tensor(STANDING, dtype=DOUBLE)
    for angle in (-100, -45, 60, 120):
        lean = roma.rotvec_to_unitquat(torch.tensor(axis, dtype=DOUBLE) * math.radians(angle))
        assert heading(roma.quat_product(standing, lean)).abs() < 1e-6


def test_tables_cached_in_inference_mode_support_autograd():
    for cached in (v for v in vars(kinematics).values() if hasattr(v, "cache_clear")):
        cached.cache_clear()
    quaternions._tables.cache_clear()
    joints, offsets = roma.random_unitquat((2, 24)), Humanoid.mean().offsets
    with torch.inference_mode():
        forward_kinematics(torch.zeros(2, 3), joints, offsets)
    joints.requires_grad_()
    forward_kinematics(torch.zeros(2, 3), joints, offsets)[0].sum().backward()
    assert joints.grad.abs().max() > 0


def test_an_empty_batch_is_valid():
    pos, rot = forward_kinematics(torch.zeros(0, 3), torch.zeros(0, 24, 4), Humanoid.mean().offsets)
    assert pos.shape == (0, 24, 3) and rot.shape == (0, 24, 4)
