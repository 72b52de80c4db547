"""Conversion between the kit's hinge triples and Isaac Gym's spherical joints.

Isaac Gym's importer merges three hinges of one body into a spherical joint, in whatever order the MJCF lists them
(X. B. Peng in nv-tlabs/ASE, issue 30; PhysX, `computeSphericalJointPositions`). The joint's three positions are its rotation
vector ("exponential map", rad), its three velocities the angular velocity of the child relative to the parent, in the
child's frame (rad/s), and its three forces a torque in the child's frame. PHC's humanoid works the same way.
"""

from __future__ import annotations

import math

import roma
import torch

from physhmr_kit.body.hinges import dof_to_rotation, hinge_axes, rotation_to_dof

_MIN_COSINE = 0.05  # of the middle hinge; hinge velocities are singular where it is 0


def hinges_to_vectors(dof_pos: torch.Tensor) -> torch.Tensor:
    """Hinge angles (N, 69) rad to rotation vectors (N, 69) rad, x, y, z of each joint."""
    return roma.unitquat_to_rotvec(dof_to_rotation(dof_pos)).flatten(1)


def vectors_to_hinges(vectors: torch.Tensor) -> torch.Tensor:
    """Rotation vectors (N, 69) rad to hinge angles (N, 69) rad on the branch of `rotation_to_dof`."""
    return rotation_to_dof(roma.rotvec_to_unitquat(vectors.unflatten(1, (23, 3))))


def nearest_vectors(vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The equivalent rotation vectors, v or v - 2 pi v/|v|, nearest to `present` (both (N, 69) rad).

    A drive moves along the straight line between two rotation vectors; near half a turn the equivalent one may be much nearer.
    """
    v, p = vectors.unflatten(1, (23, 3)), present.unflatten(1, (23, 3))
    angle = v.norm(dim=-1, keepdim=True)
    other = v * (1 - 2 * math.pi / angle.clamp_min(1e-6))
    nearer = (other - p).norm(dim=-1, keepdim=True) < (v - p).norm(dim=-1, keepdim=True)
    return torch.where(nearer, other, v).flatten(1)


def _columns(dof_pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three hinge axes of each joint in the child's frame: 3 x (N, 23, 3).

    With R = R1 R2 R3, the angular velocity in the child's frame is (R2 R3)^-1 a1 v1 + R3^-1 a2 v2 + a3 v3.
    """
    axes = hinge_axes().to(dof_pos)
    half = dof_pos.unflatten(1, (23, 3, 1)) / 2
    back = torch.cat([-half.sin() * axes, half.cos()], dim=-1)  # the inverse rotations
    outer, middle, inner = (axes[:, k].expand(len(dof_pos), 23, 3) for k in range(3))
    outer = roma.quat_action(back[..., 2, :], roma.quat_action(back[..., 1, :], outer))
    return outer, roma.quat_action(back[..., 2, :], middle), inner


def hinge_to_joint_velocity(dof_pos: torch.Tensor, dof_vel: torch.Tensor) -> torch.Tensor:
    """Hinge velocities (N, 69) rad/s to angular velocities in the child's frame (N, 69) rad/s."""
    speed = dof_vel.unflatten(1, (23, 3, 1))
    return sum(c * speed[..., k, :] for k, c in enumerate(_columns(dof_pos))).flatten(1)


def joint_to_hinge_velocity(dof_pos: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
    """Inverse of `hinge_to_joint_velocity`; bounded at gimbal lock (middle hinge near +-90 degrees)."""
    a, b, c = _columns(dof_pos)
    w = velocity.unflatten(1, (23, 3))
    normals = [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)]
    volume = (a * normals[0]).sum(-1)
    volume = volume.abs().clamp(min=_MIN_COSINE).copysign(volume)
    return torch.stack([(w * n).sum(-1) / volume for n in normals], -1).flatten(1)


def joint_to_hinge_torque(dof_pos: torch.Tensor, torque: torch.Tensor) -> torch.Tensor:
    """Torques in the child's frame (N, 69) N m to torques about the hinges (N, 69) N m (the same power)."""
    t = torque.unflatten(1, (23, 3))
    return torch.stack([(t * c).sum(-1) for c in _columns(dof_pos)], -1).flatten(1)
