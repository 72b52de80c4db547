"""Balance: where the floor pushes for a given motion, and how to shift a motion so that it pushes where the feet are.

The zero-moment point (ZMP) is the point of the floor about which gravity and inertia do not tip the body. While it
lies under a foot the foot can stay flat; Kajita et al. (2003) shift the centre of mass until it does.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded

GRAVITY = 9.81


def acceleration(position: np.ndarray, fps: float) -> np.ndarray:
    """Second differences along the first axis, zero at both ends: (T, ...) m -> (T, ...) m/s^2."""
    out = np.zeros_like(position)
    out[1:-1] = (position[2:] - 2 * position[1:-1] + position[:-2]) * fps**2
    return out


def zero_moment_point(centres: np.ndarray, masses: np.ndarray, fps: float) -> np.ndarray:
    """Zero-moment point of a body taken as point masses (their own spin is left out).

    Args:
        centres: (T, B, 3) centres of mass of the segments, m. masses: (B,) kg.

    Returns:
        (T, 2) floor point, m.
    """
    acc = acceleration(centres, fps)
    weight = masses * (acc[..., 2] + GRAVITY)
    tipping = weight[..., None] * centres[..., :2] - (masses * centres[..., 2])[..., None] * acc[..., :2]
    return tipping.sum(1) / weight.sum(1)[:, None]


def cart_table(support: np.ndarray, com_height: np.ndarray, fps: float) -> np.ndarray:
    """The bounded centre-of-mass path whose zero-moment point is `support`.

    Solves x - (z / (g + z'')) x'' = p for x on the whole interval at once (a tridiagonal system), at rest at both
    ends. The equation is unstable in time but harmless as a boundary-value problem.

    Args:
        support: (T, 2) wished zero-moment point, m. com_height: (T,) height of the centre of mass, m.

    Returns:
        (T, 2) centre of mass over the floor, m.
    """
    stiff = com_height / (GRAVITY + acceleration(com_height, fps)) * fps**2
    bands = np.zeros((3, len(support)))
    bands[1] = 1.0
    bands[1, 1:-1] += 2 * stiff[1:-1]
    bands[0, 2:] = -stiff[1:-1]  # above the diagonal
    bands[2, :-2] = -stiff[1:-1]  # below it
    return solve_banded((1, 1), bands, support)
