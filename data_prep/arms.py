"""Arms: a way for the hinges of shoulder, elbow and wrist to go, where the captured one would have them race.

Three hinges in a row lock when the middle one nears a right angle: an arm that is raised overhead or laid behind the back then asks
the outer and the inner hinge for half a turn from one frame to the next, and an angle that leaves its range comes back in at
the other end of it. A body that follows such a reference flails and falls. Poses a few degrees beside the captured one have the
hand where it was and let the hinges glide.
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
"""rad/s: an arm of which a hinge is faster is mended. Led around, the fastest of the shared clips reach 20."""

_ARMS = ((16, 18, 20, 22), (17, 19, 21, 23))  # shoulder, elbow, wrist, hand
_RATE = 30.0  # knots a second; captures hold nothing above 10 Hz
_BEYOND = 0.15  # rad out of its range that a mended arm's hinge is brought in by another pose, not by force
_AROUND = 0.3  # s before and after such knots in which the arm is moved as well
_STEPS = 100  # of L-BFGS-B

# What costs as much as another, squared and summed over knots: bones out of place, turned, hinges fast, hinges jerked.
_METRES, _RADIANS, _SPEED, _ACCELERATION = 0.04, 0.6, 22.0, 150.0


def glide(joint_rot: torch.Tensor, fps: float, offsets: torch.Tensor) -> torch.Tensor:
    """Mend arms whose hinges race: local rotations (T, 24, 4) xyzw, as captured -> the same, with arms that hinges can follow.

    Around the frames at fault, and nowhere else, the nine angles of an arm are those within their limits that keep elbow, wrist and
    hand as near as can be to where they were and yet move smoothly (a trajectory optimisation by L-BFGS-B).

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
    left, right = (
        np.searchsorted(knots, frames, side="right") - 1,
        np.searchsorted(knots, frames),
    )  # one and the same on a knot
    result = joint_rot.clone()
    for arm in _ARMS:
        joints = torch.tensor(arm[:3])
        angles = rotation_to_dof(joint_rot[knots, 1:]).unflatten(1, (23, 3))[:, joints - 1].flatten(1)
        chain = _Chain(arm, offsets)
        fault = _at_fault(angles, chain, rate)
        if not fault.any():
            continue
        path = _way(angles, torch.from_numpy(fault), chain, joint_rot[knots][:, joints], rate)
        moved = frames[fault[left] | fault[right]]
        between = PchipInterpolator(knots, path.numpy(), axis=0)(moved)
        result[moved[:, None], joints] = chain.rotations(torch.from_numpy(between))
    return result


class _Chain:
    """The three joints of an arm as nine hinges: limits (9,) rad, and what angles do to bones."""

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
        """Local rotations (T, 3, 4) -> rotations of the three bones (T, 3, 4) and where they end (T, 3, 3) m, seen from the collar."""
        turns = [rotations[:, 0]]
        for joint in (1, 2):
            turns.append(roma.quat_product(turns[-1], rotations[:, joint]))
        stacked = torch.stack(turns, dim=1)
        return stacked, roma.quat_action(stacked, self.bones.expand(len(stacked), 3, 3)).cumsum(1)


def _at_fault(angles: torch.Tensor, chain: _Chain, rate: float) -> np.ndarray:
    """Knots to be mended, (K,) bool; none where no hinge races."""
    held = angles.clamp(chain.low, chain.high)
    races = (held.diff(dim=0).abs().amax(1) * rate > RACING).numpy()
    if not races.any():
        return np.zeros(len(angles), bool)
    fault = ((angles - held).abs().amax(1) > _BEYOND).numpy()
    fault[1:] |= races
    fault[:-1] |= races
    return binary_dilation(fault, iterations=max(1, round(_AROUND * rate)))


def _way(angles: torch.Tensor, free: torch.Tensor, chain: _Chain, seen: torch.Tensor, rate: float) -> torch.Tensor:
    """Captured angles (K, 9) with the best ones at the knots that are `free` (K,) bool; `seen` are the rotations (K, 3, 4)."""
    path, free = angles.clamp(chain.low, chain.high), free.nonzero().squeeze(1)
    turns, ends = chain.bodies(seen[free])

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat.reshape(-1, 9)).requires_grad_(True)
        with torch.enable_grad():
            turned, ended = chain.bodies(chain.rotations(x))
            speed = path.index_copy(0, free, x).diff(dim=0) * rate
            apart = 4 * (1 - (turned * turns).sum(-1).square())  # the angle's square, when small
            total = (
                (ended - ends).square().sum() / _METRES**2
                + apart.sum() / _RADIANS**2
                + speed.square().sum() / _SPEED**2
                + (speed.diff(dim=0) * rate).square().sum() / _ACCELERATION**2
            )
        total.backward()
        assert x.grad is not None
        return total.item(), x.grad.numpy().ravel()

    begin = torch.cat([_unwrapped(angles[part], chain) for part in _stretches(free)])
    bounds = list(zip(chain.low.tolist(), chain.high.tolist(), strict=True)) * len(free)
    found = minimize(
        cost, begin.numpy().ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
    )
    return path.index_copy(0, free, torch.from_numpy(found.x.reshape(-1, 9)))


def _stretches(rows: torch.Tensor) -> list[torch.Tensor]:
    """Row numbers (F,), rising, cut where one is missing."""
    cuts = (rows.diff() > 1).nonzero().squeeze(1) + 1
    return list(rows.tensor_split(cuts))


def _unwrapped(angles: torch.Tensor, chain: _Chain) -> torch.Tensor:
    """Angles (F, 9) without leaps of a turn, as near to the middle of their ranges as a whole turn allows, within their limits."""
    whole = torch.from_numpy(np.unwrap(angles.numpy(), axis=0))
    turns = torch.round((whole.mean(0) - (chain.low + chain.high) / 2) / (2 * math.pi))
    return (whole - 2 * math.pi * turns).clamp(chain.low, chain.high)
