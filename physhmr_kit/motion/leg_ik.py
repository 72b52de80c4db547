"""Analytic leg inverse kinematics: two bones and a knee hinge."""

from __future__ import annotations

import math

import numpy as np
import roma
import torch

from physhmr_kit.body.skeleton import SOLE_DEPTH, STANDING
from physhmr_kit.motion.kinematics import yaw_quaternion

HEEL_EDGE = -0.062
"""Forward offset of the heel's lower edge from the ankle joint, m (the foot box's end, see `body.humanoid.foot_corners`)."""


def turn_x(angle: torch.Tensor) -> torch.Tensor:
    """Rotation about a body's left axis (bending forwards is positive): (...) rad -> (..., 4) xyzw."""
    zero = torch.zeros_like(angle)
    return torch.stack([(angle / 2).sin(), zero, zero, (angle / 2).cos()], dim=-1)


def turn_z(angle: torch.Tensor) -> torch.Tensor:
    """Rotation about a body's forward axis (leaning to the right is positive): (...) rad -> (..., 4) xyzw."""
    return yaw_quaternion(angle)


def foot_pose(
    x: torch.Tensor,
    y: torch.Tensor,
    yaw: torch.Tensor,
    lift: torch.Tensor,
    heel: torch.Tensor,
    toe: torch.Tensor,
    ball: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """World pose of the ankle for a flat sole that is then rolled over the ball or the heel.

    A foot leaves the floor by rolling over its ball and lands by rolling over its heel. The two angles are separate and
    non-negative, so that the pivot on the floor does not move.

    Args:
        x, y: (T,) ankle joint above the flat sole, m. yaw: (T,) rad. lift: (T,) height of the whole foot, m.
        heel: (T,) heel raised about the toe joint, rad. toe: (T,) toes raised about the heel's edge, rad.
        ball: (3,) m, toe joint in the ankle's frame.

    Returns:
        ankle position (T, 3) m and ankle rotation (T, 4) xyzw in the world.
    """
    flat = roma.quat_product(yaw_quaternion(yaw), yaw.new_tensor(STANDING).expand(*yaw.shape, 4))
    heel_edge = ball.new_tensor([0.0, -SOLE_DEPTH, HEEL_EDGE])
    on_ball, on_heel = turn_x(heel), turn_x(-toe)
    ankle = ball - roma.quat_action(on_ball, ball.expand(*heel.shape, 3))
    ankle = heel_edge + roma.quat_action(on_heel, ankle - heel_edge)
    pos = torch.stack([x, y, lift + SOLE_DEPTH], dim=-1) + roma.quat_action(flat, ankle)
    return pos, roma.quat_product(flat, roma.quat_product(on_heel, on_ball))


def leg_ik(
    hip: torch.Tensor, ankle: torch.Tensor, thigh: torch.Tensor, shank: torch.Tensor, knee_axis: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Thigh and knee rotations that place the ankle.

    The knee is a pure hinge about the left axis. Its angle follows from the distance between hip and ankle (law of
    cosines, exact also for bones that are not parallel to an axis), the thigh's swing from the direction, and the
    thigh's twist from `knee_axis`: the hinge axis is aligned with it as closely as the direction allows.

    Args:
        hip, ankle: (T, 3) joint positions in the world, m.
        thigh, shank: (3,) rest offsets of knee from hip and of ankle from knee, m.
        knee_axis: (T, 3) desired world direction of the knee's hinge axis.

    Returns:
        thigh rotation in the world (T, 4) xyzw, knee rotation (T, 4) xyzw, and the reach (T,): distance over the
        length of the straight leg. Beyond 1 the ankle is out of reach and the knee straight.
    """
    line = ankle - hip
    distance = line.norm(dim=-1)
    # |thigh + Rx(knee) shank|^2 = distance^2, with thigh . Rx(knee) shank = along + size cos(knee - phase)
    along, cosine, sine = _about_hinge(thigh, shank)
    size, phase = torch.hypot(cosine, sine), torch.atan2(sine, cosine)
    bend = (distance**2 - thigh @ thigh - shank @ shank) / 2 - along
    knee = turn_x(phase + torch.acos((bend / size).clamp(-1, 1)))
    longest = (thigh @ thigh + shank @ shank + 2 * (along + size)).sqrt()

    leg = thigh + roma.quat_action(knee, shank.expand(*knee.shape[:-1], 3))
    left = torch.zeros_like(leg)
    left[..., 0] = 1
    thigh_rot = roma.rotmat_to_unitquat(_frame(line, knee_axis) @ _frame(leg, left).mT)
    return thigh_rot, knee, distance / longest


def straight_leg(thigh: np.ndarray, shank: np.ndarray) -> float:
    """Largest distance from hip to ankle that the knee hinge allows: rest offsets (3,) m -> m."""
    along, cosine, sine = _about_hinge(thigh, shank)
    return math.sqrt(thigh @ thigh + shank @ shank + 2 * (along + math.hypot(cosine, sine)))


def _about_hinge(thigh, shank):
    """Coefficients of thigh . Rx(knee) shank = along + cosine cos(knee) + sine sin(knee)."""
    cosine, sine = thigh[1] * shank[1] + thigh[2] * shank[2], thigh[2] * shank[1] - thigh[1] * shank[2]
    return thigh[0] * shank[0], cosine, sine


def knee_position(
    hip: np.ndarray, ankle: np.ndarray, thigh: np.ndarray, shank: np.ndarray, knee_axis: np.ndarray
) -> np.ndarray:
    """Knee positions (T, 3) m of `leg_ik`, without the rotations and ten times as fast; enough for centres of mass."""
    line = ankle - hip
    distance = np.sqrt((line**2).sum(1))
    along, cosine, sine = _about_hinge(thigh, shank)
    bend = (distance**2 - thigh @ thigh - shank @ shank) / 2 - along
    knee = math.atan2(sine, cosine) + np.arccos(np.clip(bend / math.hypot(cosine, sine), -1, 1))
    x, y, z = shank
    turned = (np.full_like(knee, x), y * np.cos(knee) - z * np.sin(knee), y * np.sin(knee) + z * np.cos(knee))
    leg = thigh + np.column_stack(turned)
    # components of the thigh along the leg, along the hinge and across both, then the same three directions in the world
    leg /= np.sqrt((leg**2).sum(1))[:, None]
    along_leg, rest = leg @ thigh, np.sqrt(1 - leg[:, 0] ** 2)
    along_hinge = (thigh[0] - leg[:, 0] * along_leg) / rest
    across = (leg[:, 2] * thigh[1] - leg[:, 1] * thigh[2]) / rest
    line = line / distance[:, None]
    left = knee_axis - (knee_axis * line).sum(1)[:, None] * line
    left /= np.sqrt((left**2).sum(1))[:, None]
    (x, y, z), (u, v, w) = line.T, left.T
    normal = np.column_stack([y * w - z * v, z * u - x * w, x * v - y * u])  # np.cross would take longer than the rest
    return hip + along_leg[:, None] * line + along_hinge[:, None] * left + across[:, None] * normal


def _frame(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Right-handed frames with first column `first` and second column nearest `second`: (T, 3) x2 -> (T, 3, 3)."""
    first = torch.nn.functional.normalize(first, dim=-1)
    second = torch.nn.functional.normalize(second - (second * first).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def turn_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Shortest rotation from direction a to direction b: (..., 3) x2 -> (..., 4) xyzw."""
    a, b = torch.nn.functional.normalize(a, dim=-1), torch.nn.functional.normalize(b, dim=-1)
    quat = torch.cat([torch.linalg.cross(a, b), 1 + (a * b).sum(-1, keepdim=True)], dim=-1)
    return torch.nn.functional.normalize(quat, dim=-1)


def reach_with(
    hip_pos: torch.Tensor,
    target: torch.Tensor,
    thigh_rot: torch.Tensor,
    shank_rot: torch.Tensor,
    thigh: torch.Tensor,
    shank: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimal change of a captured leg that moves its ankle to `target`.

    The knee is bent further about its hinge (x) until the distance fits, then the leg is rotated the shortest way to the
    target; the captured knee's other rotations are kept, which `leg_ik` would replace. For a target out of reach the knee is
    straight.

    Args:
        hip_pos, target: (T, 3) m, hip position and desired ankle position. thigh_rot, shank_rot: (T, 4) xyzw, world.
        thigh, shank: (3,) m, rest offsets of knee and ankle.

    Returns:
        world rotations (T, 4) of thigh and shank.
    """
    local = roma.quat_product(roma.quat_conjugation(thigh_rot), shank_rot)
    v = roma.quat_action(local, shank.expand(len(local), 3))
    line = target - hip_pos
    # |thigh + Rx(bend) v|^2 = distance^2; thigh . Rx(bend) v = along + size cos(bend - straight)
    along, cosine, sine = _about_hinge(thigh, v.T)
    size, straight = torch.hypot(cosine, sine), torch.atan2(sine, cosine)
    wanted = ((line**2).sum(-1) - thigh @ thigh - (v**2).sum(-1)) / 2 - along
    bent = turn_x(straight + torch.acos((wanted / size).clamp(-1, 1)))
    leg = thigh + roma.quat_action(bent, v)
    turn = turn_between(roma.quat_action(thigh_rot, leg), line)
    thigh_rot = roma.quat_product(turn, thigh_rot)
    return thigh_rot, roma.quat_product(thigh_rot, roma.quat_product(bent, local))
