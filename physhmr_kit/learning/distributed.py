"""Statistics over all processes of a distributed run; with one process, those of the tensor itself.

Lightning's strategy sets up `torch.distributed`. All processes must call these functions the same number of times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def world_size() -> int:
    """Number of processes of the run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Number of rows, mean and population variance of each column, over all processes.

    Args:
        x: (B, W) rows of this process.

    Returns:
        () float64 count, (W,) mean and (W,) variance in the type of `x`.
    """
    if world_size() == 1:
        return torch.tensor(len(x), dtype=torch.float64, device=x.device), x.mean(0), x.var(0, unbiased=False)
    wide = x.double()
    sums = torch.stack([torch.full_like(wide[0], len(wide)), wide.sum(0), wide.square().sum(0)])
    distributed.all_reduce(sums)
    count, mean = sums[0], sums[1] / sums[0]
    return count[0], mean.to(x), (sums[2] / count - mean.square()).clamp(min=0).to(x)


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Normalise to mean 0 and standard deviation 1 over all processes: any shape -> the same shape."""
    count, mean, var = moments(x.reshape(-1, 1))
    std = (var * (count / (count - 1).clamp(min=1))).sqrt().to(x)  # unbiased, as torch.std
    return (x - mean) / (std + 1e-8)


def mean_over_processes(x: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor of the same shape in every process."""
    if world_size() == 1:
        return x
    total = x.clone()
    distributed.all_reduce(total)
    return total / world_size()


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes, by rank."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, value)
    return gathered
