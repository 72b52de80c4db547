"""Batched forward kinematics: joint rotations to body poses, hinge velocities to body velocities; finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import roma
import torch

from physhmr_kit.body.hinges import hinge_axes
from physhmr_kit.body.quaternions import action, cross, matrix, product, reversed_axes
from physhmr_kit.body.skeleton import NUM_DOFS, NUM_JOINTS, PARENTS, STANDING
from physhmr_kit.motion.state import BodyState


@cache
@torch.inference_mode(False)  # see body/quaternions.py
def _ancestors(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(24, 23): 1 where the column's joint (without the root) is the row's joint or one of its ancestors."""
    matrix = torch.zeros(NUM_JOINTS, NUM_JOINTS - 1)
    for joint in range(1, NUM_JOINTS):
        above = joint
        while above > 0:
            matrix[joint, above - 1] = 1
            above = PARENTS[above]
    return matrix.to(device, dtype)


@cache
@torch.inference_mode(False)
def _jumps(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Pointer doubling up the tree: in each round, the frame each joint's rotation is relative to; 24 is the world."""
    above, rounds = [NUM_JOINTS if p < 0 else p for p in PARENTS] + [NUM_JOINTS], []
    while any(a != NUM_JOINTS for a in above):
        rounds.append(torch.tensor(above).to(device))
        above = [above[a] for a in above]
    return tuple(rounds)


@cache
@torch.inference_mode(False)
def parents(device: torch.device) -> torch.Tensor:
    """(24,) parent of each joint; the root is its own parent."""
    return torch.tensor([max(p, 0) for p in PARENTS]).to(device)


@cache
@torch.inference_mode(False)
def hinge_tables(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices from products of sines and cosines of the hinge angles to each joint's rotation and angular velocity.

    Returns:
        (23, 4, 8) from the products of cos and sin of the three half angles to the quaternion, and (23, 3, 6) from
        [v1, v2 cos1, v2 sin1, v3 cos1 cos2, v3 sin1 cos2, v3 sin2], v the hinge velocities, to the angular velocity in the
        parent's frame: the axis of hinge 2 is rotated by hinge 1, that of hinge 3 by both.
    """
    axes = hinge_axes()  # (23, 3, 3)
    one, unit = torch.tensor([0.0, 0, 0, 1]).expand(23, 4), torch.nn.functional.pad(axes, (0, 1))
    factors = itertools.product(*((one, unit[:, k]) for k in range(3)))  # cos or sin part of each hinge
    columns = [roma.quat_product(roma.quat_product(p, q), r) for p, q, r in factors]
    a1, a2, a3 = axes.unbind(1)
    cross_axes = torch.linalg.cross
    to_ang_vel = [a1, a2, cross_axes(a1, a2), a3, cross_axes(a1, a3), cross_axes(a2, a3)]
    return torch.stack(columns, dim=-1).to(device, dtype), torch.stack(to_ang_vel, dim=-1).to(device, dtype)


def world_rotations_reversed(joint_rot: torch.Tensor) -> torch.Tensor:
    """Parent-relative to world rotations, axes reversed: (4, 24, ...) xyzw -> (4, 24, ...).

    Pointer doubling up the tree (a Hillis-Steele scan): a chain of nine joints takes four batched products.
    """
    world = torch.zeros_like(joint_rot[:, :1])
    world[3] = 1
    rot = torch.cat([joint_rot, world], dim=1)
    for above in _jumps(joint_rot.device):
        rot = product(rot.index_select(1, above), rot)
    return rot[:, :NUM_JOINTS].contiguous()


def sum_down(parts: torch.Tensor) -> torch.Tensor:
    """Sum over each joint and its ancestors, axes reversed: (k, 23, ...), without the root -> (k, 24, ...)."""
    flat = parts.flatten(2) if parts.ndim > 2 else parts.unsqueeze(-1)
    return (_ancestors(parts.dtype, parts.device) @ flat).view(parts.shape[0], NUM_JOINTS, *parts.shape[2:])


def forward_kinematics(
    root_pos: torch.Tensor, joint_rot: torch.Tensor, offsets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """World poses of all bodies from joint rotations.

    Args:
        root_pos: (..., 3) pelvis position, m.
        joint_rot: (..., 24, 4) quaternions xyzw; the root's in the world, the others relative to the parent.
        offsets: (24, 3) m, each joint from its parent in the rest pose.

    Returns:
        body positions (..., 24, 3) m and body rotations (..., 24, 4) xyzw, both in the world frame.
    """
    rot = world_rotations_reversed(reversed_axes(joint_rot))
    parent = matrix(rot).index_select(2, parents(rot.device)[1:])
    bones = offsets[1:].to(rot).T.reshape(3, NUM_JOINTS - 1, *[1] * (rot.ndim - 2))
    place = sum_down(action(parent, bones))
    back = tuple(range(rot.ndim - 1, -1, -1))
    return root_pos.unsqueeze(-2) + place.permute(back), rot.permute(back)


def local_rotations(body_rot: torch.Tensor) -> torch.Tensor:
    """World to parent-relative rotations: (..., 24, 4) -> (..., 24, 4) xyzw; the root's stays in the world."""
    parent = body_rot.index_select(-2, parents(body_rot.device))
    local = roma.quat_product(roma.quat_conjugation(parent), body_rot)
    return torch.cat([body_rot[..., :1, :], local[..., 1:, :]], dim=-2)


def hinge_kinematics(
    root_pos: torch.Tensor,
    root_rot: torch.Tensor,
    root_lin_vel: torch.Tensor,
    root_ang_vel: torch.Tensor,
    dof_pos: torch.Tensor,
    dof_vel: torch.Tensor,
    offsets: torch.Tensor,
) -> BodyState:
    """Poses and velocities of all bodies from the humanoid's generalised coordinates.

    Args:
        root_pos: (N, 3) m. root_rot: (N, 4) xyzw. root_lin_vel: (N, 3) m/s. root_ang_vel: (N, 3) rad/s; all world frame.
        dof_pos: (N, 69) rad. dof_vel: (N, 69) rad/s.
        offsets: (24, 3) m.
    """
    parts = (root_pos, root_rot, dof_pos, root_lin_vel, root_ang_vel, dof_vel)
    return _bodies([p.T.contiguous() for p in parts], offsets, spin=False)


def coordinate_kinematics(columns: torch.Tensor, offsets: torch.Tensor) -> BodyState:
    """`hinge_kinematics` from one array in MuJoCo's convention, one column per environment.

    Args:
        columns: (151, N) root position 3 m, rotation 4 xyzw, hinges 69 rad, root velocity 3 m/s in the world, its
            angular velocity 3 rad/s in the ROOT's frame, hinge velocities 69 rad/s.
        offsets: (24, 3) m.
    """
    return _bodies(columns.split([3, 4, NUM_DOFS, 3, 3, NUM_DOFS]), offsets, spin=True)


def _bodies(columns: Sequence[torch.Tensor], offsets: torch.Tensor, spin: bool) -> BodyState:
    """Environments are last: (component, joint, environment), or joint first where each joint has its own matrix.

    spin: whether the root's angular velocity is in its own frame.
    """
    root_pos, root_rot, dof_pos, root_lin_vel, root_ang_vel, dof_vel = columns
    to_quat, to_turning = hinge_tables(dof_pos.dtype, dof_pos.device)
    above = parents(dof_pos.device)[1:]
    angle, speed = dof_pos.unflatten(0, (23, 3)), dof_vel.unflatten(0, (23, 3))
    half = angle / 2
    first, second, third = torch.stack([half.cos(), half.sin()], dim=1).unbind(2)  # (23, 2, N) each
    pairs = first.unsqueeze(2) * second.unsqueeze(1)  # (23, 2, 2, N)
    products = (pairs.unsqueeze(3) * third[:, None, None]).flatten(1, 3)
    joint_rot = (to_quat @ products).transpose(0, 1)
    rot = world_rotations_reversed(torch.cat([root_rot.unsqueeze(1), joint_rot], dim=1))
    frames = matrix(rot)

    # angular velocity of each joint in its parent's frame
    (cos1, cos2, _), (sin1, sin2, _) = angle.cos().unbind(1), angle.sin().unbind(1)
    v1, v2, v3 = speed.unbind(1)
    rest = v3 * cos2
    carried = torch.stack([v1, v2 * cos1, v2 * sin1, rest * cos1, rest * sin1, v3 * sin2], dim=1)
    turning = (to_turning @ carried).transpose(0, 1)

    parent = frames.index_select(2, above)
    arm = action(parent, offsets[1:].T.unsqueeze(-1))
    place, ang = sum_down(torch.cat([arm, action(parent, turning)])).split(3)
    ang = ang + (action(frames[:, :, 0], root_ang_vel) if spin else root_ang_vel).unsqueeze(1)
    lin = sum_down(cross(ang.index_select(1, above), arm)) + root_lin_vel.unsqueeze(1)
    bodies = (place + root_pos.unsqueeze(1), rot, lin, ang)
    pos, rot, lin, ang = (b.permute(2, 1, 0) for b in bodies)
    return BodyState(pos, rot, lin, ang, dof_pos.T, dof_vel.T)


def linear_velocity(position: torch.Tensor, fps: float) -> torch.Tensor:
    """Velocity by central differences along the first axis, one-sided at the ends: (T, ...) m -> (T, ...) m/s."""
    if position.shape[0] < 2:
        return torch.zeros_like(position)
    return torch.gradient(position, spacing=1.0 / fps, dim=0)[0]


def angular_velocity(rotation: torch.Tensor, fps: float) -> torch.Tensor:
    """World-frame angular velocity by central differences, one-sided at the ends: (T, ..., 4) xyzw -> (T, ..., 3) rad/s."""
    if rotation.shape[0] < 2:
        return torch.zeros(*rotation.shape[:-1], 3, dtype=rotation.dtype, device=rotation.device)
    step = roma.unitquat_to_rotvec(roma.quat_product(rotation[1:], roma.quat_conjugation(rotation[:-1]))) * fps
    middle = (step[1:] + step[:-1]) / 2
    return torch.cat([step[:1], middle, step[-1:]])


@cache
@torch.inference_mode(False)
def _upright_twist(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(4, 2): maps a root rotation q to the z and w of q inverse(STANDING)."""
    x, y, z, w = STANDING
    return torch.tensor([[-y, x], [x, y], [w, z], [-z, w]]).to(device, dtype)


def heading(root_rot: torch.Tensor) -> torch.Tensor:
    """Yaw of a body in the z-up world: the twist of its rotation about the vertical, measured from `STANDING`.

    The twist is defined for every pose except upside down, so unlike a projected forward axis it does not flip in a deep bow
    or roll; rotating the body by a yaw adds exactly that yaw.

    Args:
        root_rot: (..., 4) xyzw.

    Returns:
        (...,) radians in [-pi, pi]; 0 faces +x.
    """
    z, w = (root_rot @ _upright_twist(root_rot.dtype, root_rot.device)).unbind(-1)
    return torch.atan2(2 * z * w, w * w - z * z)


def yaw_quaternion(yaw: torch.Tensor) -> torch.Tensor:
    """Rotation by `yaw` about the vertical: (...,) rad -> (..., 4) xyzw."""
    zero = torch.zeros_like(yaw)
    return torch.stack([zero, zero, (yaw / 2).sin(), (yaw / 2).cos()], dim=-1)
