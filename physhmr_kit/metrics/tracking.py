"""How well a simulated body follows a known reference: the PHC family's measures.

World frame, all 24 bodies, frame 0 (where both start together) not counted. PHC prints each twice, over all sequences and
over those that succeeded, and papers quote the latter: state which.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import PooledMean
from physhmr_kit.motion.following import LOST_DISTANCE


class SuccessRate(PooledMean):
    """Share of clips that never fail, percent; PHC and UHC's rule.

    A clip fails when at any frame after the first two the mean distance over 20 bodies (24 without toes and hands) exceeds
    0.5 m, or the body is not finite. Every clip must be complete: a rollout cut short by another rule is not a success,
    so the caller gives the number of frames of the clip.

    Args:
        threshold: metres.
    """

    higher_is_better = True

    def __init__(self, threshold: float = LOST_DISTANCE, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, pred_joints: Tensor, target_joints: Tensor, clip_frames: int | None = None) -> None:
        """Add one clip: (T, 24, 3) m each, world; `clip_frames` is the clip's full length when T may be shorter."""
        fell = F.fail_frame(pred_joints, target_joints, self.threshold) is not None
        short = clip_frames is not None and len(pred_joints) < clip_frames
        self._add(torch.tensor([0.0 if fell or short else 100.0], device=pred_joints.device))


class GlobalMPJPE(PooledMean):
    """E_g-mpjpe, mm: world distance of the bodies, no alignment; PHC family, pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.e_g_mpjpe(pred_joints, target_joints))


class RootMPJPE(PooledMean):
    """E_mpjpe, mm: both minus body 0; PHC family (not the WHAM family's MPJPE), pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.e_mpjpe(pred_joints, target_joints))


class AccelError(PooledMean):
    """E_acc, mm/frame^2: world, 24 bodies; PHC family, pooled over frames. At 30 fps 1 mm/frame^2 is 0.9 m/s^2."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.e_acc(pred_joints, target_joints))


class VelError(PooledMean):
    """E_vel, mm/frame: world, 24 bodies; PHC family, pooled over frames. At 30 fps 1 mm/frame is 0.03 m/s."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.e_vel(pred_joints, target_joints))
