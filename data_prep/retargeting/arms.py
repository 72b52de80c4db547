"""Smooths the hinge angles of arms near gimbal lock.

Three hinges in a row lock when the middle one nears a right angle: an arm raised overhead or laid behind the back then needs
half a turn of the outer and the inner hinge from one frame to the next, and an angle that leaves its range re-enters at the
other end. A body that follows such a reference flails and falls. Poses a few degrees from the captured one keep the hand
in place and let the hinges move smoothly.
"""

from __future__ import annotations

import math

import numpy as np
import roma
import torch
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import binary_dilation
from scipy.optimize import minimize

from physhmr_kit.body.hinges import dof_limits, hinge_axes, rotation_to_dof

RACING = 18.0
"""rad/s: an arm with a faster hinge is smoothed; the fastest of the shared clips then reach 20."""

_ARMS = ((16, 18, 20, 22), (17, 19, 21, 23))  # shoulder, elbow, wrist, hand
_RATE = 30.0  # knots per second; captures are low-passed at 10 Hz
_BEYOND = 0.15  # rad beyond its limit at which a hinge is moved by the optimisation too, not just clamped
_AROUND = 0.3  # s before and after such knots that are optimised as well
_STEPS = 100  # of L-BFGS-B

# Scales of the four quadratic costs, summed over knots: bone position, bone rotation, hinge velocity, hinge acceleration.
_METRES, _RADIANS, _SPEED, _ACCELERATION = 0.04, 0.6, 22.0, 150.0


def glide(joint_rot: torch.Tensor, fps: float, offsets: torch.Tensor) -> torch.Tensor:
    """Smooth arms whose hinges move faster than `RACING`: local rotations (T, 24, 4) xyzw -> (T, 24, 4).

    Around these frames, and nowhere else, the nine angles of an arm are optimised within their limits to move smoothly while
    elbow, wrist and hand stay as near as possible to where they were (a trajectory optimisation by L-BFGS-B).

    Args:
        joint_rot: float64. fps: frames per second. offsets: (24, 3) m, rest offsets of the body.
    """
    last = len(joint_rot) - 1
    count = round(last * min(_RATE / fps, 1.0)) + 1
    if count < 3:
        return joint_rot
    knots = np.linspace(0, last, count).round().astype(int)
    rate = (count - 1) / last * fps
    frames = np.arange(last + 1)
    before, after = np.searchsorted(knots, frames, side="right") - 1, np.searchsorted(knots, frames)  # equal on a knot
    result = joint_rot.clone()
    for arm in _ARMS:
        joints = torch.tensor(arm[:3])
        angles = rotation_to_dof(joint_rot[knots, 1:]).unflatten(1, (23, 3))[:, joints - 1].flatten(1)
        chain = _Chain(arm, offsets)
        fault = _at_fault(angles, chain, rate)
        if not fault.any():
            continue
        path = _optimised(angles, torch.from_numpy(fault), chain, joint_rot[knots][:, joints], rate)
        moved = frames[fault[before] | fault[after]]
        between = PchipInterpolator(knots, path.numpy(), axis=0)(moved)
        result[moved[:, None], joints] = chain.rotations(torch.from_numpy(between))
    return result


class _Chain:
    """The three joints of an arm as nine hinges: limits (9,) rad and forward kinematics."""

    def __init__(self, arm: tuple[int, int, int, int], offsets: torch.Tensor):
        rows = torch.tensor(arm[:3]) - 1
        self.low, self.high = dof_limits().double().unflatten(0, (23, 3))[rows].flatten(0, 1).unbind(-1)
        self.axes, self.bones = hinge_axes()[rows].double(), offsets[list(arm[1:])].double()

    def rotations(self, angles: torch.Tensor) -> torch.Tensor:
        """Angles (T, 9) -> local rotations of the three joints (T, 3, 4)."""
        half = angles.unflatten(-1, (3, 3, 1)) / 2
        outer, middle, inner = torch.cat([half.sin() * self.axes, half.cos()], dim=-1).unbind(-2)
        return roma.quat_product(roma.quat_product(outer, middle), inner)

    def bodies(self, rotations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Local rotations (T, 3, 4) -> rotations (T, 3, 4) and ends (T, 3, 3) m of the three bones in the collar's frame."""
        turns = [rotations[:, 0]]
        for joint in (1, 2):
            turns.append(roma.quat_product(turns[-1], rotations[:, joint]))
        stacked = torch.stack(turns, dim=1)
        return stacked, roma.quat_action(stacked, self.bones.expand(len(stacked), 3, 3)).cumsum(1)


def _at_fault(angles: torch.Tensor, chain: _Chain, rate: float) -> np.ndarray:
    """Knots to be optimised, (K,) bool; none where no hinge is too fast."""
    held = angles.clamp(chain.low, chain.high)
    races = (held.diff(dim=0).abs().amax(1) * rate > RACING).numpy()
    if not races.any():
        return np.zeros(len(angles), bool)
    fault = ((angles - held).abs().amax(1) > _BEYOND).numpy()
    fault[1:] |= races
    fault[:-1] |= races
    return binary_dilation(fault, iterations=max(1, round(_AROUND * rate)))


def _optimised(
    angles: torch.Tensor, free: torch.Tensor, chain: _Chain, seen: torch.Tensor, rate: float
) -> torch.Tensor:
    """Captured angles (K, 9), optimised at the knots that are `free` (K,) bool; `seen` are the captured rotations (K, 3, 4)."""
    path, free = angles.clamp(chain.low, chain.high), free.nonzero().squeeze(1)
    turns, ends = chain.bodies(seen[free])

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat.reshape(-1, 9)).requires_grad_(True)
        with torch.enable_grad():
            turned, ended = chain.bodies(chain.rotations(x))
            speed = path.index_copy(0, free, x).diff(dim=0) * rate
            apart = 4 * (1 - (turned * turns).sum(-1).square())  # approximately the squared angle
            total = (
                (ended - ends).square().sum() / _METRES**2
                + apart.sum() / _RADIANS**2
                + speed.square().sum() / _SPEED**2
                + (speed.diff(dim=0) * rate).square().sum() / _ACCELERATION**2
            )
        total.backward()
        assert x.grad is not None
        return total.item(), x.grad.numpy().ravel()

    start = torch.cat([_unwrapped(angles[part], chain) for part in _stretches(free)])
    bounds = list(zip(chain.low.tolist(), chain.high.tolist(), strict=True)) * len(free)
    found = minimize(
        cost, start.numpy().ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
    )
    return path.index_copy(0, free, torch.from_numpy(found.x.reshape(-1, 9)))


def _stretches(rows: torch.Tensor) -> list[torch.Tensor]:
    """Increasing row numbers (F,), split into runs of consecutive ones."""
    return list(rows.tensor_split((rows.diff() > 1).nonzero().squeeze(1) + 1))


def _unwrapped(angles: torch.Tensor, chain: _Chain) -> torch.Tensor:
    """Angles (F, 9) without jumps of a turn, as near to the middle of their ranges as whole turns allow, within their limits."""
    whole = torch.from_numpy(np.unwrap(angles.numpy(), axis=0))
    turns = torch.round((whole.mean(0) - (chain.low + chain.high) / 2) / (2 * math.pi))
    return (whole - 2 * math.pi * turns).clamp(chain.low, chain.high)
