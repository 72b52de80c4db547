"""Stage `finetune`: the student improves on its teacher by RL with physical rewards, held near it by imitation.

The loop, in the order it happens: roll out, the expert labels, estimate advantages, update the critic and (once that is
warm) the actor with L_PPO + lambda L_BC, log.
"""

from __future__ import annotations

import torch

from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.learning import ppo
from physhmr_kit.learning.collect import Batch, Collector
from physhmr_kit.learning.networks import Critic, Observation, Policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import STUDENT_GROUPS, FinetuneConfig


class FinetuneModule(StageModule):
    """PPO with a privileged critic, warmed up first, and an imitation term.

    Args:
        config: the settings.
        library: the clips.
        visual: what cameras saw of them.
        expert: labels for the imitation term.
        policy: the distilled student; its spread is replaced by `config.std`.
    """

    weights_of = "finetune"

    def __init__(
        self, config: FinetuneConfig, library: MotionLibrary, visual: VisualLibrary, expert: Policy, policy: Policy
    ):
        super().__init__(config.seed)
        self.config, self.library, self.visual = config, library, visual
        torch.manual_seed(config.seed)
        self.policy = policy
        self.policy.std.fill_(config.std)
        self.critic = Critic((*STUDENT_GROUPS, "reference"), config.hidden)
        self.expert = expert.requires_grad_(False)
        simulator = make_simulator(
            config.simulator, num_envs=config.num_envs, device=config.device or None, substeps=config.substeps
        )
        self.move_to(simulator.device)
        self.env = TrackingEnv(library, simulator, config.tracking(expert.groups), visual, seed=config.seed)
        self.collector = Collector(self.env, self.policy, self.critic, config.horizon, self.generator)

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep."""
        return self.policy

    def label(self, obs: Observation) -> torch.Tensor:
        """The absolute action that asks for the target the expert would set: (N, 69)."""
        return self.env.absolute_label(self.expert(obs), self.expert.control)

    def configure_optimizers(self):
        actor = torch.optim.Adam(self.policy.parameters(), lr=self.config.learning_rate, fused=True)
        critic = torch.optim.Adam(self.critic.parameters(), lr=self.config.critic_rate, fused=True)
        return actor, critic

    def training_step(self, _, batch_idx: int) -> None:
        config = self.config
        iteration = self.samples // (config.num_envs * config.horizon)
        batch = self.collector.collect(teacher=self.label)
        if iteration == 0:  # the student's normaliser came with it and stays; the critic's has seen nothing yet
            self.critic.norm.update(batch.critic_in)
        advantage = ppo.advantages(
            batch.reward * (1 - config.gamma), batch.value, batch.next_value, batch.done, config.gamma, config.lam
        )
        returns = (advantage + batch.value).flatten()
        advantage = ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).flatten()
        losses = self._update(batch, advantage, returns, learn_actor=iteration >= config.warmup)
        self.critic.norm.update(batch.critic_in)

        self.samples += batch.reward.numel()
        values = {
            "reward": float(batch.reward.mean()),
            "failed": batch.failures / max(batch.episodes, 1),
            "steps_to_end": batch.reward.numel() / max(batch.episodes, 1),
            "explained_variance": float(ppo.explained_variance(batch.flat("value"), returns)),
            "samples": float(self.samples),
            "minutes": self.seconds / 60,
            "diverged": float(self.env.num_diverged),
            **self.env.simulator.counters(),
        }
        self.log_dict(
            values | {f"reward/{k}": v for k, v in batch.terms.items()} | {f"loss/{k}": v for k, v in losses.items()}
        )

    def _update(
        self, batch: Batch, advantage: torch.Tensor, returns: torch.Tensor, learn_actor: bool
    ) -> dict[str, float]:
        """Minibatch passes over a rollout; the critic always learns, the actor only when told to."""
        config = self.config
        actor_optimizer, critic_optimizer = self.optimizers()
        policy_in, critic_in, action, label, old_log_prob = (
            batch.flat(k) for k in ("policy_in", "critic_in", "action", "label", "log_prob")
        )
        sums, updates = {"policy": 0.0, "imitation": 0.0, "value": 0.0}, 0
        for _ in range(config.epochs):
            for rows in torch.randperm(len(action), generator=self.generator, device=action.device).split(
                config.minibatch
            ):
                value = ppo.value_loss(self.critic(critic_in[rows]), returns[rows])
                self._descend(critic_optimizer, value, self.critic)
                sums["value"] += value.detach()
                if learn_actor:
                    mean = self.policy.mean(policy_in[rows])
                    log_prob = self.policy.log_prob(mean, action[rows])
                    policy = ppo.policy_loss(log_prob, old_log_prob[rows], advantage[rows], config.clip)
                    imitation = (mean - label[rows]).square().mean()
                    self._descend(actor_optimizer, policy + config.imitation * imitation, self.policy)
                    sums["policy"] += policy.detach()
                    sums["imitation"] += imitation.detach()
                updates += 1
        return {k: float(v) / updates for k, v in sums.items()}

    def _descend(self, optimizer, loss: torch.Tensor, network: torch.nn.Module) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.config.max_grad_norm)
        optimizer.step()

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.collector.obs = self.env.load_state_dict(state["env"])
