"""Training speed of the expert stage compared with the environment alone, and the shares of collecting and updating.

    python benchmarks/training.py                     one process, 256 environments
    python benchmarks/training.py --processes 1 2     one process and two (DDP on gloo), which share the environments
    python benchmarks/training.py --quick             a test run; the numbers mean nothing

Trains `ExpertModule` as `fit` does, without loggers and checkpoints. After each iteration a second environment replays the same
steps alone, so that ratios are of neighbouring measurements. Numbers of processes alternate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads must not spin while MuJoCo's work

import pytorch_lightning as pl
import torch
from environment import about, library, rate, spread

from physhmr_kit.env import TrackingEnv
from physhmr_kit.simulation import make_simulator
from physhmr_kit.simulation.cores import usable_cores
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import PPO, ExpertConfig, Simulation


class Clock(pl.Callback):
    """Seconds of each iteration after the first, of its rollout, and of the same steps in the environment alone."""

    def __init__(self):
        self.rows: list[tuple[float, float, float]] = []

    def on_train_start(self, trainer, module) -> None:
        simulator = make_simulator("mujoco_cpu", num_envs=module.env.num_envs)
        self.twin = TrackingEnv(module.env.library, simulator, module.training_episode)

    def on_train_epoch_start(self, trainer, module) -> None:
        if trainer.current_epoch > 1:
            self.on_train_end(trainer, module)
        if trainer.current_epoch:  # the first iteration resets, and collects twice for the normaliser
            self.state, self.began = module.env.state_dict(), time.perf_counter()

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if batch_idx == 0:  # before the first minibatch: the rollout is complete
            self.collected = time.perf_counter()

    def on_train_end(self, trainer, module) -> None:
        now = time.perf_counter()
        self.twin.load_state_dict(self.state)
        began = time.perf_counter()
        for action in module.collector.batch.action:
            self.twin.step(action)
        self.rows.append((now - self.began, self.collected - self.began, time.perf_counter() - began))
        assert torch.equal(self.twin.frame_ids, module.env.frame_ids), "the replay diverged"


def measure(processes: int, options) -> None:
    """One measurement: prints the rows of `Clock` as JSON. Lightning starts the other processes with the same command."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(max(1, usable_cores() // processes))
    sim, ppo = Simulation("mujoco_cpu", options.envs // processes), PPO(minibatch_size=2048 // processes)
    config, clock = ExpertConfig(options.iterations + 1, sim=sim, ppo=ppo), Clock()
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
    parser.add_argument("--envs", type=int, default=256, help="number of environments, over all processes")
    parser.add_argument("--iterations", type=int, default=8, help="timed iterations per turn, after one for warm-up")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--clips", nargs="+", default=["demo"], help="reference motions")
    parser.add_argument("--quick", action="store_true", help="a test run of two small iterations")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.envs, options.iterations, options.turns, options.clips = 8, 2, 1, ["demo:squat"]
    if options.child:
        return measure(options.child, options)
    print(f"# Speed of PPO, stage expert\n\n{about()}\n\n{options.envs} environments x {PPO.horizon} steps\n")
    rows: dict[int, list] = {n: [] for n in options.processes}
    for _ in range(options.turns):
        for n in options.processes:
            command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv), "--child", str(n)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows[n] += json.loads(done.stdout.splitlines()[-1])
    samples = options.envs * PPO.horizon
    print("| processes | samples/s | collecting % | updating % | environment alone, steps/s | training / alone |")
    print("|---:|---:|---:|---:|---:|---:|")
    for n, timed in rows.items():
        share = 100 * statistics.median(row[1] / row[0] for row in timed)
        ours, alone = ([samples / row[k] for row in timed] for k in (0, 2))
        ratios = spread([a / b for a, b in zip(ours, alone, strict=True)])
        print(f"| {n} | {rate(ours)} | {share:.0f} | {100 - share:.0f} | {rate(alone)} | {ratios} |")


if __name__ == "__main__":
    main()
