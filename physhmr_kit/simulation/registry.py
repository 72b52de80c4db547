"""Simulators by name, imported only when asked for."""

from __future__ import annotations

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.errors import KitError
from physhmr_kit.simulation.contract import Simulator

SIMULATORS = ("auto", "mujoco_cpu")
"""What `--simulator` accepts. mujoco_gpu (mujoco_warp) and isaac_gym are planned and not here yet."""


def make_simulator(
    name: str = "auto", humanoid: Humanoid | None = None, num_envs: int = 1, device="cpu", substeps: int = 4, **options
) -> Simulator:
    """Build a simulator.

    Args:
        name: one of `SIMULATORS`; 'auto' takes the fastest that works here (today: mujoco_cpu).
        humanoid: the body; the mean shape when omitted.
        num_envs: copies simulated side by side.
        substeps: physics steps for each 30 Hz control step.
        options: passed on to the simulator, e.g. threads=1.

    Raises:
        KitError: unknown name.
    """
    if name not in SIMULATORS:
        raise KitError(f"unknown simulator '{name}'; choose one of: {', '.join(SIMULATORS)}")
    from physhmr_kit.simulation.mujoco_cpu import MujocoCpu

    return MujocoCpu(humanoid or Humanoid.mean(), num_envs, device, substeps, **options)
