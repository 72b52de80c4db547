"""The batched interface that every simulator implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Self

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS, NUM_JOINTS
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

CONTROL_DT = 1.0 / 30.0
"""Seconds between two PD targets."""

MAX_SPEED = 200.0
"""rad/s or m/s; a state with larger velocities counts as diverged."""


@dataclass(frozen=True)
class SimState(BodyState):
    """State after a control step: a `BodyState` and forces.

    Body poses and velocities belong to the same instant as the hinge angles. Forces are those of the last physics step
    (zero after a reset), which every engine can report.

    Attributes:
        contact_force: (N, 24, 3) net contact force on each body, world frame, N.
        dof_torque: (N, 69) torque of each drive, N m.
        diverged: (N,) bool, the physics of this environment diverged during the step; do not use its state.
    """

    contact_force: torch.Tensor
    dof_torque: torch.Tensor
    diverged: torch.Tensor

    @classmethod
    def of(cls, body: BodyState, contact_force: torch.Tensor, dof_torque: torch.Tensor, diverged: torch.Tensor) -> Self:
        """The state of bodies with these forces."""
        motion = {f.name: getattr(body, f.name) for f in fields(BodyState)}
        return cls(**motion, contact_force=contact_force, dof_torque=dof_torque, diverged=diverged)


class SimulatorError(KitError):
    """A simulator failed during a run: its worker process died or its engine stopped. Checkpoints are kept."""


class Simulator(ABC):
    """N copies of one humanoid on a flat floor, driven by PD targets at 30 Hz. A context manager: `with` closes it.

    States use the kit's conventions: SMPL joint order, quaternions xyzw, velocities in the world frame. Subclasses convert
    from and to those of the engine.
    """

    name: str
    deterministic: bool
    """Whether equal inputs give bit-identical results."""

    def __init__(self, humanoid: Humanoid, num_envs: int, device: str | torch.device, substeps: int = 4):
        if num_envs < 1:
            raise KitError(f"simulator {self.name}: num_envs is {num_envs}; at least one environment is needed")
        if substeps < 1:
            raise KitError(f"simulator {self.name}: substeps is {substeps}; at least one physics step is needed")
        self.humanoid, self.num_envs, self.substeps = humanoid, num_envs, substeps
        self.device = torch.device(device)

    def check_inputs(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> None:
        """Check the inputs of `step`.

        Raises:
            KitError: targets are not (N, 69), pushes not (N, 24, 3).
        """
        if tuple(pd_targets.shape) != (self.num_envs, NUM_DOFS):
            raise KitError(f"targets have shape {tuple(pd_targets.shape)}; expected ({self.num_envs}, {NUM_DOFS})")
        if push is not None and tuple(push.shape) != (self.num_envs, NUM_JOINTS, 3):
            raise KitError(f"pushes have shape {tuple(push.shape)}; expected ({self.num_envs}, {NUM_JOINTS}, 3)")

    @property
    def timestep(self) -> float:
        """Length of a physics step, seconds."""
        return CONTROL_DT / self.substeps

    @abstractmethod
    def reset(self, env_ids: torch.Tensor, state: BodyState, settled: bool = False) -> None:
        """Set the state of some environments; the others stay bit-identical.

        Args:
            env_ids: (K,) long, without repetitions; may be empty.
            state: K rows; root pose and velocity (body 0) and the hinges are used.
            settled: the body poses of `state` already agree with its hinges (`MotionLibrary.starts`), so forward kinematics
                can be skipped.
        """

    @abstractmethod
    def step(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> SimState:
        """Simulate one control step (`substeps` physics steps); returns the new state.

        Args:
            pd_targets: (N, 69) hinge targets, rad.
            push: (N, 24, 3) N, world frame: an external force on each body, at its centre of mass, for this step only. None
                is the same as zeros, to the bit where `deterministic`, and costs nothing.
        """

    @property
    @abstractmethod
    def state(self) -> SimState:
        """The current state, also right after a reset. Later steps do not modify its tensors."""

    @abstractmethod
    def save(self) -> dict[str, torch.Tensor]:
        """Everything needed to continue from the current state, bit-exactly where `deterministic`."""

    @abstractmethod
    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        """Restore a state returned by `save`."""

    def counters(self) -> dict[str, int]:
        """Number of (environment, control step) pairs with a non-fatal fault so far, e.g. {'overflowed': 3}. May synchronise
        with the device; call it once per iteration."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Release threads, processes and memory. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
