"""Base classes that pool the values of all clips into one mean, as the WHAM and PHC families do."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class PooledMean(Metric):
    """Mean of all values of all clips; NaN without values. `update` takes one clip at a time.

    Long clips weigh more than short ones (PhysHMR instead averages the means of the clips). `total` and `count` are
    summed over processes, so distributed evaluation gives the same result as a single process.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        self.total = self.total + values.sum()
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class PooledRate(PooledMean):
    """Pooled mean of a quantity that depends on the frame rate.

    Args:
        fps: of the clips.
    """

    def __init__(self, fps: float = 30.0, **kwargs):
        super().__init__(**kwargs)
        self.fps = fps


class JointError(PooledMean):
    """Pooled mean of an error between two bodies' joints; subclasses set `error`, a function of `functional.py`."""

    is_differentiable = True

    @staticmethod
    def error(pred_joints: Tensor, target_joints: Tensor) -> Tensor:
        raise NotImplementedError

    def update(self, pred_joints: Tensor, target_joints: Tensor) -> None:
        """Add one clip: (T, 24, 3) m each; in the world frame for the measures that do not align every frame."""
        self._add(self.error(pred_joints, target_joints))
