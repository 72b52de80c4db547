"""Cost of MuJoCo's warm starts and island search for the humanoid, and how much the states change without them.

    python benchmarks/solver_flags.py            half a minute on two cores

Records states and controls of an exploring expert (256 environments, demo motions, 0.05 x normal noise) and replays them with a
bare `mujoco.rollout.Rollout` under several settings, which alternate. `mujoco_cpu` uses the last row but one.
"""

from __future__ import annotations

import argparse
import statistics

import mujoco
import numpy as np
import torch
from environment import Bare, Recorder, library, spread, timed

from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.markdown import markdown_table

_FLAG = mujoco.mjtDisableBit
_BOTH = _FLAG.mjDSBL_WARMSTART | _FLAG.mjDSBL_ISLAND
SETTINGS = {
    "default": (0, 1e-8),
    "no warm starts": (_FLAG.mjDSBL_WARMSTART, 1e-8),
    "no islands": (_FLAG.mjDSBL_ISLAND, 1e-8),
    "neither (mujoco_cpu)": (_BOTH, 1e-8),
    "neither, solver tolerance 1e-5 instead of 1e-8": (_BOTH, 1e-5),
}
"""Label -> disabled features and solver tolerance."""


def engine(simulator, flags: int, tolerance: float) -> Bare:
    """The bare engine with the simulator's model and other solver settings."""
    model = mujoco.MjModel.from_xml_string(simulator.humanoid.mjcf(simulator.timestep))
    model.opt.disableflags, model.opt.tolerance = int(flags), tolerance
    return Bare(model, simulator.num_envs, simulator.substeps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="recorded control steps, after 20 that are not")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    simulator = make_simulator("mujoco_cpu", num_envs=options.envs)
    env = TrackingEnv(library(("demo",)), simulator, TrackingConfig())
    env.reset(seed=0)
    recorder = simulator._pool = Recorder(simulator._pool)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20 + options.steps):
        env.step(0.05 * torch.randn(options.envs, 69, generator=draw))
    record = [(physics, control, nstep) for physics, control, nstep, _, _ in recorder.steps(options.envs)[20:]]

    def replay(bare: Bare) -> None:
        for step in record:
            bare.step(*step, None)

    engines = {name: engine(simulator, *setting) for name, setting in SETTINGS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name, bare in engines.items():
            seconds[name].append(timed(replay, bare))
    rows = []
    for name, bare in engines.items():
        rate = options.envs * len(record) / statistics.median(seconds[name])
        gains = [a / b for a, b in zip(seconds["default"], seconds[name], strict=True)]
        change = np.abs(bare.state - engines["default"].state)[:, -1, 1 : 1 + simulator.model.nq].max()
        rows.append((name, f"{rate:,.0f}", spread(gains), f"{change:.1e}"))
    print(f"{options.envs} environments, {len(record)} control steps, {options.rounds} rounds\n")
    heads = (
        "flags",
        "steps/s",
        "relative to default, median (range)",
        "largest change of a coordinate per step, rad or m",
    )
    print(markdown_table(heads, rows, "lr"))
    env.close()


if __name__ == "__main__":
    main()
