"""Virtual model control: corrections of PD targets that pull a body back to its reference, without any learning.

Joint-by-joint tracking does not control the root, which has no drive: a body with correct joint angles may be falling.
Virtual model control (Pratt et al. 2001) attaches a virtual spring and damper to the centre of mass and to the pelvis's
orientation, and makes the floor supply their force F and moment M through the joints of the stance legs:
T = -(p_foot - p_joint) x F - M. A swing foot is placed farther in the direction of the error (Raibert 1986; SIMBICON, Yin
et al. 2007). The gains are round numbers, tuned by hand without a policy (benchmarks/open_loop.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from physhmr_kit.body.hinges import hinge_axes
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.quaternions import action, cross, matrix, product, reversed_axes
from physhmr_kit.body.skeleton import PARENTS
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState

STIFFNESS = 15.0
"""Stiffness of the centre of mass per kg, 1/s^2, critically damped; gravity tips an upright body over at 11 / s^2."""
TURN = (400.0, 40.0)
"""Stiffness and damping of the pelvis's orientation, N m / rad and N m s / rad."""
FOOT_REACH = (0.12, 0.05, 0.05)
"""Moment a foot can transmit to the floor per N of load, m: about its left axis, its forward axis and the vertical."""
STEP_GAIN = (0.2, 0.2)
"""Displacement of a swing foot, m, per m and per m/s of error of the centre of mass."""

_LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))  # hip, knee, ankle, toes
_JOINTS = [joint for leg in _LEGS for joint in leg[:3]]
_STANDING_LOAD = 50.0  # N on both feet; below, there is no stance leg
_SWING_LOAD = 20.0  # N on a foot; below, it is a swing foot
_MAX_SWING = 0.5  # rad, largest correction of a swing hip


def virtual_model_targets(sim: SimState, ref: BodyState, humanoid: Humanoid) -> torch.Tensor:
    """Corrections to add to the PD targets of a reference: (N, 69) rad, nonzero at hips, knees and ankles only.

    Args:
        sim: the bodies, with the contact forces of the last step.
        ref: the reference at the current frame, N rows.
    """
    mass, share, stiff, level = _constants(humanoid.mass, sim.body_pos.dtype, sim.body_pos.device)
    # environments last in memory, as in the kinematics
    pos, rot = reversed_axes(sim.body_pos), reversed_axes(sim.body_rot)  # (3, 24, N), (4, 24, N)
    pos_error = ((ref.body_pos - sim.body_pos) * share[:, None]).sum(1).T
    vel_error = ((ref.body_lin_vel - sim.body_lin_vel) * share[:, None]).sum(1).T
    centre = (pos * share[:, None]).sum(1)

    force = mass * (STIFFNESS * pos_error + 2 * STIFFNESS**0.5 * vel_error)
    moment = TURN[0] * _turn(rot[:, 0], reversed_axes(ref.body_rot[:, 0]))
    moment = moment + TURN[1] * (ref.body_ang_vel[:, 0] - sim.body_ang_vel[:, 0]).T

    load = torch.stack([sim.contact_force[:, list(leg[2:]), 2].sum(1) for leg in _LEGS]).clamp(min=0)  # (2, N)
    total = load.sum(0)
    stands = torch.where(total > _STANDING_LOAD, load / total.clamp(min=1), 0.0)
    axes = _world_axes(rot, sim.dof_pos)
    step = (-STEP_GAIN[0] * pos_error - STEP_GAIN[1] * vel_error) * level

    added = torch.zeros(24, 3, pos.shape[-1], device=pos.device)
    for number, (hip, knee, ankle, toes) in enumerate(_LEGS):
        foot = pos[:, [ankle, toes]].mean(1) * level  # the sole
        pull = stands[number] * force
        wanted = stands[number] * moment + cross(centre - foot, pull)
        twist = _transmissible(wanted, matrix(rot[:, ankle])[:, 0] * level, load[number])
        for joint in (hip, knee, ankle):
            torque = -cross(foot - pos[:, joint], pull) - twist
            added[joint] = (axes[joint] * torque).sum(1) / stiff[joint - 1][:, None]
        leg = pos[:, ankle] - pos[:, hip]
        swing = cross(leg, step) / leg.square().sum(0) * (load[number] < _SWING_LOAD)
        swing = swing * (_MAX_SWING / swing.norm(dim=0).clamp(min=_MAX_SWING))
        added[hip] += (axes[hip] * swing).sum(1)
        added[ankle] -= (axes[ankle] * swing).sum(1)  # keeps the slope of the sole
    return added[1:].flatten(0, 1).T


@cache
@torch.inference_mode(False)
def _constants(mass: float, dtype: torch.dtype, device: torch.device):
    """Mass kg; mass fractions (24,); stiffness of the drives of joints 1 to 8, (8, 3) N m/rad; projection onto the floor (3, 1).

    Cached, so that a step copies nothing to the device.
    """
    humanoid = replace(Humanoid.mean(), mass=mass)  # gains and mass fractions are the same for all shapes
    masses = humanoid.segment_masses().to(dtype)
    stiff = humanoid.kp.to(dtype)[: 3 * 8].view(8, 3)
    level = torch.tensor([[1.0], [1.0], [0.0]], dtype=dtype)
    return float(masses.sum()), *(x.to(device) for x in (masses / masses.sum(), stiff, level))


def _turn(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Rotation from p to q in the world, as axis times twice the sine of half the angle: (4, N), (4, N) -> (3, N) rad."""
    turn = product(q, torch.cat([-p[:3], p[3:]]))
    return 2 * turn[:3] * torch.where(turn[3:] < 0, -1.0, 1.0)


def _transmissible(moment: torch.Tensor, side: torch.Tensor, load: torch.Tensor) -> torch.Tensor:
    """Clip a moment (3, N) N m to what a foot can transmit under `load` (N,) N; `side` (3, N) is its left axis on the floor."""
    left = torch.nn.functional.normalize(side, dim=0)
    forward = torch.stack([left[1], -left[0], left[2]])
    up = torch.zeros_like(left)
    up[2] = 1
    result = torch.zeros_like(moment)
    for axis, reach in zip((left, forward, up), FOOT_REACH, strict=True):
        most = reach * load
        result = result + (moment * axis).sum(0).clamp(-most, most) * axis
    return result


@cache
@torch.inference_mode(False)
def _axes(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return hinge_axes().to(device, dtype)


def _world_axes(rot: torch.Tensor, dof_pos: torch.Tensor) -> dict[int, torch.Tensor]:
    """World axes of the three hinges of each leg joint: joint -> (3 hinges, 3, N). rot: (4, 24, N), dof_pos: (N, 69)."""
    local = _axes(rot.dtype, rot.device)
    world = {}
    for joint in _JOINTS:
        frame, axes = rot[:, PARENTS[joint]], []
        for hinge in range(3):
            axis = local[joint - 1, hinge]
            axes.append(action(matrix(frame), axis[:, None].expand(3, rot.shape[-1])))
            half = dof_pos[:, 3 * (joint - 1) + hinge] / 2
            frame = product(frame, torch.cat([half.sin() * axis[:, None], half.cos()[None]]))
        world[joint] = torch.stack(axes)
    return world
