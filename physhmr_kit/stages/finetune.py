"""Stage `finetune`: RL fine-tuning of the student with physical rewards and an imitation loss, L_PPO + lambda L_BC.

An iteration is that of `ppo_stage.PPOStage`, with an expert that labels every visited state. The critic also observes the
reference, and is trained alone in the first iterations.
"""

from __future__ import annotations

import torch

from physhmr_kit.learning.collect import Batch
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.stages.base import LabelledStage, as_policy
from physhmr_kit.stages.ppo_stage import PPOStage
from physhmr_kit.stages.settings import FinetuneConfig, from_plain


class FinetuneModule(LabelledStage, PPOStage):
    """PPO with a privileged critic and an imitation loss. The student's normaliser is kept as it is.

    Args:
        config: the settings.
        teacher: the expert that labels for the imitation loss; needed unless `ppo.imitation_coef` is 0.
        policy: the distilled student; its standard deviation is replaced by that of the settings.
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
    def training_groups(self) -> tuple[str, ...]:
        groups = super().training_groups
        return (*groups, *self.teacher.groups) if self.imitation_coef else groups

    def rollout(self) -> Batch:
        return self.collect(teacher=self.label if self.imitation_coef else None)
