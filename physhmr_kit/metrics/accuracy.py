"""Accuracy of the pose: MPJPE, PA-MPJPE and acceleration error, by the rules of the WHAM family."""

from __future__ import annotations

from torch import Tensor

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import PooledMean, PooledRate


class MPJPE(PooledMean):
    """Joint position error with the hips' midpoints together, mm; WHAM family, pooled over frames.

    Example:
        >>> import torch
        >>> metric = MPJPE()
        >>> pose = torch.randn(5, 24, 3)
        >>> metric.update(pose + 1.0, pose)  # a shift is no pose error
        >>> bool(metric.compute() < 1e-3)
        True
    """

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each."""
        self._add(F.mpjpe(pred_joints, target_joints))


class PAMPJPE(PooledMean):
    """Joint position error after a similarity fit of each frame, mm; all families, pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each."""
        self._add(F.pa_mpjpe(pred_joints, target_joints))


class Accel(PooledRate):
    """Error of hip-centred joint accelerations, m/s^2; WHAM family, pooled over frames."""

    is_differentiable = True

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each."""
        self._add(F.accel(pred_joints, target_joints, self.fps))
