"""Speed of mujoco_gpu on this GPU: the bare simulator, TrackingEnv on top of it, and whole PPO iterations.

    python benchmarks/gpu.py                    1024, 4096 and 8192 environments
    python benchmarks/gpu.py 512                another number

Prints one row for each number of environments, measured in a process of its own so that memory starts at zero: control steps/s
of all environments together (30 are a second of motion), with 4 physics steps (120 Hz, as in training) and 5 (150 Hz);
samples/s of the expert stage, rollout and updates; and GPU memory of the simulator per environment, including its CUDA graph.

Bodies start in poses of the demo motions and hold them, so most fall and lie on the floor: more contacts than in training.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version

import pytorch_lightning as pl
import torch
from single_env import EPISODE

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingEnv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import Simulator, make_simulator
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import PPO, ExpertConfig, Simulation

SIZES = (1024, 4096, 8192)
WARM, STEPS = 20, 100
ITERATIONS = 5
NOISE = 0.05  # standard deviation of the residual actions, as of the untrained expert


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step, device: torch.device, each: int, warm: int = WARM, steps: int = STEPS) -> float:
    """Items per second, of `each` items per call of `step`."""
    for _ in range(warm):
        step()
    wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return each * steps / (time.perf_counter() - began)


def bare(simulator: Simulator, library: MotionLibrary):
    """A control step of the simulator alone, towards the initial poses."""
    everyone = torch.arange(simulator.num_envs, device=simulator.device)
    start = library.frames(everyone % library.num_clips, torch.zeros_like(everyone))
    simulator.reset(everyone, start)
    targets = start.dof_pos.clone()
    return lambda: simulator.step(targets)


def tracking(simulator: Simulator, library: MotionLibrary):
    """A step of TrackingEnv: actions, physics, observations, rewards, terminations, resets."""
    env = TrackingEnv(library, simulator, EPISODE)
    env.reset()
    actions = NOISE * torch.randn(simulator.num_envs, 69, device=simulator.device)
    return lambda: env.step(actions)


class Clock(pl.Callback):
    """Seconds of the last `ITERATIONS` iterations."""

    def on_train_epoch_start(self, trainer, module) -> None:
        if trainer.current_epoch == 1:  # the first iteration fills the normaliser and compiles kernels
            wait(module.device)
            self.began = time.perf_counter()

    def on_train_end(self, trainer, module) -> None:
        wait(module.device)
        self.seconds = time.perf_counter() - self.began


def ppo_rate(config: ExpertConfig, library: MotionLibrary, accelerator: str) -> float:
    """Samples/s of iterations of the expert stage."""
    clock = Clock()
    pl.Trainer(
        accelerator=accelerator, devices=1, max_epochs=ITERATIONS + 1, limit_val_batches=0, callbacks=[clock], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(ExpertModule(config), datamodule=MotionDataModule(library))  # fmt: skip
    return ITERATIONS * config.sim.num_envs * config.ppo.horizon / clock.seconds


def row(num_envs: int) -> str:
    """A row of the table."""
    device = torch.device("cuda", torch.cuda.current_device())
    library = MotionLibrary(load_clips(["demo"]), device=device)
    make_simulator("mujoco_gpu", num_envs=1).close()  # context and kernels, whose memory does not depend on num_envs
    wait(device)
    before = torch.cuda.mem_get_info(device)[0]
    simulator = make_simulator("mujoco_gpu", num_envs=num_envs)
    simulator.step(torch.zeros(num_envs, 69, device=device))
    wait(device)
    memory = (before - torch.cuda.mem_get_info(device)[0]) / num_envs / 2**20
    four = rate(bare(simulator, library), device, num_envs)
    env = rate(tracking(simulator, library), device, num_envs)
    lost = simulator.counters()["overflowed"]
    simulator.close()
    five = rate(bare(make_simulator("mujoco_gpu", num_envs=num_envs, substeps=5), library), device, num_envs)
    config = ExpertConfig(sim=Simulation("mujoco_gpu", num_envs), ppo=PPO(minibatch_size=num_envs * PPO.horizon // 4))
    samples = ppo_rate(config, library, "gpu")
    return f"| {num_envs} | {four:,.0f} | {five:,.0f} | {env:,.0f} | {samples:,.0f} | {memory:.2f} | {lost} |"


def main(arguments: list[str]) -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return 0
    if arguments[:1] == ["--row"]:
        print(row(int(arguments[1])))
        return 0
    packages = ", ".join(f"{name} {version(name)}" for name in ("mujoco-warp", "warp-lang", "torch"))
    print(f"{torch.cuda.get_device_name()}, {packages}\n")
    print("| environments | steps/s bare, 4 | bare, 5 | TrackingEnv | PPO samples/s | MiB each | overflowed |")
    print("|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    worst = 0
    for size in [int(a) for a in arguments] or SIZES:
        done = subprocess.run([sys.executable, __file__, "--row", str(size)], capture_output=True, text=True)
        worst = max(worst, abs(done.returncode))
        print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stderr, flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
