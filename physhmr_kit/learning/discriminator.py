"""The discriminator of the adversarial motion prior (AMP, Peng et al. 2021): a network, its losses, and the reward it gives.

Losses are pure functions of tensors; weights and forms are PHC's (amp_agent.py), which took them from IsaacGymEnvs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import softplus

from physhmr_kit.env.style import STYLE_SIZE
from physhmr_kit.learning.networks import RunningNorm, mlp


class Discriminator(nn.Module):
    """Tells windows of real motion (logit above 0) from windows of the simulated body (below).

    Args:
        steps: K, control steps in a window.
        hidden: widths of the hidden layers; PHC has 1024, 512.
        width: numbers for each step.
    """

    def __init__(self, steps: int, hidden: Sequence[int] = (512, 256), width: int = STYLE_SIZE):
        super().__init__()
        self.norm = RunningNorm(width)  # one for all steps of a window: they are the same quantity
        self.net = mlp([steps * width, *hidden, 1], last_gain=0.1)  # undecided at first, so that rewards begin alike

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits of windows: (..., K, width) -> (...,)."""
        return self.judge(self.norm(windows))

    def judge(self, normalised: torch.Tensor) -> torch.Tensor:
        """Logits of windows that went through `norm`: (..., K, width) -> (...,)."""
        return self.net(normalised.flatten(-2)).squeeze(-1)


def discriminator_loss(real: torch.Tensor, agent: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits, real windows wanted at 1 and the agent's at 0: (B,), (C,) -> scalar, ln 2 at first."""
    return 0.5 * (softplus(-real).mean() + softplus(agent).mean())


def gradient_penalty(logits: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Mean squared length of d logit / d input: (B,), (B, ...) -> scalar that can be differentiated again.

    Taken at real windows only (Mescheder et al. 2018, R1): a discriminator flat around real motion still pulls the agent
    when it is nearly there.

    Args:
        inputs: what `logits` were made of, row by row, with `requires_grad`.
    """
    (slope,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()


def logit_regulariser(net: nn.Sequential) -> torch.Tensor:
    """Sum of squared weights of the last layer, which keeps logits small -> scalar."""
    return _linear(net)[-1].weight.square().sum()


def weight_decay(net: nn.Sequential) -> torch.Tensor:
    """Sum of squared weights of all layers, biases free -> scalar."""
    return torch.stack([layer.weight.square().sum() for layer in _linear(net)]).sum()


def _linear(net: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def style_reward(logits: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
    """scale * -log(max(1 - sigmoid(logit), 1e-4)): (...,) -> (...,), 0 to 9.2 * scale; undecided is 0.69 * scale.

    The scale is PHC's. -log(1 - sigmoid) is softplus, which does not lose its digits where the sigmoid is near 1.
    """
    return scale * softplus(logits).clamp(max=-math.log(1e-4))


def accuracy(real: torch.Tensor, agent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of real and of agent windows that are classified correctly: (B,), (C,) logits -> two scalars."""
    return (real > 0).float().mean(), (agent < 0).float().mean()
