"""Stage `finetune`: the student improves on its teacher by RL with physical rewards, held near it by imitation.

An iteration is that of `ppo_stage.PPOStage`, with an expert that labels every state visited: L_PPO + lambda L_BC, once the critic,
which also reads the reference, is warmed up.
"""

from __future__ import annotations

import torch

from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.learning.collect import Batch
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.stages.base import LabelledStage, as_policy
from physhmr_kit.stages.ppo_stage import PPOStage
from physhmr_kit.stages.settings import FinetuneConfig, from_plain


class FinetuneModule(LabelledStage, PPOStage):
    """PPO with a privileged critic, which is warmed up first, and an imitation term. The student's normaliser came with it and stays.

    Args:
        config: the settings.
        teacher: the expert that labels for the imitation term; needed unless `ppo.imitation_coef` is 0.
        policy: the distilled student; its spread is replaced by that of the settings.
    """

    name = "finetune"
    config: FinetuneConfig

    def __init__(
        self,
        config: FinetuneConfig | dict | None = None,
        teacher: Policy | None = None,
        policy: Policy | dict | None = None,
    ):
        settings = from_plain(FinetuneConfig, config or {})
        student = as_policy(policy)
        if student is None:
            raise ValueError("fine-tuning starts from a student")
        student.std.fill_(settings.policy.std)
        torch.manual_seed(settings.seed)
        critic = Critic((*student.groups, "reference"), settings.ppo.critic_hidden or student.hidden)
        super().__init__(settings, student.train(), critic)
        self.imitation_coef = settings.ppo.imitation_coef
        self.teach(teacher)

    @property
    def training_episode(self) -> TrackingConfig:
        return self.labelled_episode(self.critic.groups) if self.imitation_coef else super().training_episode

    def rollout(self) -> Batch:
        return self.collect(teacher=self.label if self.imitation_coef else None)
