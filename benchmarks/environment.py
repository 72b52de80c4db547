"""Speed of TrackingEnv compared with the bare engine and with gymnasium's AsyncVectorEnv, its scaling, and start-up time.

    python benchmarks/environment.py                              everything, about ten minutes
    python benchmarks/environment.py --quick                      a test run; the numbers mean nothing
    python benchmarks/environment.py --envs 256 --skip peers sizes startup

Four parts, each a Markdown table:

engine   TrackingEnv (actions, observations, rewards, terminations, resets) and a bare `mujoco.rollout.Rollout` with the same
         states, controls and threads. Blocks alternate; ratios are of neighbouring blocks.
peers    TrackingEnv, the same episode as a single gymnasium.Env (single_env.py) under AsyncVectorEnv, and gymnasium's
         Humanoid-v5 under AsyncVectorEnv, each with its best number of processes. Blocks alternate.
sizes    16 to 4096 environments, each in a process of its own: steps/s, and memory per additional environment.
startup  seconds that `python -m physhmr_kit.fit --help` takes.

Actions are residuals of 0.05 x normal noise: most bodies track their clip, some fall, as in training.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: torch's threads must not spin while MuJoCo's work

import mujoco
import mujoco.rollout
import numpy as np

from physhmr_kit.utils.markdown import markdown_table

CORES = os.cpu_count() or 1
PARTS = ("engine", "peers", "sizes", "startup")
SIZES = (16, 64, 256, 1024, 4096)
NOISE = 0.05


# ---- environments and engines


def tracking_env(num_envs: int, clips: tuple[str, ...]):
    """TrackingEnv with the settings of `single_env.EPISODE`."""
    import torch
    from single_env import EPISODE

    from physhmr_kit.env import TrackingEnv
    from physhmr_kit.simulation import make_simulator

    torch.set_num_threads(CORES)
    env = TrackingEnv(library(clips), make_simulator("mujoco_cpu", num_envs=num_envs), EPISODE)
    env.reset(seed=0)
    return env


@functools.cache
def library(clips: tuple[str, ...]):
    """The reference motions."""
    from data_prep.sources import load_clips
    from physhmr_kit.motion.library import MotionLibrary

    return MotionLibrary(load_clips(list(clips)))


class Actions:
    """Small random actions, drawn in advance so that drawing is not timed."""

    def __init__(self, num_envs: int, width: int, scale: float = NOISE, seed: int = 0):
        draw = np.random.default_rng(seed)
        self._actions = (scale * draw.standard_normal((16, num_envs, width))).astype(np.float32)
        self._next = 0

    def __call__(self) -> np.ndarray:
        self._next = (self._next + 1) % len(self._actions)
        return self._actions[self._next]


class Tracking:
    """TrackingEnv with random actions."""

    def __init__(self, num_envs: int, clips: tuple[str, ...]):
        self.env, self.num_envs = tracking_env(num_envs, clips), num_envs
        self._actions = Actions(num_envs, 69)

    def run(self, steps: int) -> None:
        import torch

        for _ in range(steps):
            self.env.step(torch.from_numpy(self._actions()))

    def close(self) -> None:
        self.env.close()


class Async:
    """Single environments in processes of their own, under gymnasium's AsyncVectorEnv (shared memory, its default)."""

    def __init__(self, make: Callable, num_envs: int, scale: float):
        from gymnasium.vector import AsyncVectorEnv

        self.num_envs = num_envs
        # forked workers share the arrays of the task and start at once
        self.env = AsyncVectorEnv([make] * num_envs, context="fork" if hasattr(os, "fork") else None)
        self.env.reset(seed=0)
        self._actions = Actions(num_envs, self.env.single_action_space.shape[0], scale)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.env.step(self._actions())

    def close(self) -> None:
        self.env.close()


class Recorder:
    """Wraps a simulator's Rollout and records its calls.

    A simulator may split the batch of a control step into several calls; `steps` joins them.
    """

    def __init__(self, pool):
        self._pool = pool
        self.calls: list[tuple[np.ndarray, np.ndarray, int, np.ndarray | None, np.ndarray]] = []
        self.seconds = 0.0
        """Time spent on recording, to subtract from the environment's."""

    def rollout(self, models, scratch, physics, control, **options):
        began = time.perf_counter()
        warm = options.get("initial_warmstart")
        given = (physics.copy(), control.copy(), options["nstep"], None if warm is None else warm.copy())
        self.seconds += time.perf_counter() - began
        result = self._pool.rollout(models, scratch, physics, control, **options)
        began = time.perf_counter()
        self.calls.append((*given, options["state"][:, -1].copy()))
        self.seconds += time.perf_counter() - began
        return result

    def __getattr__(self, name: str):
        return getattr(self._pool, name)

    def start(self) -> None:
        self.calls, self.seconds = [], 0.0

    def steps(self, num_envs: int) -> list[tuple[np.ndarray, np.ndarray, int, np.ndarray | None, np.ndarray]]:
        """The inputs of each control step, all environments in one batch: states, controls, physics steps, warm starts; and the
        states at its end."""
        whole, parts = [], []
        for call in self.calls:
            parts.append(call)
            if sum(len(p[0]) for p in parts) < num_envs:
                continue
            physics, control, _, warm, after = (
                None if column[0] is None else column if isinstance(column[0], int) else np.concatenate(column)
                for column in zip(*parts, strict=True)
            )
            whole.append((physics, control, parts[0][2], warm, after))
            parts = []
        if parts or any(len(w[0]) != num_envs for w in whole):
            raise SystemExit("error: the calls of the simulator's Rollout do not add up to whole control steps")
        return whole


class Bare:
    """A bare `mujoco.rollout.Rollout`: outputs allocated once, checks skipped."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, substeps: int):
        threads = min(CORES, num_envs)
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._models = [model] * num_envs
        self._scratch = [mujoco.MjData(model) for _ in range(threads)]
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self.state = np.zeros((num_envs, substeps, size))
        self._sensors = np.zeros((num_envs, substeps, model.nsensordata))

    def step(self, physics, control, nstep, warm) -> None:
        extra = {} if warm is None else {"initial_warmstart": warm}
        self._pool.rollout(
            self._models, self._scratch, physics, control,
            skip_checks=True, nstep=nstep, state=self.state, sensordata=self._sensors, **extra,
        )  # fmt: skip

    def close(self) -> None:
        self._pool.close()


# ---- measurements


def timed(work: Callable, *args) -> float:
    began = time.perf_counter()
    work(*args)
    return time.perf_counter() - began


def block_steps(one, seconds: float) -> int:
    """Number of steps that take about `seconds`, found by trial, which also warms up."""
    one.run(2)
    steps, took = 2, timed(one.run, 2)
    while took < seconds / 8 and steps < 4096:
        steps *= 2
        took = timed(one.run, steps)
    return max(2, round(seconds * steps / took))


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and the range in brackets."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def rate(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def engine(options) -> None:
    """Part 1: speed relative to the bare engine."""
    print(f"\n## Beside the bare engine ({CORES} threads each)\n")
    print("| environments | TrackingEnv steps/s | bare rollout steps/s | TrackingEnv / bare, median (range) | blocks |")
    print("|---:|---:|---:|---:|---|")
    for num_envs in options.envs:
        ours = Tracking(num_envs, options.clips)
        ours.run(options.settle)
        block = block_steps(ours, options.block)
        simulator = ours.env.simulator
        recorder = simulator._pool = Recorder(simulator._pool)
        bare = Bare(simulator.model, num_envs, simulator.substeps)
        env_rates, bare_rates = [], []
        finish = time.perf_counter() + options.seconds
        while len(env_rates) < 3 or time.perf_counter() < finish:
            recorder.start()
            took = timed(ours.run, block) - recorder.seconds
            env_rates.append(block * num_envs / took)
            steps = recorder.steps(num_envs)

            def replay(steps=steps, bare=bare):
                for *given, _ in steps:
                    bare.step(*given)

            bare_rates.append(block * num_envs / timed(replay))
            if not np.array_equal(bare.state[:, -1], steps[-1][-1]):
                raise SystemExit("error: the bare engine and the environment reached different states")
        ratios = [a / b for a, b in zip(env_rates, bare_rates, strict=True)]
        print(
            f"| {num_envs} | {rate(env_rates)} | {rate(bare_rates)} | {spread(ratios)} | {len(ratios)} x {block} steps |",
            flush=True,
        )
        bare.close()
        ours.close()
        gc.collect()


def peers(options) -> None:
    """Part 2: comparison with single environments in processes."""
    from single_env import EPISODE, SingleEnv, make_task

    task = make_task(library(options.clips), EPISODE)
    kinds = {
        "the same episode, single gymnasium.Env": (functools.partial(SingleEnv, task), NOISE, SingleEnv(task).model, 4)
    }
    try:
        from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
    except ImportError as fault:
        print(f"\nHumanoid-v5 is skipped: {fault} (pip install 'gymnasium[mujoco]')")
    else:
        one = HumanoidEnv()
        # a tenth of its range of +-0.4; it falls, as it does early in training
        kinds["gymnasium Humanoid-v5"] = (HumanoidEnv, 0.04, one.model, one.frame_skip)

    print(f"\n## Beside one environment a process (AsyncVectorEnv, {CORES} cores)\n")
    print("Steps/s by number of processes; the best goes into the comparison:\n")
    print("| environment | " + " | ".join(f"{w}" for w in options.workers) + " |")
    print("|---|" + "---:|" * len(options.workers))
    best: dict[str, int] = {}
    for name, (make, scale, _, _) in kinds.items():
        tried = {}
        for workers in options.workers:
            one = Async(make, workers, scale)
            block = block_steps(one, options.block)
            tried[workers] = max(block * workers / timed(one.run, block) for _ in range(2))
            one.close()
        best[name] = max(tried, key=tried.get)
        print(f"| {name} | " + " | ".join(f"{r:,.0f}" for r in tried.values()) + " |", flush=True)

    # fork the processes before TrackingEnv starts threads
    runs = {name: Async(make, best[name], scale) for name, (make, scale, _, _) in kinds.items()}
    ours = {f"TrackingEnv, {n}": Tracking(n, options.clips) for n in options.envs}
    for one in ours.values():
        one.run(options.settle)
    runs |= ours
    blocks = {name: block_steps(one, options.block) for name, one in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    finish = time.perf_counter() + options.seconds * len(runs)
    while len(rates[next(iter(runs))]) < 3 or time.perf_counter() < finish:
        for name, one in runs.items():
            rates[name].append(blocks[name] * one.num_envs / timed(one.run, blocks[name]))

    model = next(iter(ours.values())).env.simulator.model
    sizes = {name: (m.nv, m.nu, skip, m.opt.timestep) for name, (_, _, m, skip) in kinds.items()}
    sizes |= dict.fromkeys(ours, (model.nv, model.nu, 4, model.opt.timestep))
    rows = []
    for name in runs:
        nv, nu, skip, timestep = sizes[name]
        gains = [
            "" if name in ours else spread([a / b for a, b in zip(rates[o], rates[name], strict=True)]) for o in ours
        ]
        rows.append([name, best.get(name, 1), nv, nu, skip, f"{1000 * timestep:.1f}", rate(rates[name]), *gains])
    heads = ["environment", "processes", "nv", "nu", "physics steps each", "of ms", "steps/s"]
    print("\n" + markdown_table([*heads, *(f"{name} is faster by" for name in ours)], rows, "lr"), flush=True)
    for one in runs.values():
        one.close()


def sizes(options) -> None:
    """Part 3: scaling with the number of environments."""
    print("\n## By number of environments (a process each)\n")
    bases = 1 if options.quick else 3  # to see how much equal processes differ
    with ThreadPoolExecutor(2 if options.quick else 1) as one_by_one:  # in parallel only if timing does not matter
        results = [one_by_one.submit(_child, n, options) for n in (*[1] * bases, *options.sizes)]
        alone = [r.result()["resident"] for r in results[:bases]]
        base, doubt = statistics.median(alone), max(alone) - min(alone)
        print("| environments | steps/s | memory for one more, kB | of the whole process, MB |")
        print("|---:|---:|---:|---:|")
        for num_envs, result in zip(options.sizes, results[bases:], strict=True):
            seen = result.result()
            each, unsure = ((x / (num_envs - 1) / 1e3) for x in (seen["resident"] - base, doubt))
            print(
                f"| {num_envs} | {seen['rate']:,.0f} | {each:.0f} ± {unsure:.0f} | {seen['resident'] / 1e6:.0f} |",
                flush=True,
            )
    print(
        f"\nMemory: resident after ten steps, minus that of a process with one environment ({base / 1e6:.0f} MB, median of "
        f"{bases}); ± is the range of these."
    )


def _child(num_envs: int, options) -> dict:
    command = [sys.executable, __file__, "--child", str(num_envs), "--seconds", str(options.seconds)]
    command += ["--block", str(options.block), "--clips", *options.clips]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {num_envs} environments: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def child(num_envs: int, options) -> None:
    """A process of part 3: run ten steps, measure memory, then time blocks."""
    ours = Tracking(num_envs, options.clips)
    ours.run(10)
    gc.collect()
    memory = resident()
    block = block_steps(ours, options.block)
    rates = []
    finish = time.perf_counter() + options.seconds
    while len(rates) < 3 or time.perf_counter() < finish:
        rates.append(block * num_envs / timed(ours.run, block))
    print(json.dumps({"rate": statistics.median(rates), "resident": memory}))


def resident() -> int:
    """Resident memory of this process, bytes; the peak on systems that do not report the current value."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmRSS"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def startup(options) -> None:
    """Part 4: start-up time of the command."""
    print("\n## Start-up\n")
    print("| command | seconds, median (range) |")
    print("|---|---:|")
    for stage in ([],) if options.quick else ([], ["--stage", "expert"]):
        command = [sys.executable, "-m", "physhmr_kit.fit", *stage, "--help"]
        seconds = []
        for _ in range(options.starts):
            seconds.append(timed(functools.partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)))
        print(f"| `python {' '.join(command[1:])}` | {spread(seconds)} |", flush=True)


# ---- the command


def about() -> str:
    """One line that describes the machine and the versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [row.split(":", 1)[1].strip() for row in info.read_text().splitlines() if row.startswith("model name")]
        cpu = names[0] if names else cpu
    load = f"load {os.getloadavg()[0]:.1f} before the start; " if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{p} {version(p)}" for p in ("mujoco", "torch", "numpy", "gymnasium", "physhmr_kit"))
    return f"{cpu}, {CORES} cores; {load}Python {platform.python_version()}, {packages}; {date.today().isoformat()}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--envs", type=int, nargs="+", default=[64, 256, 1024], help="numbers of environments in engine and peers"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of environments in sizes, above 1"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=sorted({CORES, 2 * CORES, 64}), help="of AsyncVectorEnv"
    )
    parser.add_argument("--clips", nargs="+", default=["demo"], help="reference motions")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each row")
    parser.add_argument("--block", type=float, default=1.0, help="seconds per block")
    parser.add_argument("--settle", type=int, default=40, help="steps before timing starts")
    parser.add_argument("--starts", type=int, default=5, help="repetitions in startup")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[], help="parts to leave out")
    parser.add_argument("--quick", action="store_true", help="a test run of 20 s")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.envs, options.sizes, options.workers, options.clips = [8], [16], [2], ["demo:squat"]
        options.seconds, options.block, options.settle, options.starts = 0.2, 0.05, 4, 1
    options.clips = tuple(options.clips)
    if options.child:
        child(options.child, options)
        return
    print("# Speed of the tracking environment\n")
    print(about())
    for name, part in zip(PARTS, (engine, peers, sizes, startup), strict=True):
        if name not in options.skip:
            part(options)


if __name__ == "__main__":
    main()
