"""Virtual model: what a body that is off its reference should do about it at once, before any policy has learned anything.

Tracking the reference joint by joint says nothing about the root, which no drive holds: a body with all joints right may be
falling. Virtual model control (Pratt et al. 2001) imagines a spring and damper that pull the centre of mass and turn the
pelvis towards the reference, and asks the joints of the legs that stand for the torques by which the floor does the
pulling: T = -(p_foot - p_joint) x F - M. A foot in the air is put down farther the way the body errs (Raibert 1986; SIMBICON,
Yin et al. 2007). The gains are round numbers, tried by hand with no policy at all (benchmarks/open_loop.py).
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
"""Of the centre of mass for each kg, 1/s^2. Critically damped; gravity tips an upright body by 11 / s^2."""
TURN = (400.0, 40.0)
"""Of the pelvis's orientation: N m / rad and N m s / rad."""
REACH = (0.12, 0.05, 0.05)
"""Moment that a foot may pass to the floor for each N it carries, m: about its left and its forward axis, and about the vertical."""
STEP = (0.2, 0.2)
"""How much farther a foot in the air is put down: m for each m by which the centre of mass is off, and for each m/s."""

_LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))  # hip, knee, ankle, toes
_JOINTS = [joint for leg in _LEGS for joint in leg[:3]]
_LEAST = 50.0  # N on both feet below which nobody stands
_LIGHT = 20.0  # N on a foot below which it is in the air
_SWING = 0.5  # rad: what is added to a swinging hip at most


def virtual_model_targets(sim: SimState, ref: BodyState, humanoid: Humanoid) -> torch.Tensor:
    """What to add to PD targets that follow a reference: (N, 69) rad, zero but at hips, knees and ankles.

    Args:
        sim: the body, with what its feet carried in the last step.
        ref: where it should be now, N rows.
    """
    mass, share, stiff, level = _constants(humanoid.mass, sim.body_pos.dtype, sim.body_pos.device)
    # the environment comes last here, as in kinematics
    pos, rot = reversed_axes(sim.body_pos), reversed_axes(sim.body_rot)  # (3, 24, N), (4, 24, N)
    lag = ((ref.body_pos - sim.body_pos) * share[:, None]).sum(1).T
    slow = ((ref.body_lin_vel - sim.body_lin_vel) * share[:, None]).sum(1).T
    centre = (pos * share[:, None]).sum(1)

    force = mass * (STIFFNESS * lag + 2 * STIFFNESS**0.5 * slow)
    moment = TURN[0] * _turn(rot[:, 0], reversed_axes(ref.body_rot[:, 0]))
    moment = moment + TURN[1] * (ref.body_ang_vel[:, 0] - sim.body_ang_vel[:, 0]).T

    load = torch.stack([sim.contact_force[:, list(leg[2:]), 2].sum(1) for leg in _LEGS]).clamp(min=0)  # (2, N)
    total = load.sum(0)
    stands = torch.where(total > _LEAST, load / total.clamp(min=1), 0.0)
    axes = _world_axes(rot, sim.dof_pos)
    farther = (-STEP[0] * lag - STEP[1] * slow) * level

    added = torch.zeros(24, 3, pos.shape[-1], device=pos.device)
    for number, (hip, knee, ankle, toes) in enumerate(_LEGS):
        foot = pos[:, [ankle, toes]].mean(1) * level  # the sole
        pull = stands[number] * force
        wanted = stands[number] * moment + cross(centre - foot, pull)
        twist = _within_reach(wanted, matrix(rot[:, ankle])[:, 0] * level, load[number])
        for joint in (hip, knee, ankle):
            torque = -cross(foot - pos[:, joint], pull) - twist
            added[joint] = (axes[joint] * torque).sum(1) / stiff[joint - 1][:, None]
        leg = pos[:, ankle] - pos[:, hip]
        swing = cross(leg, farther) / leg.square().sum(0) * (load[number] < _LIGHT)
        swing = swing * (_SWING / swing.norm(dim=0).clamp(min=_SWING))
        added[hip] += (axes[hip] * swing).sum(1)
        added[ankle] -= (axes[ankle] * swing).sum(1)  # the sole keeps its slope
    return added[1:].flatten(0, 1).T


@cache
@torch.inference_mode(False)
def _constants(mass: float, dtype: torch.dtype, device: torch.device):
    """Mass kg; share of each body (24,); stiffness of the drives of joints 1 to 8 (8, 3) N m/rad, which the legs are among; what takes
    the height off a vector (3, 1). Kept, so that a step asks the device for nothing."""
    humanoid = replace(Humanoid.mean(), mass=mass)  # gains and shares are those of any body
    masses = humanoid.segment_masses().to(dtype)
    stiff = humanoid.kp.to(dtype)[: 3 * 8].view(8, 3)
    level = torch.tensor([[1.0], [1.0], [0.0]], dtype=dtype)
    return float(masses.sum()), *(x.to(device) for x in (masses / masses.sum(), stiff, level))


def _turn(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The rotation vector that takes p to q, in the world: (4, N), (4, N) -> (3, N) rad; twice the sine of half its angle."""
    conjugate = torch.cat([-p[:3], p[3:]])
    turn = product(q, conjugate)
    return 2 * turn[:3] * torch.where(turn[3:] < 0, -1.0, 1.0)


def _within_reach(moment: torch.Tensor, side: torch.Tensor, load: torch.Tensor) -> torch.Tensor:
    """The moment (3, N) N m that a foot whose left axis over the floor is `side` (3, N) can pass on while it carries `load` (N,) N."""
    left = torch.nn.functional.normalize(side, dim=0)
    forward = torch.stack([left[1], -left[0], left[2]])
    up = torch.zeros_like(left)
    up[2] = 1
    result = torch.zeros_like(moment)
    for axis, reach in zip((left, forward, up), REACH, strict=True):
        most = reach * load
        result = result + (moment * axis).sum(0).clamp(-most, most) * axis
    return result


@cache
@torch.inference_mode(False)
def _axes(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return hinge_axes().to(device, dtype)


def _world_axes(rot: torch.Tensor, dof_pos: torch.Tensor) -> dict[int, torch.Tensor]:
    """World directions of the three hinges of each leg joint: joint -> (3 hinges, 3, N). rot: (4, 24, N), dof_pos: (N, 69)."""
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
