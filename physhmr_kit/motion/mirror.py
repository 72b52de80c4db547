"""Left-right mirroring of motions."""

from __future__ import annotations

from dataclasses import replace

import roma
import torch

from physhmr_kit.body.skeleton import MIRROR, STANDING
from physhmr_kit.motion.clip import Clip


def mirrored(root_pos: torch.Tensor, joint_rot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror a motion in the x-z plane: (..., 3), (..., 24, 4) xyzw (root in the world) -> the same shapes."""
    upright = torch.tensor(STANDING).to(joint_rot).expand_as(joint_rot[..., 0, :])
    turn = roma.quat_product(joint_rot[..., 0, :], roma.quat_conjugation(upright))
    root = roma.quat_product(turn * turn.new_tensor((-1.0, 1.0, -1.0, 1.0)), upright)
    local = joint_rot[..., MIRROR, :] * joint_rot.new_tensor((1.0, -1.0, -1.0, 1.0))
    return root_pos * root_pos.new_tensor((1.0, -1.0, 1.0)), torch.cat([root.unsqueeze(-2), local[..., 1:, :]], dim=-2)


def mirrored_clip(clip: Clip) -> Clip:
    """The mirrored clip, named <name>_mirrored."""
    return replace(clip.with_joints(*mirrored(clip.root_pos, clip.joint_rot)), name=f"{clip.name}_mirrored")
