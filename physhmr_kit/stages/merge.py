"""Stage `merge`: experts of one kind of motion each become one expert for all.

The loop, in the order it happens: the new policy acts, the expert of each clip's kind labels every state it reaches, the
policy is regressed onto the labels of this rollout and of those before (DAgger, Ross et al. 2011), average, log. Divided
like that, what PPO is told about one kind of motion is not drowned by the noise of the others (divide and conquer, Ghosh et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.collect import Collector
from physhmr_kit.learning.memory import Memory
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.motion.kinds import kinds_of_motion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import MergeConfig


class MergeModule(StageModule):
    """On-policy distillation of many experts into one, on a MotionLibrary.

    Args:
        config: the settings.
        library: the clips; loaded from `config.clips` by `fit`.
        experts: one for each kind of motion, in the order of `kinds_of_motion`; all read the same groups and have the same control.
        policy: to begin from; fresh when omitted.
    """

    weights_of = "expert"

    def __init__(
        self, config: MergeConfig, library: MotionLibrary, experts: Sequence[Policy], policy: Policy | None = None
    ):
        super().__init__(config.seed)
        self.config, self.library = config, library
        torch.manual_seed(config.seed)
        groups, control = experts[0].groups, experts[0].control
        self.policy = policy or Policy(groups, config.hidden, config.std, control)
        self.policy.std.fill_(config.std)
        self.average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True)
        self.average.requires_grad_(False)
        self.experts = nn.ModuleList(experts).requires_grad_(False)
        simulator = make_simulator(
            config.simulator, num_envs=config.num_envs, device=config.device or None, substeps=config.substeps
        )
        self.move_to(simulator.device)
        self.kinds = kinds_of_motion(library, len(experts)).to(simulator.device)
        """(C,) which expert knows each clip."""
        self.env = TrackingEnv(library, simulator, config.tracking(groups, control), seed=config.seed)
        self.collector = Collector(self.env, self.policy, None, config.horizon, self.generator, config.matmul)
        self.memory = Memory(config.memory, self.policy.norm.mean.numel(), simulator.device)

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep: the running mean of the weights."""
        return self.average.module

    def label(self, obs: Observation) -> torch.Tensor:
        """What the expert of each environment's clip would do: (N, 69)."""
        kind = self.kinds[self.env.clip_ids]
        label = torch.empty(self.env.num_envs, *self.env.single_action_space.shape, device=kind.device)
        for number, expert in enumerate(self.experts):
            rows = (kind == number).nonzero().squeeze(1)
            label[rows] = expert({g: obs[g][rows] for g in expert.groups})
        return label

    def configure_optimizers(self):
        return torch.optim.Adam(self.policy.parameters(), self.config.learning_rate, fused=True)

    def training_step(self, _, batch_idx: int) -> None:
        batch = self.collector.collect(teacher=self.label)
        self.memory.add(batch.flat("policy_in").half(), batch.flat("label").half())
        self.policy.norm.update(batch.policy_in)
        loss = self._imitate()

        self.samples += batch.reward.numel()
        values = {
            "loss/imitation": loss,
            "reward": float(batch.reward.mean()),
            "failed": batch.failures / max(batch.episodes, 1),
            "steps_to_end": batch.reward.numel() / max(batch.episodes, 1),
            "hardest": float(self.env.sampler.failure.max()),
            "samples": float(self.samples),
            "minutes": self.seconds / 60,
            "diverged": float(self.env.num_diverged),
            **self.env.simulator.counters(),
        }
        self.log_dict(values | {f"reward/{k}": v for k, v in batch.terms.items()})

    def _imitate(self) -> float:
        """Regress the policy's mean action onto the labels: mean squared error over the 69 actions."""
        config, optimizer = self.config, self.optimizers()
        done = self.samples / (config.iterations * config.num_envs * config.horizon)
        for group in optimizer.param_groups:  # falls linearly to a tenth over the run
            group["lr"] = config.learning_rate * max(0.1, 1 - 0.9 * done)
        total = 0.0
        for _ in range(config.updates):
            seen, label = self.memory.draw(config.minibatch, self.generator)
            with matmul_precision(config.matmul):
                loss = (self.policy.mean(seen) - label).square().mean()
                optimizer.zero_grad()
                self.manual_backward(loss)
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
            optimizer.step()
            self.average.update_parameters(self.policy)
            total += loss.detach()
        return float(total) / config.updates

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict(), "memory": self.memory.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.collector.obs = self.env.load_state_dict(state["env"])
        self.memory.load_state_dict(state["memory"])
