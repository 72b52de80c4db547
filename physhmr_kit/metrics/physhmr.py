"""PhysHMR's own evaluator (released code, scripts/visualize.py): familiar names, other rules than the WHAM family's.

Everything but the height variance is taken after one rigid fit of the whole clip; foot sliding and height variance are the
functions of those names in `functional.py`. Clips are 100 frames at 30 fps, the figure of a set is a mean over clips, and a
clip whose PA-MPJPE exceeds `LEFT_OUT_MM` enters no mean: how many those are belongs beside every figure.
"""

from __future__ import annotations

import torch

from physhmr_kit.metrics import functional as F

LEFT_OUT_MM = 100.0
"""PA-MPJPE of a clip above which the evaluator skips it."""


def fit_clip(
    pred_surface: torch.Tensor, target_surface: torch.Tensor, pred_joints: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One rotation and translation, no scale, for all points of all frames of a clip.

    Args:
        pred_surface, target_surface: (T, V, 3) m, which decide the fit. pred_joints: (T, J, 3) m, which it moves too.

    Returns:
        surface (T, V, 3) and joints (T, J, 3), moved.
    """
    surface, joints = pred_surface.flatten(0, 1), pred_joints.flatten(0, 1)
    moved = F.align(torch.cat([surface, joints]), target_surface.flatten(0, 1), scale=False, fit=slice(0, len(surface)))
    at = moved.split([len(surface), len(joints)])
    return at[0].view_as(pred_surface), at[1].view_as(pred_joints)


def wa_first_root(pred_joints: torch.Tensor, target_joints: torch.Tensor, chunk: int = F.CHUNK) -> torch.Tensor:
    """PhysHMR's "WA": chunks of 100 frames shifted so that the roots of their first frames coincide.

    Not WA-MPJPE of the WHAM family (`functional.wa_mpjpe`), which fits a similarity to the whole chunk.

    Args:
        pred_joints, target_joints: (T, J, 3) m, joint 0 the root.

    Returns:
        (T,) mm.
    """
    parts = zip(pred_joints.split(chunk), target_joints.split(chunk), strict=True)
    return torch.cat([(x + (y - x)[0, 0] - y).norm(dim=-1).mean(-1) for x, y in parts]) * F.MM


def mpjpe_root(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's MPJPE: both minus joint 0. (T, J, 3) m -> (T,) mm."""
    error = (pred_joints - pred_joints[:, :1]) - (target_joints - target_joints[:, :1])
    return error.norm(dim=-1).mean(-1) * F.MM


def root_acceleration(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's ACC: second-difference error of joint 0 alone. (T, J, 3) m -> (T - 2,) mm/frame^2."""
    return (pred_joints - target_joints)[:, 0].diff(n=2, dim=0).norm(dim=-1) * F.MM


def root_velocity(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """PhysHMR's VEL: first-difference error of joint 0 alone. (T, J, 3) m -> (T - 1,) mm/frame."""
    return (pred_joints - target_joints)[:, 0].diff(dim=0).norm(dim=-1) * F.MM
