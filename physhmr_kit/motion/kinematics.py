"""Forward kinematics in batches: joint rotations to body poses, hinge velocities to body velocities."""

from __future__ import annotations

from functools import lru_cache

import roma
import torch

from physhmr_kit.body.hinges import hinge_axes
from physhmr_kit.body.skeleton import NUM_JOINTS, PARENTS
from physhmr_kit.motion.state import BodyState


@lru_cache(maxsize=None)
def _levels() -> tuple[tuple[list[int], list[int]], ...]:
    """The tree level by level: (joints, their parents' places in the level above), so that a level is one batched step."""
    level, levels = [0], []
    while level:
        below = [j for j in range(NUM_JOINTS) if PARENTS[j] in level]
        if below:
            levels.append((below, [level.index(PARENTS[j]) for j in below]))
        level = below
    return tuple(levels)


@lru_cache(maxsize=None)
def _restore_order() -> list[int]:
    order = [0] + [j for joints, _ in _levels() for j in joints]
    return [order.index(j) for j in range(NUM_JOINTS)]


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
    pos, rot = root_pos.unsqueeze(-2), joint_rot[..., :1, :]
    all_pos, all_rot = [pos], [rot]
    for joints, up in _levels():
        parent_rot = rot[..., up, :]
        pos = pos[..., up, :] + roma.quat_action(parent_rot, offsets[joints].expand(*parent_rot.shape[:-1], 3))
        rot = roma.quat_product(parent_rot, joint_rot[..., joints, :])
        all_pos.append(pos)
        all_rot.append(rot)
    order = _restore_order()
    return torch.cat(all_pos, -2)[..., order, :], torch.cat(all_rot, -2)[..., order, :]


def local_rotations(body_rot: torch.Tensor) -> torch.Tensor:
    """World rotations to parent-relative ones: (..., 24, 4) -> (..., 24, 4) xyzw, the root left in the world."""
    parent = body_rot[..., [max(p, 0) for p in PARENTS], :]
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
    relative = speed[..., 0, :] + roma.quat_action(outer, speed[..., 1, :]) + roma.quat_action(outer_middle, speed[..., 2, :])

    pos, rot = root_pos.unsqueeze(1), root_rot.unsqueeze(1)
    lin, ang = root_lin_vel.unsqueeze(1), root_ang_vel.unsqueeze(1)
    out = [[pos], [rot], [lin], [ang]]
    for joints, up in _levels():
        parent_rot, parent_ang = rot[:, up], ang[:, up]
        arm = roma.quat_action(parent_rot, offsets[joints].expand(*parent_rot.shape[:-1], 3))
        pos = pos[:, up] + arm
        lin = lin[:, up] + torch.linalg.cross(parent_ang, arm)
        ang = parent_ang + roma.quat_action(parent_rot, relative[:, [j - 1 for j in joints]])
        rot = roma.quat_product(parent_rot, joint_rot[:, joints])
        for whole, part in zip(out, (pos, rot, lin, ang), strict=True):
            whole.append(part)
    order = _restore_order()
    pos, rot, lin, ang = (torch.cat(parts, dim=1)[:, order] for parts in out)
    return BodyState(pos, rot, lin, ang, dof_pos, dof_vel)


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
