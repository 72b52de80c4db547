"""Metrics of PhysHMR's released evaluator (scripts/visualize.py), which share names but not definitions with the WHAM
family.

Everything but the height variance is measured after one rigid alignment of the whole clip; foot sliding and height
variance are the functions of those names in `functional.py`. Clips are 100 frames at 30 fps and results are means over
clips. Clips whose PA-MPJPE exceeds `LEFT_OUT_MM` are excluded from every mean: report their number with the result.
"""

from __future__ import annotations

import torch

from physhmr_kit.metrics import functional as F

LEFT_OUT_MM = 100.0
"""PA-MPJPE above which the evaluator skips a clip."""


def fit_clip(
    pred_surface: torch.Tensor, target_surface: torch.Tensor, pred_joints: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Align a clip by one rotation and translation, without scale.

    Args:
        pred_surface, target_surface: (T, V, 3) m, to which the transform is fitted. pred_joints: (T, J, 3) m,
            transformed too.

    Returns:
        surface (T, V, 3) and joints (T, J, 3), aligned.
    """
    surface, joints = pred_surface.flatten(0, 1), pred_joints.flatten(0, 1)
    moved = F.align(torch.cat([surface, joints]), target_surface.flatten(0, 1), scale=False, fit=slice(0, len(surface)))
    at = moved.split([len(surface), len(joints)])
    return at[0].view_as(pred_surface), at[1].view_as(pred_joints)


def wa_first_root(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's "WA": chunks of 100 frames translated so that the roots of their first frames coincide.

    Not the WHAM family's WA-MPJPE (`functional.wa_mpjpe`), which fits a similarity to the whole chunk.
    (T, J, 3) m each, joint 0 the root -> (T,) mm.
    """
    parts = zip(pred_joints.split(F.CHUNK), target_joints.split(F.CHUNK), strict=True)
    return torch.cat([(x + (y - x)[0, 0] - y).norm(dim=-1).mean(-1) for x, y in parts]) * F.MM


def mpjpe_root(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's MPJPE: relative to joint 0. (T, J, 3) m -> (T,) mm."""
    error = (pred_joints - pred_joints[:, :1]) - (target_joints - target_joints[:, :1])
    return error.norm(dim=-1).mean(-1) * F.MM


def root_acceleration(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's ACC: error of second differences of joint 0. (T, J, 3) m -> (T - 2,) mm/frame^2."""
    return (pred_joints - target_joints)[:, 0].diff(n=2, dim=0).norm(dim=-1) * F.MM


def root_velocity(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's VEL: error of first differences of joint 0. (T, J, 3) m -> (T - 1,) mm/frame."""
    return (pred_joints - target_joints)[:, 0].diff(dim=0).norm(dim=-1) * F.MM
