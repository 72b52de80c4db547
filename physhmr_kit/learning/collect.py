"""Rollout collection: T steps of N environments into preallocated buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.networks import Critic, Observation, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.utils.threads import one_thread

Teacher = Callable[[Observation], torch.Tensor]
"""Observation to labels for the current states: (N, 69) actions in the learner's control."""


@dataclass
class Batch:
    """A rollout: T steps of N environments, on the environment's device.

    Attributes:
        policy_in, critic_in: (T, N, width) flattened observations; the same tensor if policy and critic read the same groups.
        action, mean, label: (T, N, 69) sampled actions, means of the policy, and labels of a teacher if there is one.
        log_prob, reward, value, next_value: (T, N).
        done, failed: (T, N) bool, the step ended the episode, by any cause or by failure.
        terms: reward term -> mean over the rollout.
    """

    policy_in: torch.Tensor
    critic_in: torch.Tensor
    action: torch.Tensor
    mean: torch.Tensor
    label: torch.Tensor
    log_prob: torch.Tensor
    reward: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    done: torch.Tensor
    failed: torch.Tensor
    terms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def allocate(cls, steps: int, num_envs: int, policy_width: int, critic_width: int | None, device="cpu") -> Batch:
        """Allocate `steps` x `num_envs`; with `critic_width` None the critic shares the policy's input."""
        rows = lambda *w: torch.zeros(steps, num_envs, *w, device=device)  # noqa: E731
        policy_in = rows(policy_width)
        critic_in = policy_in if critic_width is None else rows(critic_width)
        return cls(
            policy_in, critic_in, rows(NUM_DOFS), rows(NUM_DOFS), rows(NUM_DOFS),
            rows(), rows(), rows(), rows(), rows().bool(), rows().bool(),
        )  # fmt: skip

    @property
    def episodes(self) -> int:
        """Number of episodes that ended."""
        return int(self.done.sum())

    @property
    def failures(self) -> int:
        """Number of episodes that failed."""
        return int(self.failed.sum())

    def flat(self, name: str) -> torch.Tensor:
        """A field with time and environment merged: (T * N, ...)."""
        return getattr(self, name).flatten(0, 1)


class Collector:
    """Steps an environment with a policy and fills a `Batch`. Each call continues where the last one ended.

    Values and log probabilities are computed for the whole rollout at once, after it.

    Args:
        env: its observations include all groups that the policy, the critic and the teacher read.
        policy, critic: the learner. Without a critic no values are stored.
        steps: T, control steps per call.
        generator: of the action noise, on the environment's device.
        matmul: precision of the policy's matrix products, see `matmul_precision`.
    """

    def __init__(
        self,
        env: TrackingEnv,
        policy: Policy,
        critic: Critic | None,
        steps: int,
        generator: torch.Generator,
        matmul: str = "highest",
    ):
        self.env, self.policy, self.critic, self.steps, self.generator = env, policy, critic, steps, generator
        self.matmul = matmul
        shared = critic is not None and critic.groups == policy.groups
        width = None if shared else (0 if critic is None else critic.norm.mean.numel())
        self.batch = Batch.allocate(steps, env.num_envs, policy.norm.mean.numel(), width, env.device)
        self.obs: Observation | None = None

    @torch.no_grad()
    @one_thread()
    def collect(self, teacher: Teacher | None = None) -> Batch:
        """Run T steps with sampled actions; a teacher labels every visited state."""
        env, policy, batch = self.env, self.policy, self.batch
        if self.obs is None:
            self.obs, _ = env.reset()
        sums: dict[str, torch.Tensor] = {}
        finals: list[tuple[torch.Tensor, torch.Tensor]] = []
        for t in range(self.steps):
            torch.cat([self.obs[g] for g in policy.groups], dim=-1, out=batch.policy_in[t])
            if self.critic is not None and batch.critic_in is not batch.policy_in:
                torch.cat([self.obs[g] for g in self.critic.groups], dim=-1, out=batch.critic_in[t])
            with matmul_precision(self.matmul):
                batch.mean[t] = policy.mean(batch.policy_in[t])
            batch.action[t] = policy.sample(batch.mean[t], self.generator)
            if teacher is not None:
                batch.label[t] = teacher(self.obs)
            self.obs, batch.reward[t], terminated, truncated, info = env.step(batch.action[t])
            batch.failed[t] = terminated
            torch.logical_or(terminated, truncated, out=batch.done[t])
            if self.critic is not None and info:
                rows = truncated.nonzero().squeeze(1)
                finals.append(
                    (t * env.num_envs + rows, self.critic.flatten({g: v[rows] for g, v in info["final_obs"].items()}))
                )
            for name, value in env.reward_terms.items():
                sums[name] = sums.get(name, 0.0) + value.mean()
        batch.terms = {name: float(total) / self.steps for name, total in sums.items()}
        batch.log_prob.copy_(policy.log_prob(batch.mean, batch.action))
        if self.critic is not None:
            self._value(self.critic, self.critic.flatten(self.obs), finals)
        return batch

    def _value(self, critic: Critic, last: torch.Tensor, finals: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Values of the states, and of their successors: the final state at a truncation, 0 at a failure."""
        batch = self.batch
        batch.value.copy_(critic(batch.critic_in))
        batch.next_value[:-1] = batch.value[1:]
        batch.next_value[-1] = critic(last)
        if finals:
            places, seen = (torch.cat(part) for part in zip(*finals, strict=True))
            batch.next_value.view(-1).index_copy_(0, places, critic(seen))
        batch.next_value.masked_fill_(batch.failed, 0.0)
