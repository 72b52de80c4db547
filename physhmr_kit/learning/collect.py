"""Rollout collection: T steps of N environments into buffers that are allocated once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.networks import Critic, Observation, Policy


@dataclass
class Batch:
    """What a rollout leaves behind: T steps of N environments.

    Attributes:
        policy_in, critic_in: (T, N, width) flattened observations.
        action, mean, label: (T, N, 69) what was done, the policy's mean then, and a teacher's label if there is one.
        log_prob, reward, value, next_value: (T, N). done: (T, N) bool.
        terms: reward term -> mean over the rollout.
        episodes, failures, length: episodes that ended, how many failed, and their steps altogether.
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
    terms: dict[str, float] = field(default_factory=dict)
    episodes: int = 0
    failures: int = 0
    error: float = 0.0

    @classmethod
    def allocate(cls, steps: int, num_envs: int, policy_width: int, critic_width: int) -> Batch:
        """Buffers for `steps` x `num_envs`."""
        rows = lambda *w: torch.zeros(steps, num_envs, *w)  # noqa: E731
        return cls(
            rows(policy_width), rows(critic_width), rows(NUM_DOFS), rows(NUM_DOFS), rows(NUM_DOFS),
            rows(), rows(), rows(), rows(), rows().bool(),
        )  # fmt: skip

    def flat(self, name: str) -> torch.Tensor:
        """A field with time and environment merged: (T * N, ...)."""
        return getattr(self, name).flatten(0, 1)


class Collector:
    """Steps an environment with a policy and fills a `Batch`; the observation carries over from call to call.

    Args:
        env: the environment; when the critic or a teacher reads groups the policy does not, they are asked for.
        policy, critic: the learner. Without a critic no values are stored.
        steps: T, control steps for each environment and call.
        generator: of the action noise.
    """

    def __init__(self, env: TrackingEnv, policy: Policy, critic: Critic | None, steps: int, generator: torch.Generator):
        self.env, self.policy, self.critic, self.steps, self.generator = env, policy, critic, steps, generator
        wide = lambda net: 0 if net is None else net.norm.mean.numel()  # noqa: E731
        self.batch = Batch.allocate(steps, env.num_envs, wide(policy), wide(critic))
        self.obs: Observation | None = None

    @torch.no_grad()
    def collect(self, teacher: Policy | None = None) -> Batch:
        """Run T steps of the policy's sampled actions; a teacher labels every state the policy visits."""
        env, policy, critic, batch = self.env, self.policy, self.critic, self.batch
        if self.obs is None:
            self.obs, _ = env.reset()
        batch.terms, batch.episodes, batch.failures, batch.error = {}, 0, 0, 0.0
        for t in range(self.steps):
            seen = policy.flatten(self.obs)
            mean = policy.mean(seen)
            action = policy.sample(mean, self.generator)
            batch.policy_in[t], batch.mean[t], batch.action[t] = seen, mean, action
            batch.log_prob[t] = policy.log_prob(mean, action)
            if critic is not None:
                batch.critic_in[t] = critic.flatten(self.obs)
                batch.value[t] = critic(batch.critic_in[t])
            if teacher is not None:
                batch.label[t] = env.absolute_label(teacher(self.obs))
            self.obs, reward, terminated, truncated, info = env.step(action)
            done = terminated | truncated
            batch.reward[t], batch.done[t] = reward, done
            if critic is not None:
                self._bootstrap(t, terminated, truncated, info)
            self._count(done, terminated)
        return batch

    def _bootstrap(self, t: int, terminated: torch.Tensor, truncated: torch.Tensor, info: dict) -> None:
        """Value of where the step led: the next observation, the final one at a truncation, 0 at a failure."""
        value = self.critic(self.critic.flatten(self.obs))
        if truncated.any():
            final = self.critic(self.critic.flatten({g: v[truncated] for g, v in info["final_obs"].items()}))
            value = value.index_copy(0, truncated.nonzero().squeeze(1), final)
        self.batch.next_value[t] = value.masked_fill(terminated, 0.0)

    def _count(self, done: torch.Tensor, terminated: torch.Tensor) -> None:
        batch = self.batch
        batch.episodes += int(done.sum())
        batch.failures += int(terminated.sum())
        for name, value in self.env.reward_terms.items():
            batch.terms[name] = batch.terms.get(name, 0.0) + float(value.mean()) / self.steps
