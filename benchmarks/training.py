"""How fast PPO is, as a share of what the environment alone would do, and where the rest of the time goes.

    python benchmarks/training.py                     256 environments, the bundled expert's networks; about two minutes
    python benchmarks/training.py --quick             does it run? (figures of no worth)

Lightning's Trainer drives `ExpertModule` as `fit` does, without loggers, checkpoints and progress bar. After each iteration
a second environment is put where the first one began and given the same actions, so that the very same steps are timed with
nothing around them; iterations and replays alternate, and ratios are of neighbours. The sections are timed by
wrapping the module's methods: each second counts for the innermost one, and the shares add up to 100 %.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # as `fit` has it: torch's threads must not spin while MuJoCo's work

import pytorch_lightning as pl
import torch
from environment import CORES, about, rate, spread

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingEnv
from physhmr_kit.learning import ppo
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.stages.expert import ExpertConfig, ExpertModule

REST = "Lightning's loop and all else"
COLLECT = "collection: buffers and counting"
SEEING = "collection: policy and critic"
UPDATE = "update: forward passes, losses, clipping"


class Sections:
    """Seconds by section. Sections nest; time counts for the innermost alone, so that they add up to the whole."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        self._charge()
        self._open.append(name)

    def leave(self) -> None:
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def wrap(self, owner, method: str, name: str, within: str | None = None) -> None:
        """Count calls of `owner.method` for section `name` while an iteration is timed (and section `within` is open)."""
        original: Callable = getattr(owner, method)

        @functools.wraps(original)
        def counted(*args, **kwargs):
            if not self._open or (within is not None and within not in self._open):
                return original(*args, **kwargs)
            self.enter(name)
            try:
                return original(*args, **kwargs)
            finally:
                self.leave()

        setattr(owner, method, counted)


def watch(module: ExpertModule) -> Sections:
    """Wrap the parts of an iteration."""
    sections = Sections()
    sections.wrap(module.collector, "collect", COLLECT)
    sections.wrap(module.env, "step", "collection: environment")
    for net in (module.policy, module.critic):
        for method in ("flatten", "forward"):
            sections.wrap(net, method, SEEING, within=COLLECT)
        # also where collection goes past `forward`
        sections.wrap(net.net, "forward", SEEING, within=COLLECT)
        sections.wrap(net.norm, "forward", SEEING, within=COLLECT)
        sections.wrap(net.norm, "update", "normalisers")
    for method in ("mean", "sample", "log_prob"):
        sections.wrap(module.policy, method, SEEING, within=COLLECT)
    sections.wrap(ppo, "advantages", "advantages (GAE)")
    sections.wrap(module, "_update", UPDATE)
    sections.wrap(module, "manual_backward", "update: backward passes")
    sections.wrap(module.average, "update_parameters", "running mean of the weights")
    sections.wrap(module, "_log", "figures for the log")
    return sections


class Alternate(pl.Callback):
    """Times every iteration, and after it the same steps of the environment alone."""

    def __init__(self, module: ExpertModule, sections: Sections, twin: TrackingEnv):
        self.sections, self.twin = sections, twin
        self.iterations: list[float] = []
        self.alone: list[float] = []
        self._state: dict = {}
        self._began = 0.0
        self._samples = module.config.num_envs * module.config.horizon

    def on_fit_start(self, trainer, module) -> None:
        self.sections.wrap(trainer.optimizers[0], "step", "update: Adam")

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self._state = module.env.state_dict()
        self._began = time.perf_counter()
        self.sections.enter(REST)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.sections.leave()
        took = time.perf_counter() - self._began
        if batch_idx == 0 and trainer.current_epoch == 0:
            self.sections.seconds.clear()  # it also resets, and rolls out once more for the normaliser
            return
        self.iterations.append(self._samples / took)
        self.twin.load_state_dict(self._state)
        actions = module.collector.batch.action
        began = time.perf_counter()
        for action in actions:
            self.twin.step(action)
        self.alone.append(self._samples / (time.perf_counter() - began))
        here, there = self.twin, module.env
        if not (torch.equal(here.clip_ids, there.clip_ids) and torch.equal(here.frame_ids, there.frame_ids)):
            raise SystemExit("error: the replay went somewhere else than the iteration")


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Per cent of each section, to one decimal, largest first; what rounding leaves over goes to the largest."""
    whole = sum(seconds.values())
    rows = {k: round(100 * v / whole, 1) for k, v in sorted(seconds.items(), key=lambda item: -item[1])}
    first = next(iter(rows))
    rows[first] = round(rows[first] + 100 - sum(rows.values()), 1)
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--horizon", type=int, default=ExpertConfig.horizon, help="steps of each in an iteration")
    parser.add_argument("--iterations", type=int, default=8, help="to time, after one to warm up")
    parser.add_argument("--clips", nargs="+", default=["demo"], help="what to follow")
    parser.add_argument("--matmul", choices=("highest", "high", "medium"), default="highest", help="see ExpertConfig")
    parser.add_argument("--quick", action="store_true", help="two small iterations: does it run?")
    options = parser.parse_args(argv)
    if options.quick:
        options.envs, options.horizon, options.iterations, options.clips = 8, 8, 2, ["demo:squat"]

    # Lightning's hints would land in the middle of the tables
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*no logger.*", ".*LeafSpec.*", ".*in eval mode at the start.*"):
        warnings.filterwarnings("ignore", message=text)
    torch.set_num_threads(CORES)
    header = about()
    policy = load_policy(BUNDLED / "expert.safetensors").train()
    config = ExpertConfig(
        clips=tuple(options.clips), simulator="mujoco_cpu", num_envs=options.envs, horizon=options.horizon,
        hidden=policy.hidden, std=float(policy.std), matmul=options.matmul,
    )  # fmt: skip
    library = MotionLibrary(load_clips(options.clips))
    module = ExpertModule(config, library, policy)
    twin = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=options.envs), config.tracking())
    twin.pd_targets(torch.zeros(options.envs, 69))  # inverse dynamics of the clips, once
    sections = watch(module)
    times = Alternate(module, sections, twin)
    module.iterations_per_epoch = options.iterations + 1
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, callbacks=[times],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module)

    ratios = [a / b for a, b in zip(times.iterations, times.alone, strict=True)]
    network = "-".join(map(str, policy.hidden))
    print("# Speed of training (stage expert, PPO)\n")
    print(header)
    print(
        f"\n{options.envs} environments x {options.horizon} steps an iteration, networks {network}, "
        f"{config.epochs} passes in minibatches of {config.minibatch}\n"
    )
    print("| whole iteration samples/s | environment alone samples/s | share, median (range) | iterations |")
    print("|---:|---:|---:|---:|")
    print(f"| {rate(times.iterations)} | {rate(times.alone)} | {spread(ratios)} | {len(ratios)} |")
    print("\n| where an iteration's time goes | % | ms |")
    print("|---|---:|---:|")
    for name, share in shares(sections.seconds).items():
        print(f"| {name} | {share:.1f} | {1000 * sections.seconds[name] / len(ratios):.1f} |")
    print(f"| together | 100.0 | {1000 * sum(sections.seconds.values()) / len(ratios):.1f} |")
    twin.close()
    module.env.close()


if __name__ == "__main__":
    main()
