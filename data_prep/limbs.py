"""Limb directions: does the retargeted body point its limbs where the captured one did?"""

from __future__ import annotations

import roma
import torch

from data_prep.source import JOINT, SourceMotion, mend_elbows, unit
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics

_SIDED = {
    "thigh": ("hip", "knee"), "shank": ("knee", "ankle"), "foot": ("ankle", "foot"), "collar": ("collar", "shoulder"),
    "upper arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "hand": ("wrist", "hand"),
}  # fmt: skip


def _directions(pos: torch.Tensor, head_up: torch.Tensor) -> dict[str, torch.Tensor]:
    """Unit vectors of each limb: name -> (T, 2, 3) left and right, or (T, 1, 3)."""
    limbs = {}
    for name, (start, end) in _SIDED.items():
        ends = [(JOINT[f"{side}_{start}"], JOINT[f"{side}_{end}"]) for side in ("left", "right")]
        limbs[name] = torch.stack([unit(pos[:, b] - pos[:, a]) for a, b in ends], dim=1)
    hips, shoulders = pos[:, [1, 2]], pos[:, [16, 17]]
    limbs["trunk"] = unit(shoulders.mean(1) - hips.mean(1)).unsqueeze(1)
    limbs["hip line"] = unit(hips[:, 0] - hips[:, 1]).unsqueeze(1)
    limbs["shoulder line"] = unit(shoulders[:, 0] - shoulders[:, 1]).unsqueeze(1)
    limbs["head"] = head_up.unsqueeze(1)
    return limbs


def limb_direction_error(clip: Clip, source: SourceMotion) -> dict[str, torch.Tensor]:
    """Angle between each limb of the clip and of its source, frame by frame.

    Directions are raw, joint centre to joint centre, with no calibration between them, except for the head: its "up"
    is compared (a bone neck-to-head means another thing in every skeleton). So feet and collars carry a constant that
    is the difference between two skeletons at rest. The trunk runs from mid hips to mid shoulders.

    Args:
        clip: the clip made from `source`, same frames.
        source: as read; elbows that bend backwards are mended first.

    Returns:
        limb -> (T, 1 or 2) radians.
    """
    source, _ = mend_elbows(source)
    pos, rot = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), Humanoid.mean().offsets.double())
    upright = pos.new_tensor(STANDING)
    up = pos.new_tensor([0.0, 1.0, 0.0]).expand(len(pos), 3)
    ours = _directions(pos, roma.quat_action(rot[:, JOINT["head"]], up))
    theirs = _directions(source.pos, roma.quat_action(source.rot[:, JOINT["head"]], up))
    errors = {}
    for limb, direction in theirs.items():
        turned = roma.quat_action(upright.expand(*direction.shape[:-1], 4), direction)
        sine = torch.linalg.cross(turned, ours[limb]).norm(dim=-1)
        errors[limb] = torch.atan2(sine, (turned * ours[limb]).sum(-1))
    return errors
