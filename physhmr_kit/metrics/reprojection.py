"""Agreement of a body with detected keypoints, which needs no ground truth (ours).

Errors along the rays do not show: a body at the wrong distance, or with a wrong pose in depth, can score well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physhmr_kit.metrics.functional import MM
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, RAY_JOINTS, coco_from_bodies
from physhmr_kit.vision.rays import perpendicular

MIN_CONFIDENCE = 0.3
"""Keypoints of lower confidence are ignored."""


def ray_distance(body_pos: Tensor, centre: Tensor, ray_point: Tensor, confidence: Tensor) -> Tensor:
    """Distance of the 12 joints from their rays.

    Args:
        body_pos: (T, 24, 3) m, world. centre: (T, 3), ray_point: (T, 12, 3) m, world. confidence: (T, 12).

    Returns:
        (T, 12) mm; NaN where the keypoint is not confident.
    """
    distance = perpendicular(body_pos[:, RAY_JOINTS], centre, ray_point).norm(dim=-1) * MM
    return distance.where(confidence >= MIN_CONFIDENCE, torch.nan)


def reprojection_error(body_pos: Tensor, body_rot: Tensor, keypoints: Tensor, camera: Camera) -> Tensor:
    """Distance in the image between the body's limb keypoints and the detected ones, lens included.

    These are the 12 ray keypoints, with hips as detectors mark them (`coco_from_bodies`); our face points are too
    approximate.

    Args:
        body_pos: (T, 24, 3) m, body_rot: (T, 24, 4) xyzw, world.
        keypoints: (T, 17, 3) raw pixels u, v and confidence. camera: fixed, or moving with batch shape (T,).

    Returns:
        (T, 12) pixels; NaN where the keypoint is not confident.
    """
    error = (camera.project(coco_from_bodies(body_pos, body_rot)) - keypoints[..., :2]).norm(dim=-1)
    return error.where(keypoints[..., 2] >= MIN_CONFIDENCE, torch.nan)[:, RAY_COCO]
