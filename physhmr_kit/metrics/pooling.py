"""Pooling: one mean over all values of all clips, the rule of the WHAM and PHC families."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class PooledMean(Metric):
    """Mean of all values of all clips; NaN without values.

    A long clip weighs more than a short one. (PhysHMR instead averages the clips' means.) `total` and `count` are summed
    over processes, so a distributed evaluation gives the number of a single one. `update` takes one clip at a time.
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
    """A pooled mean of what depends on the frame rate.

    Args:
        fps: of the clips.
    """

    def __init__(self, fps: float = 30.0, **kwargs):
        super().__init__(**kwargs)
        self.fps = fps
