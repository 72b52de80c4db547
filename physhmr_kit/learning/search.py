"""Search: many copies of a body try variations of what a policy would do, and those that come out best go on.

Sampling-based control of contact-rich motion (SAMCON, Liu et al. 2010), guided by a policy (Liu et al. 2016): a variation is
added to the policy's own answer and held for a window of a few control steps; after each window the best copies of
each body replace the others. What was done by the copies whose line survived the windows after it is worth imitating: it was
judged by the motion that really followed, not by a guess of its value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from physhmr_kit.body.quaternions import quat_angle
from physhmr_kit.env.pushes import at_chest
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.motion.following import mean_body_distance
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState
from physhmr_kit.utils.threads import one_thread

LOST = 0.5
"""Metres of mean body distance at which a copy has lost its clip (PHC's rule in evaluation)."""

PUSH_STEPS = 3
"""Control steps that a push lasts: 0.1 s."""

_LOST_COST = 20.0  # more than any pose costs: a copy that has lost the clip goes on only where all have
_SPREADS = (0.1, 0.3, 0.6, 1.0)  # copies vary by these shares in turn: small steps refine, large ones rescue


def distance(sim: SimState, ref: BodyState) -> torch.Tensor:
    """How far bodies are from a reference -> (N,); what a search makes small.

    50 x mean squared distance of the bodies (m^2) + mean squared angle of the bodies (rad^2) + 0.2 x mean squared difference
    of their velocities + squared difference of their mean velocity (m^2/s^2): a pose can be mended later, a body that is
    about to fall cannot, hence the last term (ours; SAMCON weighs pose, end effectors and balance).
    """
    place = (sim.body_pos - ref.body_pos).square().sum(-1).mean(1)
    angle = quat_angle(sim.body_rot, ref.body_rot).square().mean(1)
    moving = sim.body_lin_vel - ref.body_lin_vel
    cost = 50 * place + angle + 0.2 * moving.square().sum(-1).mean(1) + moving.mean(1).square().sum(-1)
    return torch.where(sim.diverged, _LOST_COST, cost)


@dataclass(frozen=True)
class _Window:
    """A window of K control steps that N copies went through, and who went on.

    Attributes:
        seen: (K, N, width), action: (K, N, 69) before and in each step, half precision.
        inside: (N,) bool, all of it lies within the clip.
        chosen: (N,) the copy that each place goes on from.
        intact: (M,) bool, some of those chosen of a body have kept to the clip so far.
    """

    seen: torch.Tensor
    action: torch.Tensor
    inside: torch.Tensor
    chosen: torch.Tensor
    intact: torch.Tensor


@dataclass(frozen=True)
class Found:
    """What a search found: P states and what to do there.

    Attributes:
        seen: (P, width) what the policy reads, flattened, half precision.
        action: (P, 69) what was done by copies whose line went on, half precision.
        met: (Q, width) states that any copies met. answer: (Q, 69) what the policy itself would have done there; half precision.
        survived: (M,) bool, some copy of the body kept to its clip until the end of the search.
        windows: (M,) how many windows it did so for.
        cost: mean `distance` of the copies that were chosen.
    """

    seen: torch.Tensor
    action: torch.Tensor
    met: torch.Tensor
    answer: torch.Tensor
    survived: torch.Tensor
    windows: torch.Tensor
    cost: float


class Search:
    """Searches for M bodies at once, `copies` of each; the environment has M x copies places.

    Args:
        env: with autoreset 'disabled' and termination 'none'.
        policy: whose answers are varied.
        copies: of a body.
        generator: of the variations, on the environment's device.
        window: control steps for which a variation is held.
        spread: standard deviation of the largest variations, in actions.
        elite: share of the copies that go on after a window.
        decay: weight of the cost of earlier windows in the choice.
        lookahead: windows a line must survive for its action to count as found.
        keep: states of each body and control step that are kept, at most.
        matmul: precision of the policy's matrix products.
    """

    def __init__(
        self,
        env: TrackingEnv,
        policy: Policy,
        copies: int,
        generator: torch.Generator,
        window: int = 4,
        spread: float = 0.2,
        elite: float = 0.3,
        decay: float = 0.5,
        lookahead: int = 3,
        keep: int = 16,
        matmul: str = "highest",
    ):
        self.env, self.policy, self.copies, self.generator = env, policy, copies, generator
        self.window, self.spread, self.decay, self.lookahead = window, spread, decay, lookahead
        self.elite, self.keep, self.matmul = max(1, round(elite * copies)), keep, matmul
        self.bodies = env.num_envs // copies
        spreads = torch.tensor(_SPREADS, device=env.device).repeat(-(-copies // len(_SPREADS)))[:copies]
        self._spreads = spread * spreads.repeat(self.bodies)[:, None]
        self._first = torch.arange(self.bodies, device=env.device)[:, None] * copies

    @torch.no_grad()
    @one_thread()
    def run(
        self, clip: torch.Tensor, frame: torch.Tensor, windows: int, lead: int = 0, force: torch.Tensor | None = None
    ) -> Found:
        """Search along clips (M,) from frames (M,).

        Args:
            windows: how many to search.
            lead: control steps that the policy does on its own before, so that the search begins where it gets to.
            force: (M, 3) N, horizontal or not, with which the chest of each body, in all its copies, is pushed during the
                first 0.1 s of the search.
        """
        env = self.env
        start = {"clip": clip.repeat_interleave(self.copies), "frame": frame.repeat_interleave(self.copies)}
        obs, _ = env.reset(options=start)
        if lead:
            for _ in range(lead):
                obs = self._act(obs, 0.25 * self.spread * self._noise())[0]
            obs = self._replace(self._first.expand(-1, self.copies).flatten())  # one copy, whichever it is
        last = env.library.last_frames(start["clip"])
        cost, lost = torch.zeros(2, env.num_envs, device=env.device)
        past: list[_Window] = []
        own: list[tuple[torch.Tensor, torch.Tensor]] = []
        chosen_cost = 0.0
        pushes = [] if force is None else [at_chest(force.repeat_interleave(self.copies, 0))] * PUSH_STEPS
        for _ in range(windows):
            varied, now = self._spreads * self._noise(), torch.zeros_like(cost)
            inside = env.frame_ids + self.window <= last
            seen, action = [], []
            for _ in range(self.window):
                obs, looked, acted = self._act(obs, varied, pushes.pop() if pushes else None)
                seen.append(looked.half())
                action.append(acted.half())
                some = torch.randint(len(looked), (self.keep,), generator=self.generator, device=looked.device)
                own.append((looked[some].half(), (acted - varied)[some].half()))
                sim, ref = env.last_state, env.reference_state
                now += distance(sim, ref) / self.window
                lost = torch.maximum(lost, (mean_body_distance(sim.body_pos, ref.body_pos) > LOST).float())
            cost = self.decay * cost + now + _LOST_COST * lost
            chosen = self._choose(cost)
            chosen_cost += float(now[chosen].mean()) / windows
            cost, lost = cost[chosen], lost[chosen]
            intact = lost.view(self.bodies, -1).amin(1) == 0
            past.append(_Window(torch.stack(seen), torch.stack(action), inside, chosen, intact))
            obs = self._replace(chosen)
        kept = torch.stack([w.intact for w in past])
        met, answer = (torch.cat(part) for part in zip(*own, strict=True))
        return Found(*self._survivors(past), met, answer, kept[-1], kept.sum(0), chosen_cost)

    def _noise(self) -> torch.Tensor:
        shape = (self.env.num_envs, self.env.single_action_space.shape[0])
        return torch.randn(shape, generator=self.generator, device=self.env.device)

    def _act(self, obs: Observation, variation: torch.Tensor, push: torch.Tensor | None = None):
        """One control step; what is seen next, what was seen, what was done."""
        looked = self.policy.flatten(obs)
        with matmul_precision(self.matmul):
            acted = self.policy.mean(looked) + variation
        return self.env.step(acted, push)[0], looked, acted

    def _choose(self, cost: torch.Tensor) -> torch.Tensor:
        """The elite of each body by its cost (N,), in turn for all its places: (N,)."""
        best = cost.view(self.bodies, -1).argsort(1)[:, : self.elite]
        return (self._first + best).repeat(1, -(-self.copies // self.elite))[:, : self.copies].flatten()

    def _replace(self, rows: torch.Tensor) -> Observation:
        """Every copy becomes the copy at its row (N,) of the same body; what is seen then."""
        saved = self.env.simulator.save()
        self.env.simulator.restore({k: v[rows] for k, v in saved.items()})
        return self.env.observe(self.policy.groups)

    def _survivors(self, past: list[_Window]) -> tuple[torch.Tensor, torch.Tensor]:
        """What was seen and done by those whose line went on for `lookahead` more windows: (P, width), (P, 69)."""
        seen, action = [past[0].seen[0, :0]], [past[0].action[0, :0]]
        for number, window in enumerate(past):
            later = past[number : number + self.lookahead + 1]
            ancestors = torch.arange(self.env.num_envs, device=self.env.device)
            for w in reversed(later):  # walk back from those who were there in the end
                ancestors = w.chosen[ancestors]
            for rows, good in zip(ancestors.view(self.bodies, -1), later[-1].intact, strict=True):
                rows = rows.unique()
                rows = rows[window.inside[rows]]
                if good and len(rows):
                    rows = rows[torch.randperm(len(rows), generator=self.generator, device=rows.device)[: self.keep]]
                    seen.append(window.seen[:, rows].flatten(0, 1))
                    action.append(window.action[:, rows].flatten(0, 1))
        return torch.cat(seen), torch.cat(action)
