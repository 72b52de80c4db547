"""Accuracy of the path through the world, by the rules of the WHAM family (after SLAHMR)."""

from __future__ import annotations

from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import PooledMean


class WMPJPE(PooledMean):
    """W-MPJPE_100, mm: chunks of 100 frames aligned on their first two frames; WHAM family, pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.w_mpjpe(pred_joints, target_joints))


class WAMPJPE(PooledMean):
    """WA-MPJPE_100, mm: chunks of 100 frames aligned as a whole; WHAM family (not PhysHMR's "WA"), pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world."""
        self._add(F.wa_mpjpe(pred_joints, target_joints))


class RTE(PooledMean):
    """Root translation error in percent of the path; WHAM family, pooled over frames.

    A clip whose reference root walks less than 10 cm adds nothing (ours).
    """

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each, world; joint 0 is the root."""
        self._add(F.rte(pred_joints[:, 0], target_joints[:, 0]))
