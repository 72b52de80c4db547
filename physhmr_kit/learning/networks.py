"""Networks: a running normaliser, a Gaussian policy with fixed standard deviation, a value function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.settings import GROUP_SIZES
from physhmr_kit.learning.distributed import moments

Observation = dict[str, torch.Tensor]


class RunningNorm(nn.Module):
    """Normalises an input by its running mean and variance and clips to +-5, as PHC's teacher does.

    The statistics change only in `update`, so that a rollout and its optimisation use the same ones.
    """

    def __init__(self, width: int, clip: float = 5.0):
        super().__init__()
        self.clip = clip
        self.mean: torch.Tensor
        self.var: torch.Tensor
        self.count: torch.Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean).mul_((self.var + 1e-4).rsqrt()).clamp_(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, x: torch.Tensor) -> None:
        """Merge a batch (..., width), of every process, into the statistics (Chan et al. 1979)."""
        count, mean, var = moments(x.reshape(-1, x.shape[-1]))
        total = self.count + count
        share = (count / total).float()
        delta = mean - self.mean
        self.var.copy_((1 - share) * self.var + share * var + share * (1 - share) * delta.square())
        self.mean.add_(share * delta)
        self.count.copy_(total)


def mlp(sizes: Sequence[int], last_gain: float) -> nn.Sequential:
    """Linear layers with SiLU between them, orthogonal weights, the last layer scaled by `last_gain`."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.Linear(a, b)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.SiLU()]
    return nn.Sequential(*layers)


class GroupNetwork(nn.Module):
    """An MLP over concatenated observation groups, with a running normaliser."""

    def __init__(self, groups: Sequence[str], hidden: Sequence[int], outputs: int, last_gain: float):
        super().__init__()
        self.groups, self.hidden = tuple(groups), tuple(hidden)
        width = sum(GROUP_SIZES[g] for g in self.groups)
        self.norm = RunningNorm(width)
        self.net = mlp([width, *hidden, outputs], last_gain)

    def flatten(self, obs: Observation) -> torch.Tensor:
        """Concatenate the network's groups: (..., width)."""
        return torch.cat([obs[g] for g in self.groups], dim=-1)


class Policy(GroupNetwork):
    """A Gaussian over 69 actions: the mean is an MLP of observation groups, the standard deviation is fixed.

    Args:
        groups: observation groups, in order.
        hidden: widths of the hidden layers.
        std: standard deviation of every action, not learned (PHC fixes exp(-2.9)).
        control: meaning of the actions, 'residual', 'balanced' or 'absolute' (env/actions.py).
    """

    def __init__(
        self, groups: Sequence[str], hidden: Sequence[int] = (512, 256), std: float = 0.1, control: str = "residual"
    ):
        super().__init__(groups, hidden, NUM_DOFS, last_gain=0.01)
        self.control = control
        self.std: torch.Tensor
        self.register_buffer("std", torch.tensor(float(std)))

    @property
    def spec(self) -> dict:
        """Constructor arguments, as plain data."""
        return {
            "groups": list(self.groups), "hidden": list(self.hidden), "std": float(self.std), "control": self.control,
        }  # fmt: skip

    def reading(self, groups: Sequence[str]) -> Policy:
        """A copy that reads other groups of the same widths, e.g. estimates instead of the reference.

        Raises:
            ValueError: the widths differ.
        """
        if [GROUP_SIZES[g] for g in groups] != [GROUP_SIZES[g] for g in self.groups]:
            raise ValueError(f"{', '.join(groups)} cannot replace {', '.join(self.groups)}: their widths differ")
        other = Policy(groups, self.hidden, float(self.std), self.control)
        other.load_state_dict(self.state_dict())
        return other.train(self.training)

    def widened(self, groups: Sequence[str], trust: float = 1e5) -> Policy:
        """A copy with further input groups, whose weights are zero, so that it acts the same.

        Args:
            groups: the additional groups.
            trust: largest sample count kept by the normaliser, so that it adapts to the new inputs.
        """
        other = Policy((*self.groups, *groups), self.hidden, float(self.std), self.control)
        state, old = other.state_dict(), self.state_dict()
        width = self.norm.mean.numel()
        for key, value in old.items():
            if key in ("norm.mean", "norm.var"):
                state[key][:width] = value
            elif key == "net.0.weight":
                state[key].zero_()[:, :width] = value
            else:
                state[key] = value
        state["norm.count"] = old["norm.count"].clamp(max=trust)
        other.load_state_dict(state)
        return other.train(self.training)

    def forward(self, obs: Observation) -> torch.Tensor:
        """Mean action (..., 69)."""
        return self.mean(self.flatten(obs))

    def mean(self, flat: torch.Tensor) -> torch.Tensor:
        """Mean action (..., 69) of flattened observations (..., width)."""
        return self.net(self.norm(flat))

    def sample(self, mean: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Sample actions with these means."""
        return mean + self.std * torch.randn(mean.shape, generator=generator, device=mean.device)

    def log_prob(self, mean: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Log density of actions, summed over 69: (...,)."""
        z = (action - mean) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


class Critic(GroupNetwork):
    """Value function of observation groups, which may include groups that the policy does not read."""

    def __init__(self, groups: Sequence[str], hidden: Sequence[int] = (512, 256)):
        super().__init__(groups, hidden, outputs=1, last_gain=1.0)

    def forward(self, flat: torch.Tensor) -> torch.Tensor:
        """Value (...,) of flattened observations (..., width)."""
        return self.net(self.norm(flat)).squeeze(-1)
