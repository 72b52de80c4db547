"""How fast the expert stage trains, beside the environment alone, and how its time is shared between collecting and updating.

    python benchmarks/training.py                     one process, 256 environments
    python benchmarks/training.py --processes 1 2     one process and two (DDP on gloo), the environments divided among them
    python benchmarks/training.py --quick             does it run? (figures of no worth)

Lightning's Trainer drives `ExpertModule` as `fit` does, without loggers and checkpoints. After each iteration a second
environment is put where the first one began and given the same actions: the very same steps are timed with nothing around
them, so ratios are of neighbours. Numbers of processes take turns, each turn in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it: torch's threads must not spin while MuJoCo's work

import pytorch_lightning as pl
import torch
from environment import about, library, rate, spread

from physhmr_kit.env import TrackingEnv
from physhmr_kit.simulation import make_simulator
from physhmr_kit.simulation.cores import usable_cores
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import PPO, ExpertConfig, ExpertPolicy, Simulation


class Clock(pl.Callback):
    """Seconds of each iteration but the first, of its collecting, and of the same steps in the environment alone."""

    def __init__(self):
        self.rows: list[tuple[float, float, float]] = []

    def on_train_epoch_start(self, trainer, module) -> None:
        self.stop(module)
        self.state = module.env.state_dict() if trainer.current_epoch else None
        self.began = time.perf_counter()

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if batch_idx == 0:  # the first minibatch is there: the rollout has been collected
            self.collected = time.perf_counter()

    def on_train_end(self, trainer, module) -> None:
        self.stop(module)
        self.twin.close()

    def stop(self, module) -> None:
        now = time.perf_counter()
        if getattr(self, "state", None) is None:  # the first iteration resets, and rolls out twice for the normaliser
            simulator = make_simulator("mujoco_cpu", num_envs=module.env.num_envs)
            self.twin = TrackingEnv(module.env.library, simulator, module.training_episode)
            return
        self.twin.load_state_dict(self.state)
        began = time.perf_counter()
        for action in module.collector.batch.action:
            self.twin.step(action)
        self.rows.append((now - self.began, self.collected - self.began, time.perf_counter() - began))
        if not torch.equal(self.twin.frame_ids, module.env.frame_ids):
            raise SystemExit("error: the replay went somewhere else than the iteration")


def measure(processes: int, options) -> None:
    """One turn: prints the rows of `Clock` as JSON. Lightning starts the other processes with the same command."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(max(1, usable_cores() // processes))
    config = ExpertConfig(
        iterations=options.iterations + 1, sim=Simulation("mujoco_cpu", options.envs // processes),
        policy=ExpertPolicy(hidden=tuple(options.hidden)),
        ppo=PPO(horizon=options.horizon, minibatch_size=2048 // processes),
    )  # fmt: skip
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu", devices=processes, max_epochs=config.iterations, limit_val_batches=0, callbacks=[clock],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(ExpertModule(config), datamodule=MotionDataModule(library(tuple(options.clips))))
    if trainer.is_global_zero:
        print(json.dumps(clock.rows))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--envs", type=int, default=256, help="of all processes together")
    parser.add_argument("--horizon", type=int, default=PPO.horizon, help="steps of each in an iteration")
    parser.add_argument("--hidden", type=int, nargs="+", default=list(ExpertPolicy.hidden), help="widths of the networks")
    parser.add_argument("--iterations", type=int, default=8, help="to time in a turn, after one to warm up")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--clips", nargs="+", default=["demo"], help="what to follow")
    parser.add_argument("--quick", action="store_true", help="two small iterations: does it run?")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.envs, options.horizon, options.iterations, options.turns, options.clips = 8, 8, 2, 1, ["demo:squat"]
    if options.child:
        measure(options.child, options)
        return
    print(f"# Speed of training (stage expert, PPO)\n\n{about()}\n\n{options.envs} environments x {options.horizon} steps\n")
    rows: dict[int, list] = {n: [] for n in options.processes}
    for _ in range(options.turns):
        for n in options.processes:
            command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv), "--child", str(n)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows[n] += json.loads(done.stdout.splitlines()[-1])
    samples = options.envs * options.horizon
    print("| processes | samples/s | collecting % | updating % | environment alone, steps/s | training / alone, median (range) |")
    print("|---:|---:|---:|---:|---:|---:|")
    for n, timed in rows.items():
        share = 100 * statistics.median(collecting / whole for whole, collecting, _ in timed)
        print(
            f"| {n} | {rate([samples / whole for whole, *_ in timed])} | {share:.0f} | {100 - share:.0f} "
            f"| {rate([samples / alone for *_, alone in timed])} | {spread([alone / whole for whole, _, alone in timed])} |"
        )


if __name__ == "__main__":
    main()
