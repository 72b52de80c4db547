"""Simulators by name, imported on use, and the choice made by `--simulator auto`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:
    import torch

    from physhmr_kit.body.humanoid import Humanoid
    from physhmr_kit.simulation.contract import Simulator

_CLASSES = {
    "mujoco_cpu": ("physhmr_kit.simulation.mujoco_cpu", "MujocoCpu"),
    "mujoco_gpu": ("physhmr_kit.simulation.mujoco_gpu", "MujocoGpu"),
    "isaac_gym": ("physhmr_kit.simulation.isaac.simulator", "IsaacGym"),
}

SIMULATORS = ("auto", *_CLASSES)
"""Values of `--simulator`."""

ISAAC_PYTHON = "PHYSHMR_ISAACGYM_PYTHON"
"""Environment variable with the path of the Python 3.8 interpreter in which Isaac Gym is installed."""


@dataclass(frozen=True)
class Choice:
    """A simulator and the reason for choosing it."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"simulator {self.name}: {self.why}"


def choose_simulator(name: str = "auto") -> Choice:
    """Resolve a simulator name. 'auto' is isaac_gym if its interpreter is configured, else mujoco_gpu if there is a CUDA device,
    else mujoco_cpu.

    Raises:
        KitError: unknown name.
    """
    if name not in SIMULATORS:
        raise KitError(f"unknown simulator '{name}'; choose one of: {', '.join(SIMULATORS)}")
    if name != "auto":
        return Choice(name, "requested")
    if python := os.environ.get(ISAAC_PYTHON):
        return Choice("isaac_gym", f"{ISAAC_PYTHON} names {python}")
    import torch

    if not torch.cuda.is_available():
        return Choice("mujoco_cpu", f"{ISAAC_PYTHON} is not set and there is no CUDA device")
    if importlib.util.find_spec("mujoco_warp") is None:
        return Choice("mujoco_cpu", "there is a CUDA device, but mujoco_warp is not installed: pip install -e '.[gpu]'")
    return Choice("mujoco_gpu", f"CUDA device {torch.cuda.get_device_name(0)}")


def accelerator_of(name: str = "auto") -> str:
    """Lightning's accelerator for a simulator on this machine: 'gpu' or 'cpu'.

    Raises:
        KitError: unknown name.
    """
    import torch

    return "gpu" if choose_simulator(name).name != "mujoco_cpu" and torch.cuda.is_available() else "cpu"


def make_simulator(
    name: str = "auto",
    humanoid: Humanoid | None = None,
    num_envs: int = 1,
    device: str | torch.device | None = None,
    substeps: int = 4,
    **options,
) -> Simulator:
    """Build a simulator.

    Args:
        name: one of `SIMULATORS`; see `choose_simulator` for 'auto'.
        humanoid: by default of the mean shape.
        num_envs: number of environments.
        device: of the tensors; by default where the simulator computes (the CPU for mujoco_cpu, a CUDA device for
            mujoco_gpu). mujoco_gpu also runs, slowly, with device='cpu'.
        substeps: physics steps per 30 Hz control step.
        options: passed to the simulator, e.g. threads=1.

    Raises:
        KitError: unknown name, a missing package or device, or invalid sizes.
    """
    from physhmr_kit.body.humanoid import Humanoid

    module, cls = _CLASSES[choose_simulator(name).name]
    return getattr(importlib.import_module(module), cls)(
        humanoid or Humanoid.mean(), num_envs, device, substeps, **options
    )
