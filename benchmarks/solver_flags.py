"""What MuJoCo's warm starts and island search cost the humanoid, and what leaving them out changes.

    python benchmarks/solver_flags.py            half a minute on two cores

Records the states and controls of an exploring expert (256 environments, demo motions, 0.05 x normal noise), then runs a bare
`mujoco.rollout.Rollout` over them with several settings, in turns. `mujoco_cpu` uses the last row but one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mujoco
import mujoco.rollout
import numpy as np
import torch

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

_FLAG = mujoco.mjtDisableBit
SETTINGS = {
    "default": (0, None),
    "no warm starts": (_FLAG.mjDSBL_WARMSTART, None),
    "no islands": (_FLAG.mjDSBL_ISLAND, None),
    "neither (mujoco_cpu)": (_FLAG.mjDSBL_WARMSTART | _FLAG.mjDSBL_ISLAND, None),
    "neither, solver tolerance 1e-5 instead of 1e-8": (_FLAG.mjDSBL_WARMSTART | _FLAG.mjDSBL_ISLAND, 1e-5),
}


class Bare:
    """A Rollout with one setting, outputs allocated once."""

    def __init__(self, simulator, flags: int, tolerance: float | None):
        self.model = mujoco.MjModel.from_xml_string(simulator.humanoid.mjcf(simulator.timestep))
        self.model.opt.disableflags = int(flags)
        if tolerance is not None:
            self.model.opt.tolerance = tolerance
        n, steps, cores = simulator.num_envs, simulator.substeps, os.cpu_count() or 1
        self.pool, self.models = mujoco.rollout.Rollout(nthread=cores), [self.model] * n
        self.scratch = [mujoco.MjData(self.model) for _ in range(cores)]
        self.states = np.zeros((n, steps, mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
        self.sensors = np.zeros((n, steps, self.model.nsensordata))

    def run(self, record) -> float:
        """Seconds for all recorded control steps; `states` holds the last one's."""
        began = time.perf_counter()
        for physics, control in record:
            self.pool.rollout(
                self.models, self.scratch, physics, control,
                skip_checks=True, nstep=control.shape[1], state=self.states, sensordata=self.sensors,
            )  # fmt: skip
        return time.perf_counter() - began


class Recorder:
    """Stands in for the simulator's Rollout and keeps what it is given."""

    def __init__(self, pool):
        self.pool, self.calls = pool, []

    def rollout(self, models, scratch, physics, control, **options):
        self.calls.append((physics.copy(), control.copy()))
        return self.pool.rollout(models, scratch, physics, control, **options)

    def close(self):
        self.pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="control steps that are recorded, after 20 that are not")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    simulator = make_simulator("mujoco_cpu", num_envs=options.envs)
    env = TrackingEnv(MotionLibrary(load_clips(["demo"])), simulator, TrackingConfig())
    env.reset(seed=0)
    recorder = simulator._pool = Recorder(simulator._pool)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20 + options.steps):
        env.step(0.05 * torch.randn(options.envs, 69, generator=draw))
    record = recorder.calls[20:]

    engines = {name: Bare(simulator, *setting) for name, setting in SETTINGS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            seconds[name].append(engine.run(record))
    nq = simulator.model.nq
    print(f"{options.envs} environments, {len(record)} control steps, {options.rounds} rounds\n")
    print(
        "| flags | steps/s | beside the default, median (range) | largest change of a coordinate after one control step, rad or m |"
    )
    print("|---|---:|---:|---:|")
    for name, engine in engines.items():
        gains = [a / b for a, b in zip(seconds["default"], seconds[name], strict=True)]
        change = np.abs(engine.states - engines["default"].states)[:, -1, 1 : 1 + nq].max()
        rate = options.envs * len(record) / statistics.median(seconds[name])
        print(
            f"| {name} | {rate:,.0f} | {statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}) | {change:.1e} |"
        )
    env.close()


if __name__ == "__main__":
    main()
