"""Feet on the floor: where a clip's soles rest, how far they sink, how much they slide, how flat they lie."""

from __future__ import annotations

from dataclasses import replace

import roma
import torch

from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics


def sole_corners(body_pos, body_rot, humanoid=None):
    """(T, 2, 8, 3)"""
    corners = foot_corners(humanoid)
    out = []
    for joints in ((7, 10), (8, 11)):
        parts = [
            body_pos[:, j, None]
            + roma.quat_action(
                body_rot[:, j, None].expand(-1, 4, -1).contiguous(),
                corners[j].to(body_pos).expand(len(body_pos), 4, 3).contiguous(),
            )
            for j in joints
        ]
        out.append(torch.cat(parts, 1))
    return torch.stack(out, 1)


def ground(clip: Clip) -> Clip:
    humanoid = Humanoid.mean()
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, humanoid.offsets)
    low = sole_corners(pos, rot)[..., 2].amin((1, 2))
    trans = clip.trans.copy()
    trans[:, 2] -= float(torch.quantile(low, 0.1))
    return replace(clip, trans=trans)
