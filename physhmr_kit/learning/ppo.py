"""Proximal policy optimisation: advantage and losses as pure functions (Schulman et al. 2016, 2017)."""

from __future__ import annotations

import torch


def advantages(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    done: torch.Tensor,
    gamma: float,
    lam: float,
) -> torch.Tensor:
    """Generalised advantage estimation over T steps of N environments.

    Args:
        reward, value: (T, N).
        next_value: (T, N) value of the next state; of the final observation where the episode was truncated, 0 where it
            terminated.
        done: (T, N) bool, the episode ended with this step, either way.
        gamma, lam: discount and lambda of GAE.

    Returns:
        (T, N); the targets of the critic are this plus `value`.
    """
    delta = reward + gamma * next_value - value
    keep = gamma * lam * (~done).float()
    result = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + keep[t] * running
        result[t] = running
    return result


def policy_loss(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor, clip: float
) -> torch.Tensor:
    """Negative clipped surrogate objective: (B,) each -> scalar."""
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def value_loss(value: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Half the mean squared error of the critic: (B,) each -> scalar."""
    return 0.5 * (value - returns).square().mean()


def bounds_loss(mean: torch.Tensor, bound: float = 1.0) -> torch.Tensor:
    """Mean squared excess of mean actions beyond +-bound (rl-games): (B, 69) -> scalar."""
    return ((mean.abs() - bound).clamp(min=0)).square().sum(-1).mean()


def gaussian_kl(mean: torch.Tensor, old_mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """KL divergence of two Gaussians with equal standard deviation, averaged over the batch: (B, 69) each -> scalar."""
    return ((mean - old_mean) / std).square().sum(-1).mean() / 2


def explained_variance(value: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """1 - Var(returns - value) / Var(returns): 1 for a perfect critic, 0 for a constant."""
    return 1 - (returns - value).var() / returns.var().clamp(min=1e-8)
