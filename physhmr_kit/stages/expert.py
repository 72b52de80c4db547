"""Stage `expert`: one policy learns to track every clip by PPO, observing the reference.

With `noise.versions` the policy observes noisy versions of the reference, while rewards and critic use the clip itself.
"""

from __future__ import annotations

from typing import cast

import torch

from physhmr_kit.env.settings import ESTIMATES, EXPERT_GROUPS
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.collect import Batch
from physhmr_kit.learning.discriminator import Discriminator
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.learning.style import StyleHistory, StylePrior
from physhmr_kit.stages.base import as_policy
from physhmr_kit.stages.ppo_stage import PPOStage
from physhmr_kit.stages.settings import ExpertConfig, from_plain


class ExpertModule(PPOStage):
    """PPO on the clips of a `MotionDataModule`.

    Args:
        config: the settings.
        policy: initial policy; a new one when omitted.
    """

    name = "expert"
    config: ExpertConfig

    def __init__(self, config: ExpertConfig | dict | None = None, policy: Policy | dict | None = None):
        settings = from_plain(ExpertConfig, config or {})
        policy = _initial_policy(settings, as_policy(policy))
        hidden = settings.ppo.critic_hidden or policy.hidden
        if settings.noise.versions > 1:
            critic = Critic((*policy.groups, "reference"), hidden)
        else:
            critic = Critic(policy.groups, hidden)
            critic.norm = policy.norm  # both have the same observations
        super().__init__(settings, policy, critic)

    def update_normalisers(self, batch: Batch) -> None:
        """Update the normalisers of actor and critic with the observations of a rollout."""
        self.policy.norm.update(batch.policy_in)
        if self.critic.norm is not self.policy.norm:
            super().update_normalisers(batch)


class StyledExpertModule(ExpertModule):
    """The expert with an adversarial motion prior beside the tracking reward (AMP, Peng et al. 2021).

    The discriminator has its own optimiser and is updated once per iteration, after the policy.
    """

    def __init__(self, config: ExpertConfig | dict | None = None, policy: Policy | dict | None = None):
        super().__init__(config, policy)
        prior = self.config.prior
        self.discriminator = Discriminator(prior.window, prior.discriminator_hidden).requires_grad_(False)

    def make_collector(self) -> None:
        prior = self.config.prior
        history = StyleHistory(self.env, prior.window, self.config.ppo.horizon)
        self._env = cast(TrackingEnv, history)  # it delegates everything else to the environment
        self.prior = StylePrior(history, self.discriminator, prior.weight, prior.discriminator_learning_rate)
        super().make_collector()

    def reward(self, batch: Batch) -> torch.Tensor:
        return self.prior.mix(batch.reward)

    def iteration_values(self) -> dict[str, float]:
        style = self.prior.update(self.generator)
        return super().iteration_values() | {f"style/{k}": v for k, v in style.items()}

    def extra_state(self) -> dict:
        return super().extra_state() | {"prior": self.prior.extra_state()}

    def load_extra_state(self, state: dict) -> None:
        super().load_extra_state(state)
        self.prior.load_extra_state(state["prior"])


def expert_module(config: ExpertConfig, policy: Policy | None = None) -> ExpertModule:
    """The expert of these settings, with a motion prior if its weight is not 0."""
    return (StyledExpertModule if config.prior.weight else ExpertModule)(config, policy)


def _initial_policy(config: ExpertConfig, policy: Policy | None) -> Policy:
    """The given policy or a new one, with the standard deviation and the control of the settings."""
    settings = config.policy
    if policy is None:
        torch.manual_seed(config.seed)
        groups = EXPERT_GROUPS if settings.preview else EXPERT_GROUPS[:2]
        policy = Policy(groups, settings.hidden, settings.std, settings.control or "balanced")
    policy.control = settings.control or policy.control
    policy.std.fill_(settings.std)
    if config.noise.versions > 1:
        policy = policy.reading([ESTIMATES.get(group, group) for group in policy.groups])
    return policy.train()
