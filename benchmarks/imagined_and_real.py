"""Does a policy get better in the simulator by what it learns in the light of a world model?

    python benchmarks/imagined_and_real.py --clips demo ../shared/data/cmu

Collects a few rollouts of a fresh policy, fits the world model to them, and then updates two copies of the policy on the
same windows without any new data: one through the model left to itself (SuperTrack), one anchored to what happened
(`learning.imagine`). Every few updates it prints the mean distance from the reference after 1, 4, 8, 16 and 32 control
steps: as imagined, and as the simulator has it from the same states. Where they part, the policy lives off the model's
mistakes.
"""

from __future__ import annotations

import argparse
import copy

import torch

from physhmr_kit.env.actions import residual_target
from physhmr_kit.learning.imagine import Imagination, tracking_distance
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.learning.transitions import Windows
from physhmr_kit.simulation import make_simulator
from physhmr_kit.stages.build import build_module
from physhmr_kit.stages.settings import SuperTrackConfig
from physhmr_kit.stages.supertrack import SuperTrackModule

AFTER = (1, 4, 8, 16, 32)


def without_noise(happened: Windows) -> Windows:
    """The same beginnings, to be followed by the policy's mean."""
    return Windows(
        happened.states,
        happened.targets,
        torch.zeros_like(happened.noise),
        happened.clip,
        happened.frame,
        happened.left,
    )


@torch.no_grad()
def imagined(imagination: Imagination, policy: Policy, module: SuperTrackModule, happened: Windows) -> list[float]:
    """Mean distance over the first K steps, imagined, for each K of `AFTER`."""
    everywhere = torch.full_like(happened.left, len(happened.targets))
    found = []
    for steps in AFTER:
        cut = Windows(
            happened.states[: steps + 1], happened.targets[:steps], happened.noise[:steps], happened.clip, happened.frame,
            everywhere.clamp(max=steps),
        )  # fmt: skip
        found.append(float(imagination.follow(policy, module.model, cut)))
    return found


@torch.no_grad()
def real(
    imagination: Imagination, policy: Policy, module: SuperTrackModule, happened: Windows, simulator
) -> list[float]:
    """The same in the simulator."""
    count = happened.states.shape[2]
    simulator.reset(torch.arange(count), module.model.bodies(happened.states[0]))
    bodies, costs = simulator.state, []
    for step in range(max(AFTER)):
        rows = imagination.library.rows(happened.clip, happened.frame + step + 1)
        ahead = imagination.library.at(rows)
        action = policy.mean(imagination._observe(policy.groups, bodies, ahead, happened.clip, happened.frame + step))
        bodies = simulator.step(residual_target(action, imagination.reference_targets.index_select(0, rows)))
        costs.append(tracking_distance(bodies, ahead).mean())
    costs = torch.stack(costs)
    return [float(costs[:steps].mean()) for steps in AFTER]


def prepare(options: argparse.Namespace) -> SuperTrackModule:
    """A module whose memory is full and whose model has learned."""
    config = SuperTrackConfig(clips=tuple(options.clips), memory=options.rollouts, horizon=64, num_envs=128)
    module = build_module(config)
    obs, _ = module.env.reset()
    for _ in range(options.rollouts):
        obs, seen, _ = module.memory.collect(module.env, module.policy, obs, module.generator)
        module.policy.norm.update(seen)
    single = module.memory.whole(8192, 1, module.generator)
    module.model.fit_linear(single.states[0], single.targets[0], single.states[1])
    optimizer = torch.optim.AdamW(module.model.parameters(), config.model_rate)
    for _ in range(options.model_updates):
        with matmul_precision("medium"):
            loss = module.model.loss(*module._exam(config.minibatch, config.window))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.model.parameters(), config.max_grad_norm)
        optimizer.step()
    return module


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", default=["demo"], help="what to follow")
    parser.add_argument("--rollouts", type=int, default=6, help="of 128 environments and 64 steps")
    parser.add_argument("--model_updates", type=int, default=300)
    parser.add_argument("--updates", type=int, default=30, help="of the policy")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--states", type=int, default=512, help="to measure from")
    options = parser.parse_args(argv)
    module = prepare(options)
    model, memory, config = module.model.requires_grad_(False), module.memory, module.config
    draw = torch.Generator().manual_seed(1)
    exam = without_noise(memory.latest(options.states, max(AFTER), options.rollouts, draw))  # also of bodies soon lost
    simulator = make_simulator("mujoco_cpu", num_envs=options.states)
    print("| learned | updates | | " + " | ".join(f"{k} steps" for k in AFTER) + " |")
    print("|---|---:|---|" + "---:|" * len(AFTER))
    world = (module.env.library, module.imagination.reference_targets, simulator.humanoid)
    alone = Imagination(*world, anchored=False)
    for anchored in (False, True):
        imagination = Imagination(*world, anchored, config.effort)
        policy, name = copy.deepcopy(module.policy), "anchored" if anchored else "model alone"
        optimizer, windows = torch.optim.Adam(policy.parameters(), options.rate), torch.Generator().manual_seed(2)
        for update in range(options.updates + 1):
            if update % max(1, options.updates // 3) == 0:
                for what, values in (
                    ("imagined", imagined(alone, policy, module, exam)),
                    ("real", real(imagination, policy, module, exam, simulator)),
                ):
                    print(
                        f"| {name} | {update} | {what} | " + " | ".join(f"{v:.3f}" for v in values) + " |", flush=True
                    )
            with matmul_precision("medium"):
                happened = memory.latest(config.minibatch, config.lookahead, options.rollouts, windows)
                loss = imagination.follow(policy, model, happened)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()


if __name__ == "__main__":
    main()
