"""Filming motion capture: what cameras and a detector would have made of it, next to the truth. The encoder learns from this."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import roma
import torch

from physhmr_kit.body.skeleton import FEET, JOINT_NAMES, PARENTS, mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.kinematics import forward_kinematics, linear_velocity, local_rotations, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.vision.camera import sample_cameras
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.person_view import person_view
from physhmr_kit.vision.placement import sole_height
from physhmr_kit.vision.settings import STILL, Variety
from physhmr_kit.vision.synthetic import detect


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of motion as filmed, and the truth in the gravity-view frame. B windows, T frames.

    Attributes:
        tokens: (B, T, 57). rotmat: (B, T, 24, 3, 3), root in the gravity-view frame. position: (B, T, 24, 3) m, of the mean shape, root at 0.
        velocity: (B, T, 3) m/s of the pelvis. contact: (B, T, 4) 0 or 1.
    """

    tokens: torch.Tensor
    rotmat: torch.Tensor
    position: torch.Tensor
    velocity: torch.Tensor
    contact: torch.Tensor

    def to(self, device) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


def varied_offsets(spread: float, generator: torch.Generator) -> torch.Tensor:
    """The mean shape with other proportions: each limb's length (both sides alike) times 1 + N(0, spread): (24, 3) m."""
    parts = sorted({n.split("_")[-1] for n in JOINT_NAMES})
    factor = dict(
        zip(parts, (1 + spread * torch.randn(len(parts), generator=generator)).clamp(0.7, 1.3).tolist(), strict=True)
    )
    return mean_offsets() * torch.tensor([factor[n.split("_")[-1]] for n in JOINT_NAMES]).unsqueeze(-1)


def joint_positions(rotmat: torch.Tensor) -> torch.Tensor:
    """Joints of the mean shape with the root at the origin: (..., 24, 3, 3) -> (..., 24, 3) m, in the root's outer frame."""
    offsets = mean_offsets().to(rotmat)
    turn, place = [rotmat[..., 0, :, :]], [rotmat.new_zeros(*rotmat.shape[:-3], 3)]
    for joint in range(1, 24):
        up = PARENTS[joint]
        place.append(place[up] + turn[up] @ offsets[joint])
        turn.append(turn[up] @ rotmat[..., joint, :, :])
    return torch.stack(place, dim=-2)


def floor_contact(body_pos: torch.Tensor, body_rot: torch.Tensor) -> torch.Tensor:
    """Which feet stand: sole below 4 cm and joint slower than 0.4 m/s: (B, T, 24, 3), (B, T, 24, 4) -> (B, T, 4) 0 or 1."""
    height = sole_height(body_pos, body_rot)
    speed = linear_velocity(body_pos[:, :, FEET].transpose(0, 1), CONTROL_FPS).transpose(0, 1).norm(dim=-1)
    return ((height < 0.04) & (speed < 0.4)).float()


def film(
    library: MotionLibrary, clips: torch.Tensor, frames: int, generator: torch.Generator, variety: Variety = STILL
) -> Batch:
    """Film a random window of each clip given with a random camera and the synthetic detector.

    Args:
        library: of motions at 30 fps.
        clips: (B,) which clip each window is taken from; a clip may come more than once.
        frames: length of the windows; a shorter clip holds its last pose.
        generator: of everything drawn, on the CPU.
        variety: how far the motions are changed.
    """
    windows = len(clips)
    speed = torch.exp(math.log(1 + variety.speed) * (2 * torch.rand(windows, generator=generator) - 1))
    span = (frames - 1) * speed / CONTROL_FPS
    spare = ((library.lengths[clips] - 1) / CONTROL_FPS - span).clamp(min=0)
    start = torch.rand(windows, generator=generator) * spare
    seconds = start.unsqueeze(1) + torch.arange(frames) * speed.unsqueeze(1) / CONTROL_FPS
    state = library.lookup(clips.repeat_interleave(frames), seconds.flatten())
    root_pos = state.root_pos.unflatten(0, (windows, frames))
    joint_rot = local_rotations(state.body_rot).unflatten(0, (windows, frames))
    flip = torch.rand(windows, generator=generator) < variety.mirror
    other_pos, other_rot = mirrored(root_pos, joint_rot)
    root_pos = torch.where(flip[:, None, None], other_pos, root_pos)
    joint_rot = torch.where(flip[:, None, None, None], other_rot, joint_rot)

    contact = floor_contact(*forward_kinematics(root_pos, joint_rot, mean_offsets()))
    body_pos, body_rot = forward_kinematics(root_pos, joint_rot, varied_offsets(variety.limbs, generator))
    camera = sample_cameras(body_pos, generator)
    keypoints = detect(coco_from_bodies(body_pos, body_rot), camera, variety.noise, generator)
    view = person_view(keypoints, camera)

    turn = yaw_quaternion(-view.azimuth)
    rotmat = roma.unitquat_to_rotmat(
        torch.cat([roma.quat_product(turn, joint_rot[:, :, 0]).unsqueeze(2), joint_rot[:, :, 1:]], dim=2)
    )
    velocity = roma.quat_action(turn, linear_velocity(root_pos.transpose(0, 1), CONTROL_FPS).transpose(0, 1))
    return Batch(view.tokens, rotmat, joint_positions(rotmat), velocity, contact)
