"""What the simulator did: the last rollouts as coordinates and targets, and windows drawn from them."""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.threads import one_thread
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.errors import KitError
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.world_model import COORDINATES, coordinates

_FIELDS = ("states", "targets", "clip", "frame", "left")


class TransitionMemory:
    """The last rollouts of N environments, T steps each, in buffers that are allocated once and written round and round.

    Args:
        rollouts: how many are kept. steps: T. num_envs: N.

    Raises:
        KitError: no rollout is to be kept.
    """

    def __init__(self, rollouts: int, steps: int, num_envs: int, device: str | torch.device = "cpu"):
        if rollouts < 1:
            raise KitError(f"memory is {rollouts}; at least one rollout must be kept")
        self.rollouts, self.steps, self.num_envs, self.count = rollouts, steps, num_envs, 0
        shape, like = (rollouts, steps, num_envs), {"device": device}
        self.states = torch.zeros(rollouts, steps + 1, num_envs, sum(COORDINATES), **like)
        """Coordinates before each step, and after the last."""
        self.targets = torch.zeros(*shape, NUM_DOFS, **like)
        self.clip, self.frame, self.left = torch.zeros(3, *shape, dtype=torch.long, **like)
        """Clip and frame before each step; how many steps follow one another from here on within an episode."""

    def __len__(self) -> int:
        """Rollouts held."""
        return min(self.count, self.rollouts)

    @torch.no_grad()
    @one_thread()
    def collect(
        self, env: TrackingEnv, policy: Policy, obs: Observation, generator: torch.Generator, matmul: str = "highest"
    ) -> tuple[Observation, torch.Tensor, dict[str, float]]:
        """Let a policy act with noise for T steps and keep what happened in place of the oldest rollout.

        Args:
            obs: what the environment showed last. generator: of the noise. matmul: precision of the policy's products.

        Returns:
            what it shows now; what the policy read (T, N, width); and mean reward, its terms, share of episodes that
            failed, steps for each episode that ended.
        """
        place, sums, seen = self.count % self.rollouts, {}, []
        going_on = torch.zeros(self.steps, self.num_envs, dtype=torch.bool, device=env.device)
        ended = failed = 0
        for t in range(self.steps):
            self.states[place, t] = coordinates(env.simulator.state).T
            self.clip[place, t], self.frame[place, t] = env.clip_ids, env.frame_ids
            seen.append(policy.flatten(obs))
            with matmul_precision(matmul):
                action = policy.sample(policy.mean(seen[-1]), generator)
            self.targets[place, t] = env.pd_targets(action)
            obs, reward, terminated, truncated, _ = env.step(action)
            over = terminated | truncated
            going_on[t] = ~over
            ended, failed = ended + int(over.sum()), failed + int(terminated.sum())
            for name, value in {"reward": reward, **{f"reward/{k}": v for k, v in env.reward_terms.items()}}.items():
                sums[name] = sums.get(name, 0.0) + float(value.mean()) / self.steps
        self.states[place, self.steps] = coordinates(env.simulator.state).T
        self._count_left(place, going_on)
        self.count += 1
        sums |= {"failed": failed / max(ended, 1), "steps_to_end": going_on.numel() / max(ended, 1)}
        return obs, torch.stack(seen), sums

    def _count_left(self, place: int, going_on: torch.Tensor) -> None:
        """The step that ends an episode leads to the next one's start: no step of physics, so windows stop before it."""
        run = torch.zeros(self.num_envs, dtype=torch.long, device=going_on.device)
        for t in range(self.steps - 1, -1, -1):
            run = (run + 1) * going_on[t]
            self.left[place, t] = run

    def windows(self, number: int, length: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """`number` windows of `length` steps (fewer where no episode lasted so long), drawn with replacement.

        Returns:
            coordinates where they begin (151, number), targets (length, number, 69), coordinates after each step
            (length, 151, number).

        Raises:
            KitError: every episode was lost in its first step.
        """
        left = self.left[: len(self)].flatten()
        length = min(length, int(left.max()))
        if length == 0:
            raise KitError("every episode was lost in its first step: there is nothing to learn the physics from")
        able = (left >= length).nonzero().squeeze(1)
        rows = able[torch.randint(len(able), (number,), generator=generator, device=able.device)]
        first, targets = self._state_rows(rows), self.targets.flatten(0, 2)
        at = lambda k: self.states.flatten(0, 2)[first + k * self.num_envs].T.contiguous()  # noqa: E731
        aims = torch.stack([targets[rows + k * self.num_envs] for k in range(length)])
        return at(0), aims, torch.stack([at(k + 1) for k in range(length)])

    def starts(self, number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`number` states that were visited: coordinates (151, number), and their clips and frames (number,)."""
        held = len(self) * self.steps * self.num_envs
        rows = torch.randint(held, (number,), generator=generator, device=self.left.device)
        states = self.states.flatten(0, 2)[self._state_rows(rows)].T.contiguous()
        return states, self.clip.flatten()[rows], self.frame.flatten()[rows]

    def _state_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Where the states of steps lie: there is one more of them in each rollout."""
        return rows + rows // (self.steps * self.num_envs) * self.num_envs

    def state_dict(self) -> dict:
        """What is held."""
        return {"count": self.count, **{name: getattr(self, name)[: len(self)].clone() for name in _FIELDS}}

    def load_state_dict(self, state: dict) -> None:
        """Take up a `state_dict`.

        Raises:
            KitError: it comes from a memory of another size.
        """
        held = state["states"]
        if held.shape[1:] != self.states.shape[1:] or len(held) != min(state["count"], self.rollouts):
            raise KitError("the run's memory has another size; resume with the same memory, num_envs and horizon")
        self.count = state["count"]
        for name in _FIELDS:
            getattr(self, name)[: len(self)] = state[name]
