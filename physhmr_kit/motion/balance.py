"""Balance: the zero-moment point (ZMP) of a motion, and the centre-of-mass path for a desired one.

The ZMP is the point on the floor about which gravity and inertia exert no horizontal moment on the body. While it lies under
a foot the foot can stay flat; Kajita et al. (2003) shift the centre of mass until it does.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded
from scipy.spatial import ConvexHull, QhullError

GRAVITY = 9.81


def acceleration(position: np.ndarray, fps: float) -> np.ndarray:
    """Second differences along the first axis, zero at both ends: (T, ...) m -> (T, ...) m/s^2."""
    out = np.zeros_like(position)
    out[1:-1] = (position[2:] - 2 * position[1:-1] + position[:-2]) * fps**2
    return out


def tipping(centres: np.ndarray, masses: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Moment and load that a motion of point masses requires from the floor (segment spin is neglected).

    Args:
        centres: (T, B, 3) centres of mass of the segments, m. masses: (B,) kg.

    Returns:
        the horizontal moment of gravity and inertia about the origin (T, 2) N m, which is load times ZMP, and the vertical
        load (T,) N. In free flight the load is zero and the moment is the change of the body's angular momentum.
    """
    acc = acceleration(centres, fps)
    weight = masses * (acc[..., 2] + GRAVITY)
    moment = weight[..., None] * centres[..., :2] - (masses * centres[..., 2])[..., None] * acc[..., :2]
    return moment.sum(1), weight.sum(1)


def zero_moment_point(centres: np.ndarray, masses: np.ndarray, fps: float) -> np.ndarray:
    """Zero-moment point of a body of point masses: (T, B, 3) m, (B,) kg -> (T, 2) m on the floor."""
    moment, load = tipping(centres, masses, fps)
    return moment / load[:, None]


def cart_table(moment: np.ndarray, com_height: np.ndarray, fps: float) -> np.ndarray:
    """The bounded centre-of-mass path with a given moment about the origin.

    Solves (g + z'') x - z x'' = m on the whole interval at once (a tridiagonal system), at rest at both ends; m is
    (g + z'') p for a zero-moment point p. The equation is unstable in time but well-posed as a boundary-value problem; in
    free flight, where g + z'' and m are zero, it makes the path straight.

    Args:
        moment: (T, 2) moment per unit mass, m^2/s^2. com_height: (T,) height of the centre of mass, m.

    Returns:
        (T, 2) horizontal position of the centre of mass, m.
    """
    load, stiff = GRAVITY + acceleration(com_height, fps), com_height * fps**2
    bands = np.zeros((3, len(moment)))
    bands[1] = load
    bands[1, 1:-1] += 2 * stiff[1:-1]
    bands[0, 2:] = -stiff[1:-1]  # above the diagonal
    bands[2, :-2] = -stiff[1:-1]  # below it
    return solve_banded((1, 1), bands, moment)


def support_margin(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance of floor points from the edge of a support polygon, m; negative outside, NaN if it is degenerate.

    Args:
        points: (N, 2) m. corners: (K, 2) m, whose convex hull is the polygon.

    Returns:
        (N,) m.
    """
    try:
        area = corners[ConvexHull(corners).vertices]  # counter-clockwise
    except (QhullError, ValueError):  # collinear, or fewer than three
        return np.full(len(points), np.nan)
    edge, to = np.roll(area, -1, axis=0) - area, points[:, None] - area
    length = np.linalg.norm(edge, axis=1)
    within = ((edge[:, 0] * to[..., 1] - edge[:, 1] * to[..., 0]) / length).min(1)
    along = ((to * edge).sum(-1) / length**2).clip(0, 1)
    away = np.linalg.norm(to - along[..., None] * edge, axis=-1).min(1)
    return np.where(within >= 0, within, -away)
