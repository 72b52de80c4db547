"""Discriminator of the adversarial motion prior (AMP, Peng et al. 2021): network, losses and style reward.

Losses are pure functions of tensors; their forms and weights are those of PHC (amp_agent.py) and IsaacGymEnvs.
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
    """Classifies windows of motion as real (logit above 0) or simulated (below 0).

    Args:
        steps: K, control steps in a window.
        hidden: widths of the hidden layers; 1024, 512 in PHC.
        width: size of the observation of one step.
    """

    def __init__(self, steps: int, hidden: Sequence[int] = (512, 256), width: int = STYLE_SIZE):
        super().__init__()
        self.norm = RunningNorm(width)  # shared by all steps of a window
        self.net = mlp(
            [steps * width, *hidden, 1], last_gain=0.1
        )  # logits near 0 at first, so that rewards start equal

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Logits of windows: (..., K, width) -> (...,)."""
        return self.logits(self.norm(windows))

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        """Logits of windows normalised by `norm`: (..., K, width) -> (...,)."""
        return self.net(normalised.flatten(-2)).squeeze(-1)


def discriminator_loss(real: torch.Tensor, agent: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits with target 1 for real windows and 0 for the agent's: (B,), (C,) -> scalar, ln 2 at first."""
    return 0.5 * (softplus(-real).mean() + softplus(agent).mean())


def gradient_penalty(logits: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Mean squared norm of d logit / d input: (B,), (B, ...) -> differentiable scalar.

    Applied to real windows only (R1, Mescheder et al. 2018), so that the discriminator is flat around real motion and still
    guides an agent close to it.

    Args:
        inputs: the inputs of `logits`, with `requires_grad`.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def logit_regulariser(net: nn.Sequential) -> torch.Tensor:
    """Sum of squared weights of the last layer, which limits the logits -> scalar."""
    return _linear(net)[-1].weight.square().sum()


def weight_decay(net: nn.Sequential) -> torch.Tensor:
    """Sum of squared weights of all layers, without biases -> scalar."""
    return torch.stack([layer.weight.square().sum() for layer in _linear(net)]).sum()


def _linear(net: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def style_reward(logits: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
    """scale * -log(max(1 - sigmoid(logit), 1e-4)): (...,) -> (...,), 0 to 9.2 * scale, and 0.69 * scale at logit 0.

    The scale is PHC's. -log(1 - sigmoid) is computed as softplus, which is accurate where the sigmoid is near 1.
    """
    return scale * softplus(logits).clamp(max=-math.log(1e-4))


def accuracy(real: torch.Tensor, agent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fractions of real and of agent windows classified correctly: (B,), (C,) logits -> two scalars."""
    return (real > 0).float().mean(), (agent < 0).float().mean()
