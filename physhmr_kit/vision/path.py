"""Path of a body of known pose: all pelvis positions of a video at once, robust to outlier frames.

`placement.place` solves each frame independently, so a bad frame can displace the body by a metre. Here the same
equations of rays and floor form one least-squares problem with equations between frames: feet in stance do not move,
and accelerations are small. The problem is linear in the positions and its matrix is banded. Outliers are downweighted
and the system solved again (iteratively reweighted least squares with the weights of Geman and McClure, as in Zhang
1997, "Parameter estimation techniques", sec. 9).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solveh_banded

from physhmr_kit.vision.rays import place_on_rays, ray_direction

_BAND = 9  # the main diagonal and eight below it: an acceleration spans two frames of three coordinates
_ROUNDS = 8  # of reweighting


@dataclass(frozen=True)
class PathSpread:
    """Standard deviations of the equations; infinity disables one."""

    ray: float = 0.05
    """m, of a keypoint at the person's distance; larger than a detector's jitter because its errors are correlated in time."""
    ray_outlier: float = 0.15
    """m, above which a keypoint is an outlier."""
    floor: float = 0.05
    """m, height of a sole in contact."""
    floor_outlier: float = 0.15
    """m, above which the contact is an outlier."""
    foot: float = 0.02
    """m/frame, velocity of a sole in contact."""
    foot_outlier: float = 0.05
    """m/frame, above which the contact is an outlier."""
    acceleration: float = 0.01
    """m/frame^2, of the pelvis."""


@dataclass(frozen=True, eq=False)
class PathProblem:
    """The known quantities. N frames of one track, or of several tracks concatenated; world frame.

    Attributes:
        joints: (N, J, 3) m, joints with rays, pelvis at the origin.
        centre: (N, 3) m, ray_point: (N, J, 3) m: the rays. confidence: (N, J).
        soles: (N, F, 3) m, points of the soles, pelvis at the origin. contact: (N, F) in 0..1.
        linked: (N - 1,) bool, whether a frame and the next belong to the same track.
    """

    joints: torch.Tensor
    centre: torch.Tensor
    ray_point: torch.Tensor
    confidence: torch.Tensor
    soles: torch.Tensor
    contact: torch.Tensor
    linked: torch.Tensor


def robust_weight(error: torch.Tensor, scale: float) -> torch.Tensor:
    """Weight of an equation with this error under the Geman-McClure loss e^2 / (1 + e^2 / scale^2)."""
    return 1 / (1 + (error / scale).square()).square()


def guessed_path(p: PathProblem) -> torch.Tensor:
    """Initial guess, each frame independently: (N, 3) m."""
    return place_on_rays(p.joints, p.centre, p.ray_point, p.confidence, (p.soles[..., 2], 4 * p.contact))


def solve_path(problem: PathProblem, root: torch.Tensor, spread: PathSpread | None = None) -> torch.Tensor:
    """Pelvis positions (N, 3) m from an initial guess (N, 3) m, with outlier thresholds that tighten over the iterations."""
    spread = spread or PathSpread()
    direction = ray_direction(problem.ray_point, problem.centre)
    for round_ in range(_ROUNDS):
        loose = max(1.0, 4.0 * 0.5**round_)
        root = _solve(problem, direction, root, spread, loose)
    return root


def _solve(p: PathProblem, d: torch.Tensor, root: torch.Tensor, spread: PathSpread, loose: float) -> torch.Tensor:
    r = p.joints + root.unsqueeze(1) - p.centre.unsqueeze(1)
    off = (r - (r * d).sum(-1, keepdim=True) * d).norm(dim=-1)
    weight = p.confidence * robust_weight(off, loose * spread.ray_outlier) / spread.ray**2
    flat = (torch.eye(3) - d.unsqueeze(-1) * d.unsqueeze(-2)) * weight[..., None, None]
    block = flat.sum(1)
    right = (flat @ (p.centre.unsqueeze(1) - p.joints).unsqueeze(-1)).squeeze(-1).sum(1)

    height = p.soles[..., 2]
    floor = p.contact * robust_weight(height + root[:, 2:], loose * spread.floor_outlier) / spread.floor**2
    block[:, 2, 2] += floor.sum(-1)
    right[:, 2] -= (floor * height).sum(-1)

    step = root.diff(dim=0)
    foot_step = -p.soles.diff(dim=0)  # displacement of the pelvis that keeps the foot in place
    both = p.contact[1:] * p.contact[:-1]
    slip = (step.unsqueeze(1) - foot_step).norm(dim=-1)
    stay = both * robust_weight(slip, loose * spread.foot_outlier) / spread.foot**2 * p.linked.unsqueeze(-1)
    link = stay.sum(-1)
    pull = (stay.unsqueeze(-1) * foot_step).sum(1)
    smooth = (p.linked[1:] & p.linked[:-1]).to(root) / spread.acceleration**2
    return torch.from_numpy(_banded(block, right, link, pull, smooth)).to(root)


def _banded(block, right, link, pull, smooth) -> np.ndarray:
    """Solve the banded system: block (N, 3, 3), right (N, 3), link (N - 1,), pull (N - 1, 3), smooth (N - 2,) -> (N, 3)."""
    block, right, link, pull, smooth = (x.double().numpy() for x in (block, right, link, pull, smooth))
    frames = len(block)
    diagonal, first, second = np.full(frames, 1e-6), np.zeros(frames), np.zeros(frames)
    diagonal[:-1] += link
    diagonal[1:] += link
    first[:-1] -= link
    for k, factor in enumerate((1.0, 4.0, 1.0)):
        diagonal[k : frames - 2 + k] += factor * smooth
    first[: frames - 2] -= 2 * smooth
    first[1 : frames - 1] -= 2 * smooth
    second[: frames - 2] += smooth
    band = np.zeros((_BAND, frames, 3))  # lower form: band[i, t, k] couples coordinates 3 t + k and 3 t + k + i
    for k in range(3):
        for j in range(k, 3):
            band[j - k, :, k] = block[:, j, k]
    band[0] += diagonal[:, None]
    band[3] += first[:, None]
    band[6] += second[:, None]
    right = right.copy()
    right[1:] += pull
    right[:-1] -= pull
    return solveh_banded(band.reshape(_BAND, -1), right.reshape(-1), lower=True, check_finite=False).reshape(frames, 3)
