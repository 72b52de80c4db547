"""`StylePrior`: rewards motion that a discriminator takes for real, and trains that discriminator (AMP, Peng et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from physhmr_kit.env.style import STYLE_SIZE, reference_windows, style_observation
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning import discriminator as amp
from physhmr_kit.utils.errors import KitError


class StyleHistory(nn.Module):
    """The last K steps of every environment at every step of a rollout. A `Collector` tells it what happens.

    An episode's first windows reach back beyond its start. As in PHC they are filled from the reference: the body was put
    there in mid-motion, and these frames are the motion it was put into. (A repeated first frame would be a sudden start
    that no real window shows, and an easy tell.) No window ever holds steps of two episodes.

    Args:
        env: same-step autoreset, the kit's own.
        window: K, steps in a window. rollout: T, steps in a rollout.

    Attributes:
        recent: (N, K - 1, 196) what came before the next step; carried from rollout to rollout, and into checkpoints.
        windows: (T, N, K, 196) the last rollout.
        diverged: (T, N) bool, the physics blew up and the last step of the window is the reference's.
    """

    def __init__(self, env: TrackingEnv, window: int, rollout: int):
        super().__init__()
        self.env, self.window = env, window
        zeros = lambda *shape, **kind: torch.zeros(*shape, device=env.device, **kind)  # noqa: E731
        self.register_buffer("recent", zeros(env.num_envs, window - 1, STYLE_SIZE))
        self.windows = zeros(rollout, env.num_envs, window, STYLE_SIZE)
        self.diverged = zeros(rollout, env.num_envs, dtype=torch.bool)

    def begin(self, rows: torch.Tensor) -> None:
        """Environments (K,) that begin an episode where they are now."""
        env = self.env
        self.recent[rows] = reference_windows(env.library, env.clip_ids[rows], env.frame_ids[rows], self.window - 1)

    def record(self, t: int, done: torch.Tensor) -> None:
        """Step t of the rollout was made; where `done` (N,) it ended an episode and the next has begun."""
        self.windows[t, :, :-1] = self.recent
        self.windows[t, :, -1] = style_observation(self.env.last_state)
        self.diverged[t] = self.env.last_state.diverged
        self.recent.copy_(self.windows[t, :, 1:])
        if len(rows := done.nonzero().squeeze(1)):
            self.begin(rows)


class ReplayBuffer(nn.Module):
    """Windows of earlier policies, the oldest overwritten; part of the state of a run.

    Without them the discriminator forgets what it has once refused, and the policy goes back to it.

    Args:
        size: windows kept. shape: of one.
    """

    def __init__(self, size: int, shape: Sequence[int], device: torch.device):
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, *shape, device=device))
        self.register_buffer("written", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return min(int(self.written), len(self.rows))

    def add(self, windows: torch.Tensor) -> None:
        """Keep (M, ...) more, at most as many as there is room for."""
        at = (int(self.written) + torch.arange(len(windows), device=self.rows.device)) % len(self.rows)
        self.rows[at] = windows
        self.written += len(windows)

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` of those kept, with replacement."""
        at = torch.randint(len(self), (count,), generator=generator, device=self.rows.device)
        return self.rows.index_select(0, at)


class StylePrior(nn.Module):
    """Discriminator, its optimiser, and the windows of motion it compares.

    Its networks and buffers are part of a stage's weights; only `optimizer` has to be kept besides.

    Args:
        env: whose bodies are judged; its library is the real motion.
        weight: of the style reward beside the task's, above 0 and at most 1; PhysHMR and PHC have 0.5.
        window: K, control steps in a window; PHC has 10.
        rollout: T, steps in a rollout.
        hidden, rate: of the discriminator.
        memory: windows of earlier policies; `kept` more of each rollout (PHC: 200,000 and about 1,000).
        minibatch, updates: real windows in an update and as many of the agent's, half of them replayed; updates a rollout.
        penalty, logits, decay: weights of the losses beside the cross-entropy; PHC's.

    Raises:
        KitError: a weight that is no share, a window of fewer than two steps.
    """

    def __init__(
        self,
        env: TrackingEnv,
        weight: float,
        window: int,
        rollout: int,
        hidden: Sequence[int] = (512, 256),
        rate: float = 1e-4,
        *,
        memory: int = 4096,
        kept: int = 256,
        minibatch: int = 512,
        updates: int = 4,
        penalty: float = 5.0,
        logits: float = 0.01,
        decay: float = 1e-4,
    ):
        super().__init__()
        if not 0 < weight <= 1:
            raise KitError(f"style is {weight:g}; it is a share of the reward, between 0 (off) and 1")
        if window < 2:
            raise KitError(f"style_window is {window}; a motion needs at least two steps")
        self.weight = weight
        self.history = StyleHistory(env, window, rollout)
        self.discriminator = amp.Discriminator(window, hidden).to(env.device)
        self.replay = ReplayBuffer(memory, (window, STYLE_SIZE), env.device)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=rate)
        self.earned = 0.0
        self.kept, self.minibatch, self.updates = kept, minibatch, updates
        self.penalty, self.logits, self.decay = penalty, logits, decay

    @torch.no_grad()
    def reward(self, windows: torch.Tensor | None = None) -> torch.Tensor:
        """Style reward of windows (T, N, K, 196), those of the last rollout by default: -> (T, N).

        Blown-up physics earns nothing, as it does with the task.
        """
        if windows is not None:
            return amp.style_reward(self.discriminator(windows))
        return amp.style_reward(self.discriminator(self.history.windows)).masked_fill(self.history.diverged, 0.0)

    def mix(self, task: torch.Tensor) -> torch.Tensor:
        """The reward to learn from: task reward (T, N) of the last rollout and style, weighed -> (T, N)."""
        style = self.reward()
        self.earned = float(style.mean())
        return (1 - self.weight) * task + self.weight * style

    def real(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Real windows (count, K, 196): clips alike whatever their length, frames of a clip alike."""
        library = self.history.env.library
        clips = torch.randint(library.num_clips, (count,), generator=generator, device=library.device)
        share = torch.rand(count, generator=generator, device=library.device)
        return reference_windows(library, clips, (share * library.lengths[clips]).long(), self.history.window)

    def update(self, generator: torch.Generator) -> dict[str, float]:
        """Learn from the last rollout.

        Returns:
            'reward' that the rollout earned, on average; 'loss', 'gradient_penalty', 'accuracy_real' and 'accuracy_agent',
            means over the updates.
        """
        visited = self.history.windows.flatten(0, 1)
        sound = (~self.history.diverged).flatten().nonzero().squeeze(1)  # the others show the reference
        if len(sound) == 0:
            return {"reward": self.earned}

        def fresh(count: int) -> torch.Tensor:
            at = torch.randint(len(sound), (count,), generator=generator, device=sound.device)
            return visited.index_select(0, sound[at])

        totals: dict[str, torch.Tensor] = {}
        for _ in range(self.updates):
            old = self.minibatch // 2 if len(self.replay) else 0
            agent = fresh(self.minibatch - old)
            if old:
                agent = torch.cat([agent, self.replay.draw(old, generator)])
            for name, value in self._learn(self.real(self.minibatch, generator), agent).items():
                totals[name] = totals.get(name, 0.0) + value.detach()
        self.replay.add(fresh(min(self.kept, len(sound))))
        return {"reward": self.earned} | {name: float(total) / self.updates for name, total in totals.items()}

    def _learn(self, real: torch.Tensor, agent: torch.Tensor) -> dict[str, torch.Tensor]:
        """One step of the optimiser."""
        net, norm = self.discriminator.net, self.discriminator.norm
        norm.update(torch.cat([real, agent]))
        shown = norm(real).requires_grad_()
        real_logits, agent_logits = self.discriminator.judge(shown), self.discriminator.judge(norm(agent))
        loss, slope = amp.discriminator_loss(real_logits, agent_logits), amp.gradient_penalty(real_logits, shown)
        whole = loss + self.penalty * slope + self.logits * amp.logit_regulariser(net)
        self.optimizer.zero_grad()
        (whole + self.decay * amp.weight_decay(net)).backward()
        self.optimizer.step()
        told_real, told_agent = amp.accuracy(real_logits, agent_logits)
        return {"loss": loss, "gradient_penalty": slope, "accuracy_real": told_real, "accuracy_agent": told_agent}
