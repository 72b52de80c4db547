"""Accuracy of pose and world trajectory, as the WHAM family defines it (world metrics after SLAHMR)."""

from __future__ import annotations

from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import JointError, PooledRate


class MPJPE(JointError):
    """Joint position error with the midpoints of the hips aligned, mm; WHAM family, pooled over frames.

    Example:
        >>> import torch
        >>> metric = MPJPE()
        >>> pose = torch.randn(5, 24, 3)
        >>> metric.update(pose + 1.0, pose)  # a translation is not a pose error
        >>> bool(metric.compute() < 1e-3)
        True
    """

    error = staticmethod(F.mpjpe)


class PAMPJPE(JointError):
    """Joint position error after a similarity alignment of each frame, mm; all families, pooled over frames."""

    error = staticmethod(F.pa_mpjpe)


class Accel(PooledRate):
    """Error of hip-centred joint accelerations, m/s^2; WHAM family, pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each."""
        self._add(F.accel(pred_joints, target_joints, self.fps))


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
