"""Adversarial motion prior (AMP, Peng et al. 2021): windows of motion, style reward and updates of the discriminator."""

from __future__ import annotations

import torch
from gymnasium.vector import VectorWrapper

from physhmr_kit.env.style import STYLE_SIZE, reference_windows, style_observation
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning import discriminator as amp
from physhmr_kit.learning.buffer import RingBuffer
from physhmr_kit.learning.distributed import mean_over_processes
from physhmr_kit.utils.errors import KitError


class StyleHistory(VectorWrapper):
    """Wraps a `TrackingEnv` and records the last K steps of every environment at every step of a rollout.

    Windows never span two episodes. As in PHC, windows that reach back before the start of an episode are filled from the
    reference motion: with a repeated first frame instead, the sudden start would give the agent away.

    Args:
        env: with same-step autoreset, the default.
        window: K, steps in a window.
        rollout: T, steps in a rollout; a rollout starts at the first step and after every T steps.

    Attributes:
        recent: (N, K - 1, 196) the steps before the next one, kept across rollouts and in checkpoints.
        windows: (T, N, K, 196) windows of the last rollout.
        diverged: (T, N) bool, the physics diverged and the last step of the window is the reference's.
    """

    env: TrackingEnv

    def __init__(self, env: TrackingEnv, window: int, rollout: int):
        super().__init__(env)
        self.window, self._step = window, 0
        zeros = lambda *shape, **kind: torch.zeros(*shape, device=env.device, **kind)  # noqa: E731
        self.recent = zeros(env.num_envs, window - 1, STYLE_SIZE)
        self.windows = zeros(rollout, env.num_envs, window, STYLE_SIZE)
        self.diverged = zeros(rollout, env.num_envs, dtype=torch.bool)

    def __getattr__(self, name: str):
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        result = self.env.reset(seed=seed, options=options)
        rows = torch.arange(self.env.num_envs, device=self.env.device)
        if options and "reset_mask" in options:
            rows = rows[torch.as_tensor(options["reset_mask"], device=rows.device)]
        self._begin(rows)
        return result

    def step(self, actions: torch.Tensor, push: torch.Tensor | None = None):
        result = self.env.step(actions, push)
        t, state, done = self._step, self.env.last_state, result[2] | result[3]
        assert state is not None  # set by step
        self.windows[t, :, :-1] = self.recent
        self.windows[t, :, -1] = style_observation(state)
        self.diverged[t] = state.diverged
        self.recent.copy_(self.windows[t, :, 1:])
        if len(rows := done.nonzero().squeeze(1)):
            self._begin(rows)
        self._step = (t + 1) % len(self.windows)
        return result

    def _begin(self, rows: torch.Tensor) -> None:
        """Fill `recent` of environments (K,) that start an episode."""
        env = self.env
        self.recent[rows] = reference_windows(env.library, env.clip_ids[rows], env.frame_ids[rows], self.window - 1)


class StylePrior:
    """Style reward from a discriminator, and the training of the discriminator.

    Args:
        history: provides the agent's windows; its library is the real motion.
        discriminator: part of a stage's weights; requires gradients only during `update`.
        weight: of the style reward relative to the task reward, in (0, 1]; 0.5 in PhysHMR and PHC.
        learning_rate: of the discriminator.
        memory: size of the replay buffer in windows; each rollout adds `kept` (PHC: 200,000 and about 1,000).
        minibatch: real windows per update, and as many of the agent, half of them replayed.
        updates: per rollout.
        penalty, logits, decay: weights of the gradient penalty, logit regulariser and weight decay (PHC).

    Raises:
        KitError: the weight is not in (0, 1].
    """

    def __init__(
        self,
        history: StyleHistory,
        discriminator: amp.Discriminator,
        weight: float,
        learning_rate: float = 1e-4,
        *,
        memory: int = 4096,
        kept: int = 256,
        minibatch: int = 512,
        updates: int = 4,
        penalty: float = 5.0,
        logits: float = 0.01,
        decay: float = 1e-4,
    ):
        if not 0 < weight <= 1:
            raise KitError(f"the weight of the motion prior is {weight:g}; it must be above 0 and at most 1")
        self.history, self.discriminator, self.weight = history, discriminator.requires_grad_(False), weight
        self.replay = RingBuffer(memory, {"window": (history.window, STYLE_SIZE)}, history.env.device)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=learning_rate)
        self.mean_reward = 0.0
        self.kept, self.minibatch, self.updates = kept, minibatch, updates
        self.penalty, self.logits, self.decay = penalty, logits, decay

    @torch.no_grad()
    def reward(self, windows: torch.Tensor | None = None) -> torch.Tensor:
        """Style reward of windows (T, N, K, 196), by default those of the last rollout: -> (T, N).

        0 where the physics diverged, like the task reward.
        """
        if windows is not None:
            return amp.style_reward(self.discriminator(windows))
        return amp.style_reward(self.discriminator(self.history.windows)).masked_fill(self.history.diverged, 0.0)

    def mix(self, task: torch.Tensor) -> torch.Tensor:
        """Weighted sum of the task reward (T, N) of the last rollout and the style reward -> (T, N)."""
        style = self.reward()
        self.mean_reward = float(style.mean())
        return (1 - self.weight) * task + self.weight * style

    def real(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw real windows (count, K, 196): clips uniformly regardless of length, frames uniformly within a clip."""
        library = self.history.env.library
        clips = torch.randint(library.num_clips, (count,), generator=generator, device=library.device)
        share = torch.rand(count, generator=generator, device=library.device)
        return reference_windows(library, clips, (share * library.lengths[clips]).long(), self.history.window)

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Train the discriminator on the last rollout.

        Returns:
            'reward': mean style reward of the rollout; 'loss', 'gradient_penalty', 'accuracy_real' and 'accuracy_agent': means
            over the updates.
        """
        visited = self.history.windows.flatten(0, 1)
        sound = (~self.history.diverged).flatten().nonzero().squeeze(1)  # the others contain the reference
        if len(sound) == 0:
            return {"reward": self.mean_reward}

        def fresh(count: int) -> torch.Tensor:
            at = torch.randint(len(sound), (count,), generator=generator, device=sound.device)
            return visited.index_select(0, sound[at])

        totals: dict[str, torch.Tensor] = {}
        self.discriminator.requires_grad_(True)
        for _ in range(self.updates):
            old = self.minibatch // 2 if len(self.replay) else 0
            agent = fresh(self.minibatch - old)
            if old:
                agent = torch.cat([agent, self.replay.sample(old, generator)["window"]])
            for name, value in self._gradient_step(self.real(self.minibatch, generator), agent).items():
                totals[name] = totals.get(name, 0.0) + value.detach()
        self.discriminator.requires_grad_(False)
        self.replay.add(window=fresh(min(self.kept, len(sound))))
        return {"reward": self.mean_reward} | {name: float(total) / self.updates for name, total in totals.items()}

    def _gradient_step(self, real: torch.Tensor, agent: torch.Tensor) -> dict[str, torch.Tensor]:
        net, norm = self.discriminator.net, self.discriminator.norm
        norm.update(torch.cat([real, agent]))
        inputs = norm(real).requires_grad_()
        real_logits, agent_logits = self.discriminator.logits(inputs), self.discriminator.logits(norm(agent))
        loss, penalty = amp.discriminator_loss(real_logits, agent_logits), amp.gradient_penalty(real_logits, inputs)
        total = loss + self.penalty * penalty + self.logits * amp.logit_regulariser(net)
        self.optimizer.zero_grad()
        (total + self.decay * amp.weight_decay(net)).backward()
        for parameter in self.discriminator.parameters():
            if parameter.grad is not None:
                parameter.grad = mean_over_processes(parameter.grad)
        self.optimizer.step()
        on_real, on_agent = amp.accuracy(real_logits, agent_logits)
        return {"loss": loss, "gradient_penalty": penalty, "accuracy_real": on_real, "accuracy_agent": on_agent}

    def extra_state(self) -> dict:
        """Everything needed to resume exactly besides the weights: optimiser, recent steps, replay buffer."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "recent": self.history.recent.clone(),
            "replay": self.replay.state_dict(),
        }

    def load_extra_state(self, state: dict) -> None:
        """Restore an `extra_state`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.recent.copy_(state["recent"])
        self.replay.load_state_dict(state["replay"])
