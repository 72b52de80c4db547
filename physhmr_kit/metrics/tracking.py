"""Tracking error of a simulated body against a known reference: the measures of the PHC family.

World frame, all 24 bodies; frame 0, where both start together, is not counted. PHC reports each measure over all
sequences and over the successful ones, and papers quote the latter: state which.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import JointError, PooledMean


class SuccessRate(PooledMean):
    """Percentage of clips that never fail, by the rule of PHC and UHC.

    A clip fails when, at any frame after the first two, the mean distance over 20 bodies (24 without toes and hands)
    exceeds 0.5 m or the body is not finite. A clip that was cut short for another reason is no success either, hence
    `clip_frames`.
    """

    higher_is_better = True

    def update(self, pred_joints: Tensor, target_joints: Tensor, clip_frames: int | None = None) -> None:
        """Add one clip: (T, 24, 3) m each, world; `clip_frames` is the full length of the clip when T may be shorter."""
        fell = F.fail_frame(pred_joints, target_joints) is not None
        short = clip_frames is not None and len(pred_joints) < clip_frames
        self._add(torch.tensor([0.0 if fell or short else 100.0], device=pred_joints.device))


class GlobalMPJPE(JointError):
    """E_g-mpjpe, mm: distance of the bodies in the world, no alignment; PHC family, pooled over frames."""

    error = staticmethod(F.e_g_mpjpe)


class RootMPJPE(JointError):
    """E_mpjpe, mm: relative to body 0; PHC family (not the WHAM family's MPJPE), pooled over frames."""

    error = staticmethod(F.e_mpjpe)


class AccelError(JointError):
    """E_acc, mm/frame^2: world, 24 bodies; PHC family, pooled over frames. At 30 fps 1 mm/frame^2 is 0.9 m/s^2."""

    error = staticmethod(F.e_acc)


class VelError(JointError):
    """E_vel, mm/frame: world, 24 bodies; PHC family, pooled over frames. At 30 fps 1 mm/frame is 0.03 m/s."""

    error = staticmethod(F.e_vel)
