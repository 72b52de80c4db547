"""The contract every simulator meets: physics state in, physics state out, batched. No rewards, no motion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS, NUM_JOINTS
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

CONTROL_DT = 1.0 / 30.0
"""Seconds between two PD targets."""


MAX_SPEED = 200.0
"""rad/s or m/s: beyond this the simulation has diverged, whatever the engine still computes."""


@dataclass(frozen=True)
class SimState(BodyState):
    """What a simulator reports after a control step: a `BodyState` and the forces behind it.

    Body poses and velocities belong to the same instant as the hinges. Forces are those of the last physics step
    (at a reset: zero), because that is what every engine can give.

    Attributes:
        contact_force: (N, 24, 3) net contact force on each body, world frame, N.
        dof_torque: (N, 69) torque of each drive, N m.
        diverged: (N,) bool, the physics of this environment diverged during the step; its state must not be used.
    """

    contact_force: torch.Tensor
    dof_torque: torch.Tensor
    diverged: torch.Tensor


class SimulatorError(KitError):
    """A simulator that failed in the middle of a run: its worker died or its engine stopped.

    The commands print it in one line; the checkpoints written so far are kept.
    """


class Simulator(ABC):
    """N copies of one humanoid on a flat floor, driven by PD targets at 30 Hz. `with` closes it.

    Everything is in the kit's conventions: SMPL joint order, quaternions xyzw, velocities in the world frame; an
    engine with other conventions converts here and nowhere else.
    """

    name: str
    deterministic: bool
    """Same inputs give bit-identical results."""

    def __init__(self, humanoid: Humanoid, num_envs: int, device: str | torch.device, substeps: int = 4):
        if num_envs < 1:
            raise KitError(f"simulator {self.name}: num_envs is {num_envs}; at least one environment is needed")
        if substeps < 1:
            raise KitError(f"simulator {self.name}: substeps is {substeps}; at least one physics step is needed")
        self.humanoid, self.num_envs, self.substeps = humanoid, num_envs, substeps
        self.device = torch.device(device)

    def check_inputs(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> None:
        """The input checks of `step` of every simulator.

        Raises:
            KitError: targets are not (N, 69), pushes not (N, 24, 3).
        """
        if tuple(pd_targets.shape) != (self.num_envs, NUM_DOFS):
            raise KitError(f"targets have shape {tuple(pd_targets.shape)}; expected ({self.num_envs}, {NUM_DOFS})")
        if push is not None and tuple(push.shape) != (self.num_envs, NUM_JOINTS, 3):
            raise KitError(f"pushes have shape {tuple(push.shape)}; expected ({self.num_envs}, {NUM_JOINTS}, 3)")

    @property
    def timestep(self) -> float:
        """Physics step, seconds."""
        return CONTROL_DT / self.substeps

    @abstractmethod
    def reset(self, env_ids: torch.Tensor, state: BodyState, settled: bool = False) -> None:
        """Place some environments; the others are untouched to the last bit.

        Args:
            env_ids: (K,) long, without repeats; none is allowed.
            state: K rows; root pose and velocity (body 0) and the hinges are used, the rest follows from them.
            settled: the bodies of `state` are where its hinges put them already (`MotionLibrary.starts`), so they need
                not be worked out again.
        """

    @abstractmethod
    def step(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> SimState:
        """One control step (`substeps` physics steps) towards hinge targets (N, 69) rad; the new state.

        Args:
            pd_targets: (N, 69) rad.
            push: (N, 24, 3) N, world frame: a force from outside on each body, at its centre of mass, during the whole
                step and no longer. None costs nothing and is the same as zeros, to the bit where `deterministic`.
        """

    @property
    @abstractmethod
    def state(self) -> SimState:
        """The current state, up to date right after a reset too. Its tensors do not change in later steps."""

    @abstractmethod
    def save(self) -> dict[str, torch.Tensor]:
        """Everything needed to continue from here bit-exactly (where `deterministic`)."""

    @abstractmethod
    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Go back to a `save`."""

    def counters(self) -> dict[str, int]:
        """Faults since the simulator was built that did not stop it, by name, e.g. {'overflowed': 3}: the number
        of (environment, control step) pairs. May wait for the device; meant to be read once an iteration."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Release threads, processes and memory; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
