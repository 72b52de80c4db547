"""Accuracy of the trajectory in the world, as the WHAM family defines it (after SLAHMR)."""

from __future__ import annotations

from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import JointError


class WMPJPE(JointError):
    """W-MPJPE_100, mm: chunks of 100 frames aligned on their first two frames; WHAM family, pooled over frames."""

    error = staticmethod(F.w_mpjpe)


class WAMPJPE(JointError):
    """WA-MPJPE_100, mm: chunks of 100 frames aligned as a whole; WHAM family (not PhysHMR's "WA"), pooled over frames."""

    error = staticmethod(F.wa_mpjpe)


class RTE(JointError):
    """Root translation error in percent of the path length; WHAM family, pooled over frames.

    A clip whose reference root travels less than 10 cm is not counted (ours).
    """

    @staticmethod
    def error(pred_joints: Tensor, target_joints: Tensor) -> Tensor:
        return F.rte(pred_joints[:, 0], target_joints[:, 0])
