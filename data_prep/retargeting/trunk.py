"""Detects files whose trunk rotations contradict their joint positions.

In such files (public conversions of CMU's later subjects, some exporters' "corrected" roots) the root is rolled by 90 degrees and
the hip joints undo it; every joint is where it should be, but the rotations of pelvis, spine and head are meaningless. They
are recovered from hip line, shoulder line and spine.
"""

from __future__ import annotations

import roma
import torch

from data_prep.retargeting.rest_pose import Rows
from data_prep.retargeting.source import angle_between, mean_twist, relative, unit

_LOOSE = 0.03  # of the hips' distance from the root: tolerance within which the pelvis counts as rigid
_ROLLED = 30.0  # degrees between root and hips: more is not intended by any rig
_GIRDLE = 45.0  # degrees between a chest and its shoulder line on the median: more than any shoulder girdle turns
_Y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


def straighten(rows: Rows, rest: dict[str, torch.Tensor]) -> tuple[list[str], bool]:
    """Make the pelvis follow the hips where joints between root and hips rotate.

    Args:
        rows: changed in place; rotations since `rest`. rest: SMPL joint -> (3,) of an upright rest pose.

    Returns:
        a note if this was needed, as a list of one line or none, and whether the file's rotations are unusable.
    """
    pelvis, off = _pelvis(rows, rest)
    if off:
        rows["pelvis"] = rows["pelvis"][0], pelvis
    girdle = _girdle_off(rows, rest)
    if off > _ROLLED or girdle > _GIRDLE:
        what = f"hips {off:.0f} degrees against their root, shoulders {girdle:.0f} against the chest"
        return [f"rotations contradict the joint positions ({what}): computed from the positions"], True
    if off > 5:
        return [f"the hips turn against their root by up to {off:.0f} degrees: the pelvis follows the hips"], False
    return [], False


def _pelvis(rows: Rows, rest: dict[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
    """Pelvis rotation (T, 4) fitted to the hips, and the root's largest deviation from it in degrees (0: rigid).

    Hips level with the root leave its pitch undetermined: the trunk decides that.
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
    """Median angle between the shoulder line and its direction by the chest's rotation, degrees."""
    rot = rows["spine3"][1]
    across = unit(rows["left_shoulder"][0] - rows["right_shoulder"][0])
    said = roma.quat_action(rot, unit(rest["left_shoulder"] - rest["right_shoulder"]).expand_as(across))
    return float(torch.rad2deg(angle_between(said, across)).median())


def facing_ahead(head: torch.Tensor, chest: torch.Tensor) -> torch.Tensor:
    """The head's rotation (T, 4) without its mean twist, so that on average it faces as the chest (T, 4) does."""
    angle = mean_twist(relative(chest, head), _Y)
    return roma.quat_product(head, roma.rotvec_to_unitquat(-angle * _Y).expand_as(head))
