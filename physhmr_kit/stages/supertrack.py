"""Stage `supertrack`: an expert that learns to track clips through a learned model of the physics (SuperTrack).

The loop, in the order it happens: act in the simulator, learn the model from what happened, learn the policy inside the
model, average, log. There is no reward to be weighed and no advantage to be guessed: the distance from the reference is
differentiated through model and policy. The demo motions need a fifth of the samples of PPO (stage `expert`); on
dozens of captured ones it has not been made to work yet (docs/expert.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.imagine import Imagination
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.transitions import TransitionMemory
from physhmr_kit.learning.world_model import WorldModel
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import SuperTrackConfig


class SuperTrackModule(StageModule):
    """A policy through a world model, on a MotionLibrary.

    Args:
        config: the settings.
        library: the clips; loaded from `config.clips` by `fit`.
        policy: to begin from; fresh when omitted.
    """

    weights_of = "expert"

    def __init__(self, config: SuperTrackConfig, library: MotionLibrary, policy: Policy | None = None):
        super().__init__(config.seed)
        self.config, self.library = config, library
        torch.manual_seed(config.seed)
        groups = config.tracking().groups if policy is None else policy.groups
        self.policy = policy or Policy(groups, config.hidden, config.std, "residual")
        self.average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True)
        self.average.requires_grad_(False)
        simulator = make_simulator(
            config.simulator, num_envs=config.num_envs, device=config.device or None, substeps=config.substeps
        )
        self.model = WorldModel(simulator.humanoid.offsets, config.model_hidden)
        self.move_to(simulator.device)
        self.env = TrackingEnv(
            library, simulator, replace(config.tracking(), groups=groups, control=self.policy.control), seed=config.seed
        )
        targets = library_targets(library, simulator.humanoid).to(simulator.device)
        costs = config.anchored, config.effort, config.energy
        self.imagination = Imagination(self.env.library, targets, simulator.humanoid, *costs)
        self.memory = TransitionMemory(config.memory, config.horizon, config.num_envs, simulator.device)
        self.obs: dict[str, torch.Tensor] | None = None

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep: the running mean of the weights."""
        return self.average.module

    def configure_optimizers(self):
        config = self.config
        model = torch.optim.AdamW(self.model.parameters(), config.model_rate, weight_decay=1e-4, fused=True)
        return model, torch.optim.Adam(self.policy.parameters(), config.learning_rate, fused=True)

    def training_step(self, _, batch_idx: int) -> None:
        config = self.config
        if self.obs is None:
            self.obs, _ = self.env.reset()
        rollouts = self.samples // (config.num_envs * config.horizon)
        self._anneal(rollouts / config.iterations)

        self.obs, seen, values = self.memory.collect(self.env, self.policy, self.obs, self.generator, config.matmul)
        if rollouts == 0:
            single = self.memory.whole(config.num_envs * config.horizon, 1, self.generator)
            self.model.fit_linear(single.states[0], single.targets[0], single.states[1])
        if rollouts < config.settle:  # later the networks rely on a normaliser at rest
            self.policy.norm.update(seen)
        window = 2 if rollouts < config.warmup else config.window
        values["drift_mm"] = 1000 * float(self.model.drift(*self._exam(256, window))[-1])
        with matmul_precision(config.matmul):
            values["loss/model"] = self._learn_model(window)
            if rollouts >= config.warmup:
                values["loss/policy"] = self._learn_policy()
        self.samples += config.num_envs * config.horizon
        self._log(values)

    def _learn_model(self, window: int) -> float:
        """Updates of the world model on windows it unrolls on its own."""
        config, optimizer = self.config, self.optimizers()[0]
        total = 0.0
        for _ in range(config.model_updates):
            loss = self.model.loss(*self._exam(config.minibatch, window))
            optimizer.zero_grad()
            self.manual_backward(loss)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
            optimizer.step()
            total += loss.detach()
        return float(total) / config.model_updates

    def _exam(self, number: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where windows begin, what was asked for, and what came of it."""
        happened = self.memory.whole(number, length, self.generator)
        return happened.states[0], happened.targets, happened.states[1:]

    def _learn_policy(self) -> float:
        """Updates of the policy along what happened lately, through `lookahead` steps of the model's derivatives."""
        config, optimizer = self.config, self.optimizers()[1]
        total = 0.0
        self.model.requires_grad_(False)
        for _ in range(config.policy_updates):
            happened = self.memory.latest(config.minibatch, config.lookahead, config.latest, self.generator)
            loss = self.imagination.follow(self.policy, self.model, happened)
            optimizer.zero_grad()
            self.manual_backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
            if norm.isfinite():  # a motion that blew up in imagination teaches nothing
                optimizer.step()
            self.average.update_parameters(self.policy)
            total += loss.detach()
        self.model.requires_grad_(True)
        return float(total) / config.policy_updates

    def _anneal(self, done: float) -> None:
        """Both learning rates fall linearly to a tenth over the run."""
        share = max(0.1, 1 - 0.9 * done)
        for optimizer, rate in zip(self.optimizers(), (self.config.model_rate, self.config.learning_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * share

    def _log(self, values: dict[str, float]) -> None:
        self.log_dict(
            {
                **values,
                "hardest": float(self.env.sampler.failure.max()),
                "learning_rate": self.optimizers()[1].param_groups[0]["lr"],
                "samples": float(self.samples),
                "minutes": self.seconds / 60,
                "diverged": float(self.env.num_diverged),
                **self.env.simulator.counters(),
            }
        )

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict(), "memory": self.memory.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.obs = self.env.load_state_dict(state["env"])
        self.memory.load_state_dict(state["memory"])
