"""Proximal policy optimisation (PPO), the base of expert and fine-tuning, with a critic that may observe more than the policy.

An iteration, in order: roll out (and label, if an expert is imitated as well), estimate advantages, update actor and critic
in minibatches, adapt the learning rate to the KL divergence, update the normalisers and the moving average, log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_avg_fn

from physhmr_kit.learning import ppo
from physhmr_kit.learning.collect import Batch, Collector
from physhmr_kit.learning.distributed import mean_over_processes, normalised
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.stages.base import PolicyStage

_CONSTANT_KL = 0.4  # share of a run before the desired KL divergence starts to fall
_LEARNING_RATES = (1e-5, 2e-3)  # limits of the actor's learning rate


class Minibatch(NamedTuple):
    """The data of one gradient step, B samples."""

    obs: torch.Tensor
    """(B, width) normalised observations of the actor."""
    critic_obs: torch.Tensor
    """(B, width) normalised observations of the critic."""
    action: torch.Tensor
    """(B, 69) the sampled action."""
    mean: torch.Tensor
    """(B, 69) the mean of the policy that acted."""
    label: torch.Tensor
    """(B, 69) the expert's action; zeros without an expert."""
    log_prob: torch.Tensor
    """(B,) log density of the action under that policy."""
    advantage: torch.Tensor
    """(B,) normalised advantage."""
    returns: torch.Tensor
    """(B,) target of the critic."""


class IterationAverage(WeightAveraging):
    """Exponential moving average of weights and buffers, updated once per iteration."""

    def __init__(self, decay: float):
        super().__init__(avg_fn=get_ema_avg_fn(decay))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None


class PPOStage(PolicyStage):
    """PPO on the clips of a `MotionDataModule`.

    Validation uses the moving average of the weights, and so does the module after training.

    Args:
        config: settings with a `ppo` group.
        policy: the network to train.
        critic: its value function.
    """

    imitation_coef = 0.0
    """Weight of the imitation loss, the mean squared distance from the expert's action."""

    def __init__(self, config, policy: Policy, critic: Critic):
        super().__init__(config, policy)
        self.critic = critic

    def configure_callbacks(self):
        return [IterationAverage(self.config.ppo.ema_decay)]

    def configure_optimizers(self):
        settings = self.config.ppo
        groups = [
            {"params": list(self.policy.parameters()), "lr": settings.learning_rate},
            {"params": list(self.critic.parameters()), "lr": settings.critic_learning_rate},
        ]
        return torch.optim.Adam(groups, fused=True)

    @property
    def training_groups(self) -> tuple[str, ...]:
        return (*self.policy.groups, *self.critic.groups)

    def make_collector(self) -> None:
        settings = self.config.ppo
        self.collector = Collector(
            self.env, self.policy, self.critic, settings.horizon, self.generator, settings.matmul_precision
        )

    # ---- one iteration

    @property
    def num_minibatches(self) -> int:
        return self.config.ppo.epochs * self.minibatches_in_a_pass

    @property
    def minibatches_in_a_pass(self) -> int:
        """Gradient steps per pass over a rollout."""
        return -(-self.batch_size // self.config.ppo.minibatch_size)

    @property
    def warming_up(self) -> bool:
        """Whether only the critic learns in this iteration."""
        return self.current_epoch < self.config.ppo.critic_warmup

    def rollout(self) -> Batch:
        """The rollout of an iteration."""
        return self.collect()

    def reward(self, batch: Batch) -> torch.Tensor:
        """The reward (T, N) to learn from."""
        return batch.reward

    def minibatches(self) -> Iterator[Minibatch]:
        """Roll out, estimate advantages, and yield shuffled minibatches, `ppo.epochs` times."""
        settings = self.config.ppo
        if self.samples == 0:  # look at one rollout to initialise the normalisers
            self.update_normalisers(self.collector.collect())
        batch = self.rollout()
        # rewards are scaled by 1 - gamma, so that values lie in 0..1 for any discount
        advantage = ppo.advantages(
            self.reward(batch) * (1 - settings.gamma), batch.value, batch.next_value, batch.done,
            settings.gamma, settings.gae_lambda,
        )  # fmt: skip
        returns = (advantage + batch.value).flatten()
        self.explained_variance = ppo.explained_variance(batch.flat("value"), returns)
        samples = Minibatch(
            obs=self.policy.norm(batch.flat("policy_in")),
            critic_obs=self.critic.norm(batch.flat("critic_in")),
            action=batch.flat("action"),
            mean=batch.flat("mean"),
            label=batch.flat("label"),
            log_prob=batch.flat("log_prob"),
            advantage=normalised(advantage).flatten(),
            returns=returns,
        )
        for _ in range(settings.epochs):
            order = torch.randperm(len(returns), generator=self.generator, device=returns.device)
            for rows in order.split(settings.minibatch_size):
                yield Minibatch(*(x.index_select(0, rows) for x in samples))

    def training_step(self, batch: Minibatch, batch_idx: int) -> torch.Tensor:
        settings = self.config.ppo
        losses = {"value": ppo.value_loss(self.critic.net(batch.critic_obs).squeeze(-1), batch.returns)}
        self._kl = torch.zeros((), device=self.device)
        if not self.warming_up:
            mean = self.policy.net(batch.obs)
            log_prob = self.policy.log_prob(mean, batch.action)
            losses["policy"] = ppo.policy_loss(log_prob, batch.log_prob, batch.advantage, settings.clip_range)
            losses["bounds"] = settings.bounds_coef * ppo.bounds_loss(mean, 2.0)
            if self.imitation_coef:
                losses["imitation"] = self.imitation_coef * (mean - batch.label).square().mean()
            self._kl = ppo.gaussian_kl(mean.detach(), batch.mean, self.policy.std)
        shown = {f"loss/{name}": loss.detach() for name, loss in losses.items()} | {"loss/kl": self._kl}
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=len(batch.returns))
        return sum(losses.values(), torch.zeros((), device=self.device))

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """Clip each network separately, so that a large gradient of the critic does not shrink the actor's."""
        for network in (self.policy, self.critic):
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.config.ppo.max_grad_norm)

    def optimizer_step(self, *args, **kwargs) -> None:
        """Run forward, backward and update with the matmul precision of the settings."""
        with matmul_precision(self.config.ppo.matmul_precision):
            super().optimizer_step(*args, **kwargs)

    def on_train_batch_end(self, outputs, batch, batch_idx: int) -> None:
        if (batch_idx + 1) % self.minibatches_in_a_pass == 0:
            self.adapt_learning_rate(float(mean_over_processes(self._kl)))
        if batch_idx + 1 == self.num_minibatches:  # before the moving average is taken
            self.update_normalisers(self.collector.batch)

    def adapt_learning_rate(self, kl: float) -> None:
        """Adapt the actor's learning rate to the KL divergence of the last update (Schulman et al. 2017, as in RSL-RL)."""
        wanted, actor = self.desired_kl, self.trainer.optimizers[0].param_groups[0]
        if wanted is None or self.warming_up:
            return
        if kl > 2 * wanted:
            actor["lr"] = max(actor["lr"] / 1.5, _LEARNING_RATES[0])
        elif kl < wanted / 2:
            actor["lr"] = min(actor["lr"] * 1.5, _LEARNING_RATES[1])

    @property
    def desired_kl(self) -> float | None:
        """Desired KL divergence of an update in this iteration; None for a constant learning rate."""
        settings = self.config.ppo
        if settings.desired_kl is None or settings.final_desired_kl is None:
            return settings.desired_kl
        done = self.current_epoch / self.config.iterations
        falling = min(max((done - _CONSTANT_KL) / (1 - _CONSTANT_KL), 0.0), 1.0)
        return settings.desired_kl + (settings.final_desired_kl - settings.desired_kl) * falling

    def update_normalisers(self, batch: Batch) -> None:
        """Update the critic's normaliser with the observations of a rollout."""
        self.critic.norm.update(batch.critic_in)

    def iteration_values(self) -> dict[str, float]:
        return {
            "hardest": float(self.env.sampler.failure.max()),
            "explained_variance": float(self.explained_variance),
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
        }
