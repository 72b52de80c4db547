"""Observation terms: proprioception, the reference or its estimate, and what the camera sees. Pure functions of tensors.

N environments, B = 24 bodies. Unless stated otherwise vectors are in the *heading frame*: the z-up world rotated about the
vertical so that the simulated root faces +x. Rotations are 6D (Zhou et al. 2019): the first two columns of the matrix.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.quaternions import quat_between, quat_columns
from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.rays import ray_residual

PREVIEW_STEPS = (3, 7, 15)
"""Control steps ahead at which the preview shows the reference: 0.1, 0.23 and 0.5 s."""

_PREVIEW_BODIES = [0, 7, 8, 15, 20, 21]  # root, ankles, head, wrists


def to_heading(vector: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Rotate world vectors (N, ..., 3) by -yaw (N,) about the vertical: -> (N, ..., 3)."""
    shape = [-1] + [1] * (vector.ndim - 2)
    cos, sin = yaw.cos().view(shape), yaw.sin().view(shape)
    x, y, z = vector.unbind(-1)
    return torch.stack([torch.addcmul(cos * x, sin, y), torch.addcmul(cos * y, sin, x, value=-1), z], dim=-1)


def rotation_6d(rotation: torch.Tensor, yaw: torch.Tensor | None = None) -> torch.Tensor:
    """Quaternions (N, ..., 4) xyzw to 6D, in the heading frame if `yaw` (N,) is given: -> (N, ..., 6)."""
    six = quat_columns(rotation)
    return six if yaw is None else to_heading(six.unflatten(-1, (2, 3)), yaw).flatten(-2)


def _all_to_heading(vectors: list[torch.Tensor], yaw: torch.Tensor) -> torch.Tensor:
    """Concatenate vectors (N, K_i, 3) and rotate them in one operation: -> (N, sum K_i, 3)."""
    # concatenated with the batch last in memory, the layout of the kinematics (body/quaternions.py)
    joined = torch.cat([v.permute(2, 1, 0) for v in vectors], dim=1)
    return to_heading(joined.permute(2, 1, 0), yaw)


def proprioception(sim: BodyState, yaw: torch.Tensor) -> torch.Tensor:
    """State of the simulated body -> (N, 358): root height 1, positions of the other bodies relative to the root 69,
    rotations 144, linear velocities 72, angular velocities 72. Layout of PhysHMR (humanoid.py, variant 358)."""
    relative = sim.body_pos[:, 1:] - sim.body_pos[:, :1]
    columns = quat_columns(sim.body_rot).unflatten(-1, (2, 3)).flatten(1, 2)
    turned = _all_to_heading([relative, columns, sim.body_lin_vel, sim.body_ang_vel], yaw)
    return torch.cat([sim.body_pos[:, 0, 2:], turned.flatten(1)], dim=1)


def reference(sim: BodyState, ref: BodyState, yaw: torch.Tensor) -> torch.Tensor:
    """The reference one control step ahead relative to the simulated body -> (N, 576), 24 numbers per body.

    Differences of position 3, rotation 6, velocity 3 and angular velocity 3, then the reference's position relative to the
    simulated root 3 and its rotation 6 (PHC's imitation observation). The rotation difference is in the body's own frame
    (inverse(sim) ref); PHC conjugates it into the heading frame.
    """
    rotations = torch.cat([ref.body_rot, quat_between(sim.body_rot, ref.body_rot)], dim=1)
    pose, turn = quat_columns(rotations).split(24, dim=1)
    turned = _all_to_heading(
        [
            ref.body_pos - sim.body_pos,
            ref.body_lin_vel - sim.body_lin_vel,
            ref.body_ang_vel - sim.body_ang_vel,
            ref.body_pos - sim.body_pos[:, :1],
            *pose.split(3, dim=-1),
        ],
        yaw,
    )
    pos, lin, ang, place, x_axis, y_axis = turned.split(24, dim=1)
    return torch.cat([pos, turn, lin, ang, place, x_axis, y_axis], dim=-1).flatten(1)


def preview_vectors(ref: BodyState) -> torch.Tensor:
    """What the preview contains of F frames, world frame -> (F, 9, 3): positions of root, ankles, head and wrists (6), the
    root's x and y axes (2) and its velocity (1)."""
    axes = quat_columns(ref.root_rot).unflatten(-1, (2, 3))
    return torch.cat([ref.body_pos[:, _PREVIEW_BODIES], axes, ref.body_lin_vel[:, :1]], dim=1)


def preview(sim: BodyState, future: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """K future frames of the reference, `preview_vectors` (N, K, 9, 3), relative to the simulated root -> (N, K * 27).

    `reference` shows one step ahead only, too late to prepare where a foot has to land. (Ours; PHC's variant with future
    frames shows all bodies.)
    """
    pos = future[:, :, :6] - sim.body_pos[:, None, :1]
    return to_heading(torch.cat([pos, future[:, :, 6:]], dim=2), yaw).flatten(1)


def rays(
    joint_pos: torch.Tensor, centre: torch.Tensor, point: torch.Tensor, yaw: torch.Tensor, clip: float = 1.0
) -> torch.Tensor:
    """Pixel-as-ray: offset of each of the 12 joints from the ray through its pixel -> (N, 36) m.

    Args:
        joint_pos: (N, 12, 3) simulated joints. centre: (N, 3) camera. point: (N, 12, 3) any point on each ray.
        clip: largest offset in metres on each axis, so that a wrong detection cannot dominate the input (ours).
    """
    return ray_residual(joint_pos, centre, point, yaw).clamp(-clip, clip).flatten(1)


def root_orientation(root_rot: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Root rotation estimated by the encoder, (N, 4) xyzw, in the heading frame of the simulated body -> (N, 6)."""
    return rotation_6d(root_rot, yaw)


def root_position(sim: BodyState, root_pos: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """Estimated pelvis position `root_pos` (N, 3) m, world, relative to the simulated pelvis -> (N, 3) m.

    The 3-D root difference of PhysHMR's variant 66 (humanoid_im.py), taken to the estimate.
    """
    return to_heading(root_pos - sim.root_pos, yaw)
