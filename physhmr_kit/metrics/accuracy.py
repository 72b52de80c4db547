"""Pose accuracy: MPJPE, PA-MPJPE and acceleration error, as the WHAM family defines them."""

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
