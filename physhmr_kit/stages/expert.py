"""Stage `expert`: one policy learns to track every clip by PPO, with the reference in view.

The loop, in the order it happens: roll out, estimate advantages, update actor and critic, average, log.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from physhmr_kit.env.mirror import action_map, mirrored, observation_map
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning import ppo
from physhmr_kit.learning.collect import Batch, Collector
from physhmr_kit.learning.networks import Critic, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.style import StylePrior
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import ExpertConfig
from physhmr_kit.utils.errors import KitError


class ExpertModule(StageModule):
    """PPO on a MotionLibrary.

    Args:
        config: the settings.
        library: the clips; loaded from `config.clips` by `fit`.
        policy: to begin from; fresh when omitted.
    """

    weights_of = "expert"

    def __init__(self, config: ExpertConfig, library: MotionLibrary, policy: Policy | None = None):
        super().__init__(config.seed)
        self.config, self.library = config, library
        torch.manual_seed(config.seed)
        groups = config.tracking().groups if policy is None else policy.groups
        control = config.control or ("balanced" if policy is None else policy.control)
        self.policy = policy or Policy(groups, config.hidden, config.std, control)
        self.policy.control = control
        self.policy.std.fill_(config.std)
        self.average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True)
        self.average.requires_grad_(False)
        self.critic = Critic(groups, config.hidden)
        self.critic.norm = self.policy.norm  # both read the same numbers
        self.learning_rate = config.learning_rate
        simulator = make_simulator(
            config.simulator, num_envs=config.num_envs, device=config.device or None, substeps=config.substeps
        )
        self.move_to(simulator.device)
        self.env = TrackingEnv(
            library, simulator, replace(config.tracking(), groups=groups, control=control), seed=config.seed
        )
        self.collector = Collector(
            self.env, self.policy, self.critic, config.horizon, self.generator, config.matmul, config.persistence
        )
        self.prior: StylePrior | None = None
        if config.style:
            looks = (config.style_window, config.horizon, config.style_hidden, config.style_rate)
            self.prior = StylePrior(self.env, config.style, *looks)
            self.collector.watch = self.prior.history

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep: the running mean of the weights."""
        return self.average.module

    def configure_optimizers(self):
        groups = [
            {"params": self.policy.parameters(), "lr": self.config.learning_rate},
            {"params": self.critic.parameters(), "lr": self.config.critic_rate},
        ]
        return torch.optim.Adam(groups, fused=True)

    def training_step(self, _, batch_idx: int) -> None:
        config = self.config
        if self.samples == 0:
            self._warm_normaliser()

        self.env.config = replace(self.env.config, termination_distance=config.allowed_distance(self.samples))
        batch = self.collector.collect()
        reward = batch.reward if self.prior is None else self.prior.mix(batch.reward)
        # rewards are scaled by 1 - gamma, so that values lie in 0..1 whatever the discount
        advantage = ppo.advantages(
            reward * (1 - config.gamma), batch.value, batch.next_value, batch.done, config.gamma, config.lam
        )
        returns = (advantage + batch.value).flatten()
        advantage = ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).flatten()
        with matmul_precision(config.matmul):
            losses = self._update(batch, advantage, returns)
        self._look_at(batch)
        self.average.update_parameters(self.policy)
        style = {} if self.prior is None else self.prior.update(self.generator)

        self.samples += batch.reward.numel()
        self._log(batch, returns, losses, style)

    def _update(self, batch: Batch, advantage: torch.Tensor, returns: torch.Tensor) -> dict[str, float]:
        """Minibatch passes over a rollout; the learning rate follows the KL divergence."""
        config, optimizer = self.config, self.optimizers()
        action, old_mean, old_log_prob = (batch.flat(k) for k in ("action", "mean", "log_prob"))
        seen = self.policy.norm(batch.flat("policy_in"))  # once for all passes, of actor and critic
        sums: dict[str, torch.Tensor] = {}
        updates = 0
        for _ in range(config.epochs):
            for rows in torch.randperm(len(action), generator=self.generator, device=action.device).split(
                config.minibatch
            ):
                part = seen.index_select(0, rows)
                mean = self.policy.net(part)
                log_prob = self.policy.log_prob(mean, action[rows])
                loss = {
                    "policy": ppo.policy_loss(log_prob, old_log_prob[rows], advantage[rows], config.clip),
                    "value": ppo.value_loss(self.critic.net(part).squeeze(-1), returns[rows]),
                    "bounds": config.bounds * ppo.bounds_loss(mean, 2.0),
                }
                if config.symmetry:
                    loss["symmetry"] = config.symmetry * self._asymmetry(part, mean)
                optimizer.zero_grad()
                self.manual_backward(sum(loss.values()))
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
                torch.nn.utils.clip_grad_norm_(self.critic.parameters(), config.max_grad_norm)
                optimizer.step()
                loss["kl"] = ppo.gaussian_kl(mean.detach(), old_mean[rows], self.policy.std)
                for k, v in loss.items():
                    sums[k] = sums.get(k, 0.0) + v.detach()
                updates += 1
            if config.kl:
                self._follow_kl(float(loss["kl"]))
        return {k: float(v) / updates for k, v in sums.items()}

    def _follow_kl(self, kl: float) -> None:
        """Adapt the learning rate to the size of the last update (Schulman et al. 2017, as in RSL-RL)."""
        wanted = self.config.wanted_kl(self.samples)
        if kl > 2 * wanted:
            self.learning_rate = max(self.learning_rate / 1.5, 1e-5)
        elif kl < wanted / 2:
            self.learning_rate = min(self.learning_rate * 1.5, 2e-3)
        self.optimizers().param_groups[0]["lr"] = self.learning_rate

    @torch.no_grad()
    def _warm_normaliser(self) -> None:
        """Look at one rollout of the fresh policy before learning from any."""
        self._look_at(self.collector.collect())

    def _look_at(self, batch: Batch) -> None:
        """Bring the normaliser up to date; under symmetry it must not tell left from right either."""
        self.policy.norm.update(batch.policy_in)
        if self.config.symmetry:
            self.policy.norm.update(mirrored(batch.policy_in, *observation_map(self.policy.groups)))

    def _asymmetry(self, seen: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """How far the policy's answer to the mirror image is from the mirror image of its answer, on every second sample:
        mean squared difference (Yu et al. 2018). `seen` is normalised, `mean` (B, 69) the answers to it."""
        image = self.policy.net(mirrored(seen[::2], *observation_map(self.policy.groups)))
        return (mirrored(image, *action_map()) - mean[::2]).square().mean()

    def _log(self, batch: Batch, returns: torch.Tensor, losses: dict[str, float], style: dict[str, float]) -> None:
        failure = self.env.sampler.failure
        values = {
            "reward": float(batch.reward.mean()),
            "failed": batch.failures / max(batch.episodes, 1),
            "steps_to_end": batch.reward.numel() / max(batch.episodes, 1),
            "hardest": float(failure.max()),
            "explained_variance": float(ppo.explained_variance(batch.flat("value"), returns)),
            "learning_rate": self.learning_rate,
            "samples": float(self.samples),
            "minutes": self.seconds / 60,
            "diverged": float(self.env.num_diverged),
            **self.env.simulator.counters(),
        }
        self.log_dict(
            values
            | {f"reward/{k}": v for k, v in batch.terms.items()}
            | {f"loss/{k}": v for k, v in losses.items()}
            | {f"style/{k}": v for k, v in style.items()}
        )

    def extra_state(self) -> dict:
        state = {
            "env": self.env.state_dict(),
            "noise": self.collector.noise,
            "learning_rate": self.learning_rate,
        }
        return state if self.prior is None else state | {"prior": self.prior.optimizer.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        if "noise" not in state:  # such a run's actions were residual; `control` would not say so
            raise KitError(
                "the run was written by another version of the kit, before --control; begin a new one with --init"
            )
        self.collector.obs = self.env.load_state_dict(state["env"])
        self.collector.noise = state["noise"].to(self.collector.noise)
        self.learning_rate = state["learning_rate"]
        if self.prior is not None:  # its networks, history and memory came with the weights
            self.prior.optimizer.load_state_dict(state["prior"])
