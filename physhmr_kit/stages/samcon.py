"""Stage `samcon`: an expert that searches in the simulator for what works, and imitates what it found.

The loop, in the order it happens: draw stretches of clips, search along them with many copies of a body around what the policy
would do (`learning/search.py`), remember what the survivors did, imitate it, average, log. There is no value to be guessed:
what was better is known from what followed (guided SAMCON, Liu et al. 2016, with a network in place of its linear feedback).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from physhmr_kit.env.pushes import horizontal
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.memory import Memory
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.search import Search
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import SamconConfig


class SamconModule(StageModule):
    """A policy from searches, on a MotionLibrary.

    Args:
        config: the settings.
        library: the clips; loaded from `config.clips` by `fit`.
        policy: to begin from; fresh when omitted.
    """

    weights_of = "expert"

    def __init__(self, config: SamconConfig, library: MotionLibrary, policy: Policy | None = None):
        super().__init__(config.seed)
        self.config, self.library = config, library
        torch.manual_seed(config.seed)
        groups = config.tracking().groups if policy is None else policy.groups
        self.policy = policy or Policy(groups, config.hidden, config.std, "residual")
        self.average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True)
        self.average.requires_grad_(False)
        simulator = make_simulator(
            config.simulator,
            num_envs=config.bodies * config.copies,
            device=config.device or None,
            substeps=config.substeps,
        )
        self.move_to(simulator.device)
        self.env = TrackingEnv(
            library,
            simulator,
            replace(config.tracking(), groups=groups, control=self.policy.control),
            seed=config.seed,
            autoreset="disabled",
        )
        # the environment's own sampler would count every copy that gets to the end of a clip
        self.sampler = StartSampler(
            self.env.library.lengths, config.hard_share, config.moment_share, longest=library.longest
        )
        self.search = Search(
            self.env, self.policy, config.copies, self.generator, config.window, config.spread, config.elite,
            config.decay, config.lookahead, config.keep, config.matmul,
        )  # fmt: skip
        width = self.policy.norm.mean.numel()
        self.found = Memory(config.memory, width, simulator.device)
        """What survivors did."""
        self.own = Memory(config.memory // 4, width, simulator.device)
        """What the policy would have done where copies got to: far from the survivors it is to stay as it is."""

    @property
    def final_policy(self) -> Policy:
        """The policy to evaluate and keep: the running mean of the weights."""
        return self.average.module

    def configure_optimizers(self):
        return torch.optim.Adam(self.policy.parameters(), self.config.learning_rate, fused=True)

    def training_step(self, _, batch_idx: int) -> None:
        config = self.config
        clip, frame = self.sampler.draw(config.bodies, self.generator)
        lead = int(torch.randint(config.lead + 1, (), generator=self.generator, device=clip.device))
        angle, dice = torch.rand(2, config.bodies, generator=self.generator, device=clip.device)
        pushed = dice < config.push_share
        force = horizontal(config.push_force, 2 * math.pi * angle) * pushed[:, None]
        found = self.search.run(clip, frame, config.windows, lead, force if pushed.any() else None)
        calm = (~pushed).nonzero().squeeze(1)
        got_to = frame + lead + config.window * found.windows
        self.sampler.report(clip[calm], got_to[calm], ~found.survived[calm])
        if self.samples == 0 and len(found.seen):
            self.policy.norm.update(found.seen.float())
        self.found.add(found.seen, found.action)
        self.own.add(found.met, found.answer)
        imitation, staying = self._imitate(len(found.seen))
        self.samples += self.env.num_envs * (lead + config.windows * config.window)
        self.log_dict(
            {
                "reward": -found.cost,
                "survived": float(found.survived.float().mean()),
                "loss/imitation": imitation,
                "loss/staying": staying,
                "found": float(len(found.seen)),
                "hardest": float(self.sampler.failure.max()),
                "samples": float(self.samples),
                "minutes": self.seconds / 60,
                "diverged": float(self.env.num_diverged),
                **self.env.simulator.counters(),
            }
        )

    def _imitate(self, new: int) -> tuple[float, float]:
        """Updates towards what survivors did; the loss on it, and on staying as it was elsewhere."""
        config, optimizer = self.config, self.optimizers()
        if self.found.count < config.warmup:
            return 0.0, 0.0
        updates, total = max(1, round(config.passes * new / config.minibatch)), torch.zeros(2)
        for _ in range(updates):
            seen, done = self.found.draw(config.minibatch, self.generator)
            met, answer = self.own.draw(config.minibatch // 2, self.generator)
            with matmul_precision(config.matmul):
                said = self.policy.mean(torch.cat([seen, met])).split([len(seen), len(met)])
                losses = (said[0] - done).square().mean(), (said[1] - answer).square().mean()
                optimizer.zero_grad()
                self.manual_backward(losses[0] + config.stay * losses[1])
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
            optimizer.step()
            self.average.update_parameters(self.policy)
            total += torch.stack(losses).detach().cpu()
        return tuple((total / updates).tolist())

    def extra_state(self) -> dict:
        return {
            "env": self.env.state_dict(),
            "sampler": self.sampler.state_dict(),
            "found": self.found.state_dict(),
            "own": self.own.state_dict(),
        }

    def load_extra_state(self, state: dict) -> None:
        self.env.load_state_dict(state["env"])
        self.sampler.load_state_dict(state["sampler"])
        self.found.load_state_dict(state["found"])
        self.own.load_state_dict(state["own"])
