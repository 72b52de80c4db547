"""The trunk against where its joints are: files in which child joints turn back what their parents turned.

In such files (public conversions of CMU's later subjects, some exporters' "corrected" roots) the root is rolled by 90 degrees and the hip joints
undo it; every joint is where it should be, and the rotations of pelvis, spine and head mean nothing. Hip line, shoulder
line and spine tell what they are.
"""

from __future__ import annotations

import roma
import torch

from data_prep.rest_pose import Rows
from data_prep.source import relative, twist, unit

_LOOSE = 0.03  # of the hips' distance from the root: what a rigid pelvis may miss them by
_ROLLED = 30.0  # degrees between root and hips: no rig means that
_GIRDLE = 45.0  # degrees between a chest and its shoulder line on the median: no shoulder girdle turns as far
_Y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


def straighten(rows: Rows, rest: dict[str, torch.Tensor]) -> tuple[list[str], bool]:
    """Let the pelvis follow its hips where joints between root and hips turn.

    Args:
        rows: changed in place; rotations since `rest`. rest: SMPL joint -> (3,) of an upright rest pose.

    Returns:
        a line, if that was so, and whether the rotations of the file are not to be believed at all.
    """
    pelvis, off = _pelvis(rows, rest)
    if off:
        rows["pelvis"] = rows["pelvis"][0], pelvis
    girdle = _girdle_off(rows, rest)
    if off > _ROLLED or girdle > _GIRDLE:
        what = f"hips {off:.0f} degrees against their root, shoulders {girdle:.0f} against the chest"
        return [f"rotations do not tell how the body lies ({what}): taken from where its joints are"], True
    return (
        [f"the hips turn against their root, by up to {off:.0f} degrees: the pelvis follows the hips"]
        if off > 5
        else []
    ), False


def _pelvis(rows: Rows, rest: dict[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
    """(T, 4) the rotation that carries the hips at rest onto where they are, and the most the root was off in degrees (0: rigid).

    Hips beside the root, not below it, leave its pitch open: the trunk decides that.
    """
    pos, rot = rows["pelvis"]
    names = ["left_hip", "right_hip"]
    still = torch.stack([rest[n] - rest["pelvis"] for n in names])
    seen = torch.stack([rows[n][0] - pos for n in names], dim=1)
    carried = torch.stack([roma.quat_action(rot, hip.expand_as(pos)) for hip in still], dim=1)
    if float((carried - seen).norm(dim=-1).max()) < _LOOSE * float(still.norm(dim=-1).max()):
        return rot, 0.0
    width = float((still[0] - still[1]).norm())
    if float(still.mean(0).norm()) < 0.2 * width:
        trunk = unit(rest["spine3"] - rest["pelvis"] - still.mean(0)) * width
        above = unit(rows["spine3"][0] - pos - seen.mean(1)) * width
        still, seen = torch.cat([still, trunk[None]]), torch.cat([seen, above[:, None]], dim=1)
    turned = roma.rotmat_to_unitquat(roma.special_procrustes(torch.einsum("tki,kj->tij", seen, still)))
    return turned, float(torch.rad2deg(roma.unitquat_geodesic_distance(turned, rot)).max())


def _girdle_off(rows: Rows, rest: dict[str, torch.Tensor]) -> float:
    """How far the shoulder line is from where the chest's rotation has it, degrees on the median."""
    rot = rows["spine3"][1]
    across = unit(rows["left_shoulder"][0] - rows["right_shoulder"][0])
    said = roma.quat_action(rot, unit(rest["left_shoulder"] - rest["right_shoulder"]).expand_as(across))
    return float(
        torch.rad2deg(torch.atan2(torch.linalg.cross(said, across).norm(dim=-1), (said * across).sum(-1))).median()
    )


def facing_ahead(head: torch.Tensor, chest: torch.Tensor) -> torch.Tensor:
    """A head (T, 4) that faces on average as the chest (T, 4) does: its mean turn about its own axis is taken out."""
    angle = twist(relative(chest, head), _Y)
    mean = torch.atan2(angle.sin().mean(), angle.cos().mean())
    return roma.quat_product(head, roma.rotvec_to_unitquat(-mean * _Y).expand_as(head))
