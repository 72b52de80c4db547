"""Forward kinematics in batches: joint rotations to body poses, hinge velocities to body velocities."""

from __future__ import annotations

from functools import cache

import roma
import torch

from physhmr_kit.body.hinges import hinge_axes
from physhmr_kit.body.skeleton import NUM_JOINTS, PARENTS
from physhmr_kit.motion.state import BodyState


@cache
def _ancestors() -> torch.Tensor:
    """(24, 24): 1 where the column's joint is the row's own or one of its ancestors, the root left out."""
    matrix = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for joint in range(1, NUM_JOINTS):
        above = joint
        while above > 0:
            matrix[joint, above] = 1
            above = PARENTS[above]
    return matrix


@cache
def _jumps() -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Rounds of pointer doubling up the tree: in each, which joints still have a way to go and the joint it ends at."""
    above, rounds = list(PARENTS), []
    while any(a >= 0 for a in above):
        rounds.append((tuple(j for j in range(NUM_JOINTS) if above[j] >= 0), tuple(a for a in above if a >= 0)))
        above = [above[a] if a >= 0 else -1 for a in above]
    return tuple(rounds)


_PARENT_INDEX = [max(p, 0) for p in PARENTS]


def world_rotations(joint_rot: torch.Tensor) -> torch.Tensor:
    """Parent-relative rotations to world ones: (..., 24, 4) xyzw -> (..., 24, 4).

    Products are doubled up the tree (Hillis and Steele's scan), so that a chain of nine joints takes four batched steps.
    """
    rot = joint_rot
    for joints, above in _jumps():
        rot = rot.index_copy(-2, _index(joints), roma.quat_product(rot[..., above, :], rot[..., joints, :]))
    return rot


@cache
def _index(joints: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(joints)


def _sum_down(parts: torch.Tensor) -> torch.Tensor:
    """Each joint's sum of `parts` (..., 24, 3) over itself and its ancestors, without the root."""
    return _ancestors().to(parts) @ parts


def forward_kinematics(
    root_pos: torch.Tensor, joint_rot: torch.Tensor, offsets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Body poses of a pose.

    Args:
        root_pos: (..., 3) pelvis position, m.
        joint_rot: (..., 24, 4) quaternions xyzw; the root's in the world, every other relative to its parent.
        offsets: (24, 3) m, each joint from its parent in the rest pose.

    Returns:
        body positions (..., 24, 3) m and body rotations (..., 24, 4) xyzw, both in the world frame.
    """
    rot = world_rotations(joint_rot)
    arm = roma.quat_action(rot[..., _PARENT_INDEX, :], offsets.expand(*rot.shape[:-1], 3))
    return root_pos.unsqueeze(-2) + _sum_down(arm), rot


def local_rotations(body_rot: torch.Tensor) -> torch.Tensor:
    """World rotations to parent-relative ones: (..., 24, 4) -> (..., 24, 4) xyzw, the root left in the world."""
    parent = body_rot[..., _PARENT_INDEX, :]
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
    """Poses and velocities of all bodies from the generalised coordinates of the humanoid.

    Args:
        root_pos: (N, 3) m. root_rot: (N, 4) xyzw. root_lin_vel: (N, 3) m/s. root_ang_vel: (N, 3) rad/s; all world frame.
        dof_pos: (N, 69) rad. dof_vel: (N, 69) rad/s.
        offsets: (24, 3) m.
    """
    axes = hinge_axes().to(dof_pos)
    half = dof_pos.unflatten(-1, (23, 3, 1)) / 2
    outer, middle, inner = torch.cat([half.sin() * axes, half.cos()], dim=-1).unbind(-2)
    outer_middle = roma.quat_product(outer, middle)
    joint_rot = torch.cat([root_rot.unsqueeze(1), roma.quat_product(outer_middle, inner)], dim=1)

    # angular velocity of each joint in its parent's frame: every hinge turns about its axis as carried by those outside it
    speed = dof_vel.unflatten(-1, (23, 3, 1)) * axes
    relative = (
        speed[..., 0, :] + roma.quat_action(outer, speed[..., 1, :]) + roma.quat_action(outer_middle, speed[..., 2, :])
    )

    rot = world_rotations(joint_rot)
    parent_rot = rot[:, _PARENT_INDEX]
    arm = roma.quat_action(parent_rot, offsets.expand(*rot.shape[:-1], 3))
    turning = torch.cat([torch.zeros_like(root_ang_vel).unsqueeze(1), relative], dim=1)
    ang = root_ang_vel.unsqueeze(1) + _sum_down(roma.quat_action(parent_rot, turning))
    lin = root_lin_vel.unsqueeze(1) + _sum_down(torch.linalg.cross(ang[:, _PARENT_INDEX], arm))
    return BodyState(root_pos.unsqueeze(1) + _sum_down(arm), rot, lin, ang, dof_pos, dof_vel)


def linear_velocity(position: torch.Tensor, fps: float) -> torch.Tensor:
    """Central differences along the first axis (one-sided at the ends): (T, ...) m -> (T, ...) m/s."""
    if position.shape[0] < 2:
        return torch.zeros_like(position)
    return torch.gradient(position, spacing=1.0 / fps, dim=0)[0]


def angular_velocity(rotation: torch.Tensor, fps: float) -> torch.Tensor:
    """World-frame angular velocity by central differences: (T, ..., 4) xyzw -> (T, ..., 3) rad/s."""
    if rotation.shape[0] < 2:
        return torch.zeros(*rotation.shape[:-1], 3, dtype=rotation.dtype, device=rotation.device)
    step = roma.unitquat_to_rotvec(roma.quat_product(rotation[1:], roma.quat_conjugation(rotation[:-1]))) * fps
    middle = (step[1:] + step[:-1]) / 2
    return torch.cat([step[:1], middle, step[-1:]])


def heading(root_rot: torch.Tensor) -> torch.Tensor:
    """Yaw of a body in the z-up world: the twist of its rotation about the vertical, measured from `STANDING`.

    The twist is defined for every pose except upside down, so a deep bow or a roll does not spin the frame, as a
    projected forward axis would; turning the body by a yaw adds exactly that yaw.

    Args:
        root_rot: (..., 4) xyzw.

    Returns:
        (...,) radians in (-pi, pi]; 0 faces +x.
    """
    from physhmr_kit.body.skeleton import STANDING

    upright = roma.quat_conjugation(torch.tensor(STANDING, dtype=root_rot.dtype, device=root_rot.device))
    q = roma.quat_product(root_rot, upright.expand_as(root_rot))
    return 2 * torch.atan2(q[..., 2] * q[..., 3].sign().where(q[..., 3] != 0, q[..., 3].new_ones(())), q[..., 3].abs())


def yaw_quaternion(yaw: torch.Tensor) -> torch.Tensor:
    """Rotation by `yaw` about the vertical: (...,) rad -> (..., 4) xyzw."""
    zero = torch.zeros_like(yaw)
    return torch.stack([zero, zero, (yaw / 2).sin(), (yaw / 2).cos()], dim=-1)
