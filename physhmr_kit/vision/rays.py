"""Pixel as ray: how a 2-D keypoint constrains a body in 3-D (PhysHMR, arXiv 2510.02566).

A pixel determines only the line on which a joint lies, given by the camera centre c and any other point p of the line:

    lift      p = c + R_wc K^-1 [u, v, 1]      (u, v undistorted)
    residual  d = (p - c) / |p - c|,   r = x - c,   e = r - (r . d) d

e is the perpendicular from the ray to the joint x, in metres. It is zero exactly when x projects to its pixel and does
not depend on the position of x along the ray: depth is left to physics and to the feature. The policy observes e in the
heading frame of the simulated root together with the detector's confidence; e is neither clipped nor multiplied by
confidence.
"""

from __future__ import annotations

import roma
import torch

from physhmr_kit.motion.kinematics import yaw_quaternion
from physhmr_kit.vision.camera import Camera

_DEGENERATE = 1e-6  # m; a shorter vector has no direction


def lift(pixels: torch.Tensor, camera: Camera) -> torch.Tensor:
    """A point on the ray of each pixel, at depth 1 m.

    Raw, distorted pixels (*batch, ..., 2) and a camera with batch shape `batch` -> (*batch, ..., 3) m, world.
    """
    return camera.unproject(pixels, torch.ones_like(pixels[..., 0]))


def ray_direction(point: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Unit direction of the rays from the camera centre through the points.

    A point at the centre has no direction: it gets +x, and `ray_confidence` sets its confidence to 0.
    Points (..., J, 3) and centres (..., 3) in the world, m -> (..., J, 3).
    """
    ray = point - centre.unsqueeze(-2)
    length = ray.norm(dim=-1, keepdim=True)
    fallback = torch.tensor([1.0, 0.0, 0.0]).to(ray).expand_as(ray)
    return torch.where(length > _DEGENERATE, ray / length.clamp(min=_DEGENERATE), fallback)


def ray_confidence(point: torch.Tensor, centre: torch.Tensor, confidence: torch.Tensor) -> torch.Tensor:
    """The detector's confidence (..., J), set to 0 where the ray has no direction or is not finite."""
    ray = point - centre.unsqueeze(-2)
    usable = (ray.norm(dim=-1) > _DEGENERATE) & torch.isfinite(ray).all(-1)
    return torch.where(usable, confidence, torch.zeros_like(confidence))


def perpendicular(joint_pos: torch.Tensor, centre: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """World-frame residual e = r - (r . d) d: joints and points (..., J, 3), centre (..., 3), m -> (..., J, 3) m."""
    d = ray_direction(point, centre)
    r = joint_pos - centre.unsqueeze(-2)
    return r - (r * d).sum(-1, keepdim=True) * d


def ray_residual(joint_pos: torch.Tensor, centre: torch.Tensor, point: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """The observation: perpendicular residual from ray to joint, in the heading frame.

    Args:
        joint_pos: (..., J, 3) simulated joints, m, world.
        centre: (..., 3) camera centre, m, world.
        point: (..., J, 3) a point on each joint's ray, m, world.
        yaw: (...) heading of the simulated root, rad (`motion.kinematics.heading`).

    Returns:
        (..., J, 3) metres.
    """
    e = perpendicular(joint_pos, centre, point)
    turn = yaw_quaternion(-yaw).unsqueeze(-2).expand(*e.shape[:-1], 4)
    return roma.quat_action(turn, e)


def place_on_rays(
    joints: torch.Tensor, centre: torch.Tensor, point: torch.Tensor, weight: torch.Tensor, floor: tuple | None = None
) -> torch.Tensor:
    """Position a body of known pose: the translation that brings its joints closest to their rays.

    Least squares in closed form: minimise sum_j w_j |(I - d_j d_j^T)(x_j + s - c)|^2 over s. Depth follows from the
    apparent size of the body, so a body of the wrong size lands at the wrong distance; floor contact, which determines
    depth better, can be added as further rows of the system.

    Args:
        joints: (..., J, 3) m, joints in world axes with the pelvis at the origin.
        centre: (..., 3), point: (..., J, 3) m, the rays. weight: (..., J), not negative.
        floor: optional pair of heights (..., F) m, before translation, of body points that should be at z = 0, and
            weights (..., F).

    Returns:
        (..., 3) translation, m.
    """
    d = ray_direction(point, centre)
    flat = (torch.eye(3).to(d) - d.unsqueeze(-1) * d.unsqueeze(-2)) * weight[..., None, None]
    left = flat.sum(-3)
    right = (flat @ (centre.unsqueeze(-2) - joints).unsqueeze(-1)).squeeze(-1).sum(-2)
    if floor is not None:
        height, floor_weight = floor
        up = torch.tensor([0.0, 0.0, 1.0]).to(d)
        left = left + floor_weight.sum(-1)[..., None, None] * (up[:, None] * up)
        right = right - (floor_weight * height).sum(-1, keepdim=True) * up
    return torch.linalg.solve(left + 1e-8 * torch.eye(3).to(d), right)
