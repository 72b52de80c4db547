"""Stage `finetune`: the student improves on its teacher by RL with physical rewards, held near it by imitation.

An iteration, in the order in which it happens: roll out, the expert labels, estimate advantages, update the critic and
(once that is warmed up) the actor with L_PPO + lambda L_BC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from physhmr_kit.learning import ppo
from physhmr_kit.learning.collect import Collector
from physhmr_kit.learning.distributed import normalised
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.stages.base import LabelledStage, as_policy
from physhmr_kit.stages.settings import FinetuneConfig, from_plain


class Minibatch(NamedTuple):
    """What one gradient step learns from, B samples."""

    policy_in: torch.Tensor
    """(B, width) observations of the student."""
    critic_in: torch.Tensor
    """(B, width) observations of the critic, which also reads the reference."""
    action: torch.Tensor
    """(B, 69) what was done."""
    label: torch.Tensor
    """(B, 69) what the expert would have done."""
    log_prob: torch.Tensor
    """(B,) log density of the action at that time."""
    advantage: torch.Tensor
    """(B,) normalised advantage."""
    returns: torch.Tensor
    """(B,) what the critic should have said."""


class FinetuneModule(LabelledStage):
    """PPO with a privileged critic, which is warmed up first, and an imitation term.

    Args:
        config: the settings.
        teacher: the expert that labels for the imitation term.
        policy: the distilled student; its spread is replaced by that of the settings.
    """

    name = "finetune"

    def __init__(
        self,
        config: FinetuneConfig | dict | None = None,
        teacher: Policy | None = None,
        policy: Policy | dict | None = None,
    ):
        config = from_plain(FinetuneConfig, config or {})
        student = as_policy(policy)
        if student is None:
            raise ValueError("fine-tuning starts from a student")
        student.std.fill_(config.policy.std)
        super().__init__(config, student.train(), teacher)
        torch.manual_seed(config.seed)
        self.critic = Critic((*student.groups, "reference"), config.ppo.critic_hidden)

    def configure_optimizers(self):
        settings = self.config.ppo
        groups = [
            {"params": list(self.policy.parameters()), "lr": settings.learning_rate},
            {"params": list(self.critic.parameters()), "lr": settings.critic_learning_rate},
        ]
        return torch.optim.Adam(groups, fused=True)

    def make_collector(self) -> None:
        self.collector = Collector(self.env, self.policy, self.critic, self.config.ppo.horizon, self.generator)

    @property
    def num_minibatches(self) -> int:
        return self.config.ppo.epochs * -(-self.batch_size // self.config.ppo.minibatch_size)

    @property
    def warming_up(self) -> bool:
        """Whether only the critic learns in this iteration."""
        return self.current_epoch < self.config.ppo.critic_warmup

    def minibatches(self) -> Iterator[Minibatch]:
        """Roll out, label, estimate advantages, and yield shuffled minibatches, `ppo.epochs` times."""
        settings = self.config.ppo
        first, batch = self.samples == 0, self.collect(teacher=self.label)
        if first:  # the student's normaliser came with it and stays; the critic's has seen nothing yet
            self.critic.norm.update(batch.critic_in)
        advantage = ppo.advantages(
            batch.reward * (1 - settings.gamma), batch.value, batch.next_value, batch.done,
            settings.gamma, settings.gae_lambda,
        )  # fmt: skip
        returns = (advantage + batch.value).flatten()
        self.explained_variance = ppo.explained_variance(batch.flat("value"), returns)
        samples = Minibatch(
            *(batch.flat(k) for k in ("policy_in", "critic_in", "action", "label", "log_prob")),
            normalised(advantage).flatten(), returns,
        )  # fmt: skip
        for _ in range(settings.epochs):
            order = torch.randperm(len(returns), generator=self.generator, device=returns.device)
            for rows in order.split(settings.minibatch_size):
                yield Minibatch(*(x.index_select(0, rows) for x in samples))

    def training_step(self, batch: Minibatch, batch_idx: int) -> torch.Tensor:
        settings = self.config.ppo
        losses = {"value": ppo.value_loss(self.critic(batch.critic_in), batch.returns)}
        if not self.warming_up:
            mean = self.policy.mean(batch.policy_in)
            log_prob = self.policy.log_prob(mean, batch.action)
            losses["policy"] = ppo.policy_loss(log_prob, batch.log_prob, batch.advantage, settings.clip_range)
            losses["imitation"] = settings.imitation_coef * (mean - batch.label).square().mean()
        shown = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=len(batch.returns))
        return sum(losses.values())

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """Each network by itself, so that a critic's large gradient does not shrink the actor's."""
        for network in (self.policy, self.critic):
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.config.ppo.max_grad_norm)

    def on_train_epoch_end(self) -> None:
        self.critic.norm.update(self.collector.batch.critic_in)
        super().on_train_epoch_end()

    def iteration_values(self) -> dict[str, float]:
        return {"explained_variance": float(self.explained_variance)}
