"""Stage `distill`: the student learns the expert's skill from vision alone, on the states the student visits.

The loop, in the order it happens: the student acts, the expert labels each state it reaches, the student is regressed
onto the labels of this rollout and of the last few (DAgger, Ross et al. 2011), log.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.learning.collect import Collector
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import EXPERT_GROUPS, STUDENT_GROUPS, DistillConfig
from physhmr_kit.utils.errors import KitError


class LabelMemory:
    """Observations and labels of the last rollouts, in buffers that are allocated once and written round and round.

    Args:
        rollouts: how many are kept. size: samples in each.
        policy: the student, for the width of its observation.
    """

    def __init__(self, rollouts: int, size: int, policy: Policy, device: torch.device):
        if rollouts < 1:
            raise KitError(f"memory is {rollouts}; at least one rollout must be kept")
        self.seen = torch.zeros(rollouts, size, policy.norm.mean.numel(), device=device)
        self.label = torch.zeros(rollouts, size, NUM_DOFS, device=device)
        self.count = 0

    def __len__(self) -> int:
        """Rollouts held."""
        return min(self.count, len(self.seen))

    def add(self, seen: torch.Tensor, label: torch.Tensor) -> None:
        """Write a rollout (size, width) and (size, 69) over the oldest one."""
        place = self.count % len(self.seen)
        self.seen[place], self.label[place] = seen, label
        self.count += 1

    def draw(self, number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples of all rollouts held, with replacement: (number, width) and (number, 69)."""
        held = len(self) * self.seen.shape[1]
        rows = torch.randint(held, (number,), generator=generator, device=self.seen.device)
        return self.seen.flatten(0, 1).index_select(0, rows), self.label.flatten(0, 1).index_select(0, rows)

    def state_dict(self) -> dict:
        """What is held."""
        return {"seen": self.seen[: len(self)].clone(), "label": self.label[: len(self)].clone(), "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        """Take up a `state_dict`."""
        if state["seen"].shape[1:] != self.seen.shape[1:] or len(state["seen"]) != min(state["count"], len(self.seen)):
            raise KitError("the run's label memory has another size; resume with the same memory, num_envs and horizon")
        self.count = state["count"]
        self.seen[: len(self)], self.label[: len(self)] = state["seen"], state["label"]


class DistillModule(StageModule):
    """On-policy distillation.

    Args:
        config: the settings.
        library: the clips.
        visual: what cameras saw of them.
        expert: labels; a residual policy that reads the reference.
        policy: student to begin from; fresh when omitted.
    """

    weights_of = "distill"

    def __init__(
        self,
        config: DistillConfig,
        library: MotionLibrary,
        visual: VisualLibrary,
        expert: Policy,
        policy: Policy | None = None,
    ):
        super().__init__(config.seed)
        self.config, self.library, self.visual = config, library, visual
        torch.manual_seed(config.seed)
        self.policy = policy or Policy(STUDENT_GROUPS, config.hidden, config.std, "absolute")
        self.policy.std.fill_(config.std)
        self.expert = expert.requires_grad_(False)
        assert set(expert.groups) <= set(EXPERT_GROUPS)
        simulator = make_simulator(
            config.simulator, num_envs=config.num_envs, device=config.device or None, substeps=config.substeps
        )
        self.move_to(simulator.device)
        self.env = TrackingEnv(library, simulator, config.tracking(expert.groups), visual, seed=config.seed)
        self.collector = Collector(self.env, self.policy, None, config.horizon, self.generator)
        self.memory = LabelMemory(config.memory, config.num_envs * config.horizon, self.policy, simulator.device)

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep."""
        return self.policy

    def label(self, obs: Observation) -> torch.Tensor:
        """The absolute action that asks for the target the expert would set: (N, 69)."""
        return self.env.absolute_label(self.expert(obs), self.expert.control)

    def configure_optimizers(self):
        return torch.optim.Adam(self.policy.parameters(), lr=self.config.learning_rate, fused=True)

    def training_step(self, _, batch_idx: int) -> None:
        batch = self.collector.collect(teacher=self.label)
        self.memory.add(batch.flat("policy_in"), batch.flat("label"))
        self.policy.norm.update(batch.policy_in)
        loss = self._update()

        self.samples += batch.reward.numel()
        values = {
            "loss/imitation": loss,
            "reward": float(batch.reward.mean()),
            "failed": batch.failures / max(batch.episodes, 1),
            "steps_to_end": batch.reward.numel() / max(batch.episodes, 1),
            "samples": float(self.samples),
            "minutes": self.seconds / 60,
            "diverged": float(self.env.num_diverged),
            **self.env.simulator.counters(),
        }
        self.log_dict(values | {f"reward/{k}": v for k, v in batch.terms.items()})

    def _update(self) -> float:
        """Regress the student's mean action onto the labels: L_BC of the paper, mean squared error over the 69."""
        config, optimizer = self.config, self.optimizers()
        self._anneal(optimizer)
        total = 0.0
        for _ in range(config.updates):
            seen, label = self.memory.draw(config.minibatch, self.generator)
            loss = (self.policy.mean(seen) - label).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
            optimizer.step()
            total += loss.detach()
        return float(total) / config.updates

    def _anneal(self, optimizer) -> None:
        """The learning rate falls linearly to a tenth over the run."""
        done = self.samples / (self.config.iterations * self.config.num_envs * self.config.horizon)
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(0.1, 1 - 0.9 * done)

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict(), "memory": self.memory.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.collector.obs = self.env.load_state_dict(state["env"])
        self.memory.load_state_dict(state["memory"])
