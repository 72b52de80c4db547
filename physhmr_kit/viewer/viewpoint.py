"""Viewpoint of a scene and length of drawn rays, the same in recordings and animations."""

from __future__ import annotations

import numpy as np

from physhmr_kit.viewer.palette import MIN_SHOWN

_FARTHEST = 5.0  # m; of a camera farther from the body, the viewpoint shows only the rays


def viewpoint(root: np.ndarray, camera_centre: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Position of the viewpoint and its target, (3,) m each: two metres from the initial body, in front and to the side.

    With a camera in the scene: at the side, far enough away to show the camera and the whole path.

    Args:
        root: (T, 3) m, world, of the pelvis. camera_centre: (3,) m, world.
    """
    if camera_centre is None:
        return root[0] + np.array([1.75, -1.3, 0.4]), root[0]
    middle = (root.min(0) + root.max(0)) / 2
    towards = np.asarray(camera_centre, np.float64) - middle
    towards *= min(1.0, _FARTHEST / max(float(np.linalg.norm(towards)), 1e-6))
    turn = np.deg2rad(100)  # from the camera's line of sight, so that body, rays and frustum do not overlap
    cos, sin = np.cos(turn), np.sin(turn)
    away = np.array([cos * towards[0] - sin * towards[1], sin * towards[0] + cos * towards[1], 0.0])
    away /= max(float(np.linalg.norm(away)), 1e-6)
    target = middle + 0.42 * towards
    return target + away * (1.3 + 0.75 * float(np.linalg.norm(towards))) + np.array([0.0, 0.0, 0.3]), target


def ray_tips(centre, ray_point, confidence, root) -> tuple[np.ndarray, np.ndarray]:
    """End points of drawn rays, just behind the body, and which rays are drawn.

    Args:
        centre: (T, 3), ray_point: (T, J, 3) m, world. confidence: (T, J). root: (T, 3) m, world, of the pelvis.

    Returns:
        (T, J, 3) m, and (T, J) bool.
    """
    centre, point, root = (np.asarray(v, np.float32) for v in (centre, ray_point, root))
    direction = point - centre[:, None]
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    reach = np.linalg.norm(root - centre, axis=-1)[:, None, None] + 0.3
    tip = centre[:, None] + direction / np.maximum(length, 1e-6) * reach
    return tip, (np.asarray(confidence) > MIN_SHOWN) & np.isfinite(tip).all(-1)
