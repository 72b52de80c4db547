"""Small motions for tests, made in no time: at rest, waving the left arm, sitting on nothing."""

from __future__ import annotations

import math

import roma
import torch

from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.clip import Clip


def rest_clip(frames: int = 30, name: str = "rest", lift_off: float = 0.0) -> Clip:
    """Standing in the rest pose, facing +x; `lift_off` m/s takes it into the air, where no policy can follow."""
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.zeros(frames, 3)
    root[:, 2] = standing_height() + lift_off * torch.arange(frames) / 30
    return Clip.from_joints(root, rot, 30.0, name)


def waving_clip(frames: int = 60, name: str = "waving", rate: float = 3.0) -> Clip:
    """At rest but for the left shoulder, which swings by half a radian."""
    still = rest_clip(frames, name)
    t = torch.arange(frames) / 30
    rot = still.joint_rot.clone()
    rot[:, 16] = roma.rotvec_to_unitquat(torch.stack([0 * t, 0 * t, 0.5 * (rate * t).sin()], dim=-1))
    return Clip.from_joints(still.root_pos, rot, 30.0, name)


def sitting_clip(frames: int = 60, name: str = "sits") -> Clip:
    """Upright on a chair that is not there: thighs level, shanks down, 0.566 m from the pelvis to the floor."""
    rot = rest_clip(frames, name).joint_rot.clone()
    for joint, angle in ((1, -math.pi / 2), (2, -math.pi / 2), (4, math.pi / 2), (5, math.pi / 2)):
        rot[:, joint] = roma.rotvec_to_unitquat(torch.tensor([angle, 0.0, 0.0]))
    return Clip.from_joints(torch.tensor([0.0, 0.0, 0.566]).expand(frames, 3), rot, 30.0, name)
