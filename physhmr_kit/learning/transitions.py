"""What the simulator did: the last rollouts as coordinates and targets, and windows drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.world_model import COORDINATES, coordinates
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.threads import one_thread

_FIELDS = ("states", "targets", "noise", "clip", "frame", "left")


@dataclass(frozen=True)
class Windows:
    """N windows of K control steps that really happened.

    Attributes:
        states: (K + 1, 151, N) coordinates before each step and after the last.
        targets, noise: (K, N, 69) PD targets in rad, and what was added to the policy's actions.
        clip, frame: (N,) where they begin.
        left: (N,) how many of the K steps follow one another within an episode; what comes after is to be ignored.
    """

    states: torch.Tensor
    targets: torch.Tensor
    noise: torch.Tensor
    clip: torch.Tensor
    frame: torch.Tensor
    left: torch.Tensor


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
        self.targets, self.noise = torch.zeros(2, *shape, NUM_DOFS, **like)
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
                mean = policy.mean(seen[-1])
            action = policy.sample(mean, generator)
            self.noise[place, t], self.targets[place, t] = action - mean, env.pd_targets(action)
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

    def whole(self, number: int, length: int, generator: torch.Generator) -> Windows:
        """`number` windows of `length` steps within an episode (fewer where no episode lasted so long), with replacement.

        Raises:
            KitError: every episode was lost in its first step.
        """
        left = self.left[: len(self)].flatten()
        length = min(length, int(left.max()))
        if length == 0:
            raise KitError("every episode was lost in its first step: there is nothing to learn the physics from")
        able = (left >= length).nonzero().squeeze(1)
        return self._windows(able[torch.randint(len(able), (number,), generator=generator, device=able.device)], length)

    def latest(self, number: int, length: int, rollouts: int, generator: torch.Generator) -> Windows:
        """`number` windows of at most `length` steps that begin anywhere in the last `rollouts`, with replacement."""
        kept = min(rollouts, len(self))
        places = torch.tensor([(self.count - 1 - k) % self.rollouts for k in range(kept)], device=self.left.device)
        size = self.steps * self.num_envs
        draw = lambda top: torch.randint(top, (number,), generator=generator, device=places.device)  # noqa: E731
        rows = places[draw(kept)] * size + draw(size)
        return self._windows(rows, length)

    def _windows(self, rows: torch.Tensor, length: int) -> Windows:
        size = self.steps * self.num_envs
        step = rows % size // self.num_envs
        states, targets, noise = self.states.flatten(0, 2), self.targets.flatten(0, 2), self.noise.flatten(0, 2)
        # steps beyond the end of a rollout repeat its last one; `left` says that they do not count
        after = [self.num_envs * (self.steps - 1 - step).clamp(max=k) for k in range(length)]
        first = rows + rows // size * self.num_envs  # each rollout has one state more than it has steps
        ends = [self.num_envs * (self.steps - step).clamp(max=k) for k in range(length + 1)]
        return Windows(
            states=torch.stack([states[first + end].T.contiguous() for end in ends]),
            targets=torch.stack([targets[rows + k] for k in after]),
            noise=torch.stack([noise[rows + k] for k in after]),
            clip=self.clip.flatten()[rows],
            frame=self.frame.flatten()[rows],
            left=self.left.flatten()[rows].clamp(max=length),
        )

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
