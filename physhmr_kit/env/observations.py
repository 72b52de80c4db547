"""Observation terms: what the policy feels of its body, reads of the reference, and sees of the video.

Pure functions of tensors. N environments, B = 24 bodies. Unless said otherwise vectors are turned into the
*heading frame*: the z-up world turned about the vertical so that the simulated root faces +x. Rotations are given
as 6D (Zhou et al. 2019): the first two columns of the rotation matrix.
"""

from __future__ import annotations

import roma
import torch

from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.rays import ray_residual

GROUP_SIZES = {
    "proprioception": 358,
    "reference": 576,
    "rays": 36,
    "ray_confidence": 12,
    "feature": 512,
    "root_orientation": 6,
}
"""The named groups of the observation and their widths."""


def to_heading(vector: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Turn world vectors (N, ..., 3) by -yaw (N,) about the vertical: -> (N, ..., 3)."""
    shape = [-1] + [1] * (vector.ndim - 2)
    cos, sin = yaw.cos().view(shape), yaw.sin().view(shape)
    x, y, z = vector.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=-1)


def rotation_6d(rotation: torch.Tensor, yaw: torch.Tensor | None = None) -> torch.Tensor:
    """Quaternions (N, ..., 4) xyzw as 6D, seen from the heading frame when `yaw` (N,) is given: -> (N, ..., 6)."""
    columns = roma.unitquat_to_rotmat(rotation)[..., :2].transpose(-1, -2)
    if yaw is not None:
        columns = to_heading(columns, yaw)
    return columns.flatten(-2)


def proprioception(sim: BodyState, yaw: torch.Tensor) -> torch.Tensor:
    """The simulated body: root height 1, positions of the other bodies relative to the root 69, rotations 144,
    linear velocities 72, angular velocities 72 -> (N, 358). Layout of PhysHMR (humanoid.py, variant 358)."""
    relative = to_heading(sim.body_pos[:, 1:] - sim.body_pos[:, :1], yaw)
    parts = [
        sim.body_pos[:, 0, 2:],
        relative.flatten(1),
        rotation_6d(sim.body_rot, yaw).flatten(1),
        to_heading(sim.body_lin_vel, yaw).flatten(1),
        to_heading(sim.body_ang_vel, yaw).flatten(1),
    ]
    return torch.cat(parts, dim=1)


def reference(sim: BodyState, ref: BodyState, yaw: torch.Tensor) -> torch.Tensor:
    """Where the reference is one control step ahead, seen from the body -> (N, 576), 24 numbers for each body.

    Differences of position 3, rotation 6, velocity 3, angular velocity 3, then the reference's position relative
    to the simulated root 3 and its rotation 6 (PHC's imitation observation). The rotation difference is taken in
    the body's own frame (inverse(sim) ref), which needs no heading; PHC conjugates it into the heading frame.
    """
    turn = roma.quat_product(roma.quat_conjugation(sim.body_rot), ref.body_rot)
    parts = [
        to_heading(ref.body_pos - sim.body_pos, yaw),
        rotation_6d(turn),
        to_heading(ref.body_lin_vel - sim.body_lin_vel, yaw),
        to_heading(ref.body_ang_vel - sim.body_ang_vel, yaw),
        to_heading(ref.body_pos - sim.body_pos[:, :1], yaw),
        rotation_6d(ref.body_rot, yaw),
    ]
    return torch.cat(parts, dim=-1).flatten(1)


def rays(
    joint_pos: torch.Tensor, centre: torch.Tensor, point: torch.Tensor, yaw: torch.Tensor, clip: float = 1.0
) -> torch.Tensor:
    """Pixel-as-ray: how far each of the 12 joints is from the ray through its pixel -> (N, 36) m.

    Args:
        joint_pos: (N, 12, 3) simulated joints. centre: (N, 3) camera. point: (N, 12, 3) any point on each ray.
        clip: largest residual in metres on each axis; a wild detection must not swamp the network (ours).
    """
    return ray_residual(joint_pos, centre, point, yaw).clamp(-clip, clip).flatten(1)


def root_orientation(root_rot: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """The root rotation the encoder believes in (N, 4) xyzw, seen from the simulated heading -> (N, 6)."""
    return rotation_6d(root_rot, yaw)
