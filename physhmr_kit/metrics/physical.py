"""Physical plausibility: feet, floor, smoothness and joint limits.

Read foot sliding, floating and penetration together: a floating body neither slides nor penetrates. All foot measures
use the sole corners of the humanoid (`motion.soles`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physhmr_kit.body.hinges import dof_limits
from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.pooling import PooledMean, PooledRate


class FootSliding(PooledMean):
    """Displacement of foot points that are at rest in the reference, mm/frame; WHAM family and PhysHMR.

    Pooled over contacts (WHAM family). PhysHMR averages clip means and counts a clip without contact as 0; here such a
    clip is not counted.
    """

    def update(self, pred_soles: Tensor, target_soles: Tensor) -> None:
        """Add one clip: (T, 16, 3) m each."""
        self._add(F.foot_sliding(pred_soles, target_soles))


class Penetration(PooledMean):
    """Depth of the lowest sole point below the floor, mm; ours, pooled over frames."""

    def update(self, pred_soles: Tensor) -> None:
        """Add one clip: (T, 16, 3) m."""
        self._add(F.penetration(pred_soles))


class Floating(PooledMean):
    """Height of the lowest sole point while the reference is in contact, mm, 5 mm dead zone; ours, pooled over those frames."""

    def update(self, pred_soles: Tensor, target_soles: Tensor) -> None:
        """Add one clip: (T, 16, 3) m each."""
        self._add(F.floating(pred_soles, target_soles))


class HeightVariance(PooledMean):
    """Variance of the ground height, mm^2; PhysHMR's HV: a mean over clips of per-clip values. A constant float scores 0."""

    def update(self, pred_soles: Tensor) -> None:
        """Add one clip: (T, 16, 3) m; clips under four frames are not counted."""
        self._add(F.height_variance(pred_soles))


class SkatingRatio(PooledRate):
    """Share of frames with a sole point below 5 cm moving horizontally faster than 2 cm/s, percent; ours, over frames.

    The thresholds are tight: the foot roll of a good walk counts too, so compare bodies on the same clips only.
    """

    def update(self, pred_soles: Tensor) -> None:
        """Add one clip: (T, 16, 3) m."""
        self._add(F.skating(pred_soles, self.fps))


class Jitter(PooledRate):
    """Third difference of the joints, 10 m/s^3, no reference needed; WHAM family, pooled over frames."""

    def update(self, pred_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m, world."""
        self._add(F.jitter(pred_joints, self.fps))


class LimitViolation(PooledMean):
    """Share of (frame, hinge) pairs outside the anatomical range, percent; ours, pooled over pairs."""

    def update(self, pred_dof: Tensor) -> None:
        """Add one clip: (T, 69) rad."""
        self._add((F.limit_excess(pred_dof, dof_limits()) > 0).to(torch.float32) * 100)


class LimitExcess(PooledMean):
    """Mean excess over the violating (frame, hinge) pairs, degrees; ours. Read together with `LimitViolation`."""

    def update(self, pred_dof: Tensor) -> None:
        """Add one clip: (T, 69) rad."""
        excess = F.limit_excess(pred_dof, dof_limits())
        self._add(excess[excess > 0])
