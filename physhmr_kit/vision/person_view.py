"""The encoder's input: keypoints seen by a virtual level camera that is centred on the person, at a fixed size.

Detected pixels depend on lens, focal length, camera roll and the position of the person in the image. All of these are
known, so we remove them: keypoints become rays, rays are projected into a virtual level camera that points at the
person, and the image is divided by the person's size. What this removes (elevation, size, motion of the viewing
direction) is added as further inputs. Rotations are in the gravity-view frame of GVHMR (Shen et al. 2024): z up, x
along the horizontal viewing direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.camera_motion import angular_velocity
from physhmr_kit.vision.keypoints import COCO_MIRROR, DETECTED
from physhmr_kit.vision.rays import lift

NUM_INPUTS = 17 * 2 + 17 + 6 + 4
"""Size of a token: keypoints in the level view, confidences, log size, elevation (sin, cos), three rates, angular
velocity of the camera, and whether its tilt is only a guess."""

_TORSO = (5, 6, 11, 12)


@dataclass(frozen=True, eq=False)
class PersonView:
    """Tokens and their frame.

    Attributes:
        tokens: (..., T, 61) inputs of the encoder, dimensionless, of order 1.
        azimuth: (..., T) rad, of the viewing direction; the gravity-view frame is the world frame rotated by it about
            z.
    """

    tokens: torch.Tensor
    azimuth: torch.Tensor


def person_view(keypoints: torch.Tensor, camera: Camera, guessed: torch.Tensor | bool = False) -> PersonView:
    """Tokens of the encoder from the keypoints of one person.

    Args:
        keypoints: (*lead, T, 17, 3) raw pixels u, v and confidence, gaps filled (`keypoints.fill_gaps`).
        camera: batch shape () for one fixed camera, (*lead) for one fixed camera each, or (*lead, T) for moving ones.
            Its position has no effect.
        guessed: (*lead) bool, whether the tilt of the camera is only a guess; the encoder then estimates the up
            direction.
    """
    rays = F.normalize(lift(keypoints[..., :2], camera) - _centre_like(camera, keypoints), dim=-1)
    confidence = keypoints[..., 2]
    weight = (confidence + 1e-4) * torch.full((17,), 0.25).index_fill(0, torch.tensor(_TORSO), 1.0).to(confidence)
    weight = (weight / weight.sum(-1, keepdim=True)).unsqueeze(-1)
    forward = F.normalize((rays * weight).sum(-2), dim=-1)
    up = forward.new_tensor((0.0, 0.0, 1.0)).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=-1)
    axes = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-2)
    x = rays @ axes.mT
    xy = x[..., :2] / x[..., 2:].clamp(min=0.1)
    size = ((xy.square().sum(-1, keepdim=True) * weight).sum(-2)).sqrt().clamp(min=1e-4)  # (..., T, 1), radians
    detected = (confidence >= DETECTED).unsqueeze(-1)
    pose = (xy / size.unsqueeze(-1)).clamp(-6, 6) * detected

    azimuth = torch.atan2(forward[..., 1], forward[..., 0])
    elevation = torch.asin(forward[..., 2].clamp(-1, 1))
    rates = torch.stack(
        [_rate(azimuth, wrap=True) / size[..., 0], _rate(elevation) / size[..., 0], _rate(size[..., 0].log())], dim=-1
    )
    view = torch.stack([size[..., 0].log() + 2.0, 2 * elevation.sin(), 4 * (elevation.cos() - 0.9)], dim=-1)
    guessed = torch.as_tensor(guessed).to(view)
    guessed = guessed.reshape(*guessed.shape, *[1] * (view.ndim - guessed.ndim)).expand_as(view[..., :1])
    rotation = (10 * _camera_rotation(camera, axes)).clamp(-5, 5)
    tokens = torch.cat([pose.flatten(-2), confidence, view, (10 * rates).clamp(-5, 5), rotation, guessed], dim=-1)
    return PersonView(tokens, azimuth)


def mirrored_tokens(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (..., 61) of the mirror image: left and right swapped, rotations of person and camera reversed."""
    pose, confidence, view, rates, rotation, guessed = tokens.split((34, 17, 3, 3, 3, 1), dim=-1)
    swap = list(COCO_MIRROR)
    pose = (pose.unflatten(-1, (17, 2)) * pose.new_tensor((-1.0, 1.0)))[..., swap, :].flatten(-2)
    rates = rates * rates.new_tensor((-1.0, 1.0, 1.0))
    rotation = rotation * rotation.new_tensor((1.0, -1.0, -1.0))  # an axial vector
    return torch.cat([pose, confidence[..., swap], view, rates, rotation, guessed], dim=-1)


def _centre_like(camera: Camera, keypoints: torch.Tensor) -> torch.Tensor:
    centre = camera.centre
    return centre.reshape(*centre.shape[:-1], *[1] * (keypoints.ndim - centre.ndim), 3)


def _camera_rotation(camera: Camera, axes: torch.Tensor) -> torch.Tensor:
    """Rotation of the camera since the previous frame in the axes (..., T, 3, 3) of the view: (..., T, 3) rad, 0 if fixed."""
    if len(camera.batch_shape) < axes.ndim - 2:
        return axes.new_zeros(axes.shape[:-1])
    return (axes @ angular_velocity(camera).to(axes).unsqueeze(-1)).squeeze(-1)


def _rate(value: torch.Tensor, wrap: bool = False) -> torch.Tensor:
    """Change since the previous frame: (..., T) -> (..., T), 0 in the first frame."""
    step = value.diff(dim=-1)
    if wrap:
        step = torch.atan2(step.sin(), step.cos())
    return F.pad(step, (1, 0))
