"""Synthetic camera motion (orbit, following, hand-held shake), and the angular velocity of a camera."""

from __future__ import annotations

import math
from dataclasses import replace

import roma
import torch
import torch.nn.functional as F

from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.kinematics import yaw_quaternion
from physhmr_kit.vision.camera import Camera

FASTEST_ORBIT = 0.7
"""rad/s, 40 degrees per second."""


def angular_velocity(camera: Camera) -> torch.Tensor:
    """Rotation of a moving camera since the previous frame, as in GVHMR (R_{t+1} R_t^T) but in world axes.

    Camera with batch shape (..., T) -> rotation vectors (..., T, 3) rad/frame, 0 in the first frame.
    """
    turn = camera.camera_to_world
    step = roma.rotmat_to_rotvec(turn[..., 1:, :, :] @ turn[..., :-1, :, :].mT)
    return F.pad(step, (0, 0, 1, 0))


def move_cameras(camera: Camera, path: torch.Tensor, share: float, generator: torch.Generator) -> Camera:
    """Move a random share of fixed cameras; the person stays where they were in the image or nearer its centre.

    A moving camera orbits about the vertical through the middle of the path (at most 40 degrees per second), follows
    the person for a fraction of their displacement, or both, and shakes by about 1 degree and 2 cm, below 1 Hz.

    Args:
        camera: batch shape (B,). path: (B, T, 3) pelvis at 30 fps, m, world. share: of the cameras, 0..1.
        generator: on the CPU.

    Returns:
        Camera with batch shape (B, T).
    """
    count, frames = path.shape[:2]

    def uniform(*shape):
        return torch.rand(*shape, generator=generator).to(path)

    moves = (uniform(count, 1) < share).to(path)
    middle = path.mean(1, keepdim=True)
    orbit = moves * (uniform(count, 1) < 0.5) * FASTEST_ORBIT * (2 * uniform(count, 1) - 1)
    angle = orbit / CONTROL_FPS * (torch.arange(frames).to(path) - (frames - 1) / 2)  # (B, T)
    follow = (moves * (uniform(count, 1) < 0.5) * uniform(count, 1)).unsqueeze(-1) * (_smooth(path) - middle)
    follow[..., 2] = 0
    shake_size = moves.unsqueeze(-1) * uniform(count, 1, 1)

    about = yaw_quaternion(angle)
    centre = middle + roma.quat_action(about, (camera.centre.unsqueeze(1) - middle).expand(count, frames, 3)) + follow
    centre = centre + 0.02 * shake_size * _slow_noise(count, frames, generator).to(path)
    shake = roma.rotvec_to_rotmat(math.radians(1.0) * shake_size * _slow_noise(count, frames, generator).to(path))
    R = shake @ camera.R.unsqueeze(1) @ roma.unitquat_to_rotmat(about).mT
    t = -(R @ centre.unsqueeze(-1)).squeeze(-1)
    K, lens = camera.K.unsqueeze(1), camera.distortion.unsqueeze(1)
    return replace(camera, K=K.expand(count, frames, 3, 3), R=R, t=t, distortion=lens.expand(count, frames, 5))


def _smooth(path: torch.Tensor, width: int = 15) -> torch.Tensor:
    """Moving average of a path (B, T, 3)."""
    padded = F.pad(path.mT, (width, width), mode="replicate")
    return F.avg_pool1d(padded, 2 * width + 1, stride=1).mT


def _slow_noise(count: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """(count, frames, 3) sums of four slow sines with unit variance."""
    rate = 0.1 + 0.9 * torch.rand(count, 1, 3, 4, generator=generator)
    phase = 2 * math.pi * torch.rand(count, 1, 3, 4, generator=generator)
    at = (torch.arange(frames) / CONTROL_FPS).reshape(1, frames, 1, 1)
    return (2 * math.pi * rate * at + phase).sin().sum(-1) / math.sqrt(2)
