"""MuJoCo on the CPU: all environments in one call of `mujoco.rollout`'s native thread pool."""

from __future__ import annotations

import os

import mujoco
import mujoco.rollout
import numpy as np
import roma
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, NUM_DOFS, NUM_JOINTS
from physhmr_kit.errors import KitError
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState, Simulator

_MAX_SPEED = 200.0  # rad/s or m/s: past this a body has exploded, whatever the engine still computes


class MujocoCpu(Simulator):
    """`mujoco.rollout.Rollout` behind the Simulator contract.

    One row of a float64 array is one environment (MuJoCo's FULLPHYSICS state: time, qpos, qvel). Nothing else
    survives a call, so that array is all there is to save. Body poses are not returned by the rollout and its
    sensors lag a physics step behind; poses and velocities therefore come from our own forward kinematics.

    Args:
        threads: worker threads; all cores by default.
    """

    name = "mujoco_cpu"
    deterministic = True

    def __init__(
        self,
        humanoid: Humanoid,
        num_envs: int,
        device: str | torch.device | None = None,
        substeps: int = 4,
        threads: int | None = None,
    ):
        if torch.device(device or "cpu").type != "cpu":
            raise KitError(f"simulator mujoco_cpu computes on the CPU, not on '{device}'; take mujoco_gpu for that")
        super().__init__(humanoid, num_envs, "cpu", substeps)
        self.model = mujoco.MjModel.from_xml_string(humanoid.mjcf(self.timestep))
        self._qpos, self._qvel, self._ctrl = dof_addresses(self.model)
        self._contact, self._torque = _sensor_addresses(self.model)
        threads = min(threads or os.cpu_count() or 1, num_envs)
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._scratch = [mujoco.MjData(self.model) for _ in range(threads)]
        self._models = [self.model] * num_envs

        size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        assert size == 1 + self.model.nq + self.model.nv, "the humanoid has no activations or plugins"
        self._physics = np.zeros((num_envs, size))
        self._physics[:, 1 : 1 + self.model.nq] = self.model.qpos0
        self._control = np.zeros((num_envs, substeps, self.model.nu))
        self._states = np.zeros((num_envs, substeps, size))
        self._sensors = np.zeros((num_envs, substeps, self.model.nsensordata))
        self._last_sensors = np.zeros((num_envs, self.model.nsensordata))
        self._diverged = np.zeros(num_envs, bool)
        self._offsets = humanoid.offsets
        self._state: SimState | None = None

    def reset(self, env_ids: torch.Tensor, state: BodyState) -> None:
        rows = env_ids.numpy()
        nq = self.model.nq
        physics = np.zeros((len(rows), self._physics.shape[1]))
        qpos, qvel = physics[:, 1 : 1 + nq], physics[:, 1 + nq :]
        root_rot = state.root_rot.double()
        qpos[:, :3] = state.root_pos.numpy()
        qpos[:, 3:7] = root_rot[:, [3, 0, 1, 2]].numpy()
        qpos[:, self._qpos] = state.dof_pos.numpy()
        qvel[:, :3] = state.body_lin_vel[:, 0].numpy()
        # MuJoCo keeps the angular velocity of a free joint in the body's own frame
        qvel[:, 3:6] = roma.quat_action(roma.quat_conjugation(root_rot), state.body_ang_vel[:, 0].double()).numpy()
        qvel[:, self._qvel] = state.dof_vel.numpy()
        self._physics[rows] = physics
        self._last_sensors[rows] = 0
        self._diverged[rows] = False
        if self._state is not None:
            self._state = self._state.with_rows(env_ids, self._read(rows))

    def step(self, pd_targets: torch.Tensor) -> SimState:
        now = self.state
        bad = ~torch.isfinite(pd_targets).all(1).numpy()
        held = self.humanoid.limit_targets(pd_targets, now.dof_pos, now.dof_vel)
        self._control[:, :, self._ctrl] = np.nan_to_num(held.numpy(), posinf=0.0, neginf=0.0)[:, None]
        before = self._physics[:, 0].copy()
        self._pool.rollout(
            self._models, self._scratch, self._physics, self._control,
            skip_checks=True, nstep=self.substeps, state=self._states, sensordata=self._sensors,
        )  # fmt: skip
        self._physics[:] = self._states[:, -1]
        self._last_sensors[:] = self._sensors[:, -1]
        # a diverged environment is put back to qpos0 by MuJoCo without a word; its clock gives it away
        late = np.abs(self._physics[:, 0] - before - self.substeps * self.timestep) > 0.5 * self.timestep
        fast = np.abs(self._physics[:, 1 + self.model.nq :]).max(1) > _MAX_SPEED
        self._diverged = late | fast | ~np.isfinite(self._physics).all(1) | bad
        self._state = self._read()
        return self._state

    @property
    def state(self) -> SimState:
        if self._state is None:
            self._state = self._read()
        return self._state

    def _read(self, rows=slice(None)) -> SimState:
        nq = self.model.nq
        physics = torch.from_numpy(self._physics[rows].astype(np.float32))
        qpos, qvel = physics[:, 1 : 1 + nq], physics[:, 1 + nq :]
        root_rot = roma.quat_normalize(qpos[:, [4, 5, 6, 3]])
        body = hinge_kinematics(
            qpos[:, :3], root_rot, qvel[:, :3], roma.quat_action(root_rot, qvel[:, 3:6]),
            qpos[:, self._qpos], qvel[:, self._qvel], self._offsets,
        )  # fmt: skip
        sensors = torch.from_numpy(self._last_sensors[rows].astype(np.float32))
        # the sensor reports what the body pushes with; the contract wants what it is pushed by
        contact = -sensors[:, self._contact].view(-1, NUM_JOINTS, 3)
        return SimState(
            body.body_pos, body.body_rot, body.body_lin_vel, body.body_ang_vel, body.dof_pos, body.dof_vel,
            contact, sensors[:, self._torque], torch.from_numpy(self._diverged[rows].copy()),
        )  # fmt: skip

    def save(self) -> dict[str, torch.Tensor]:
        return {
            "physics": torch.from_numpy(self._physics.copy()),
            "sensors": torch.from_numpy(self._last_sensors.copy()),
            "diverged": torch.from_numpy(self._diverged.copy()),
        }

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        self._physics[:] = saved["physics"].numpy()
        self._last_sensors[:] = saved["sensors"].numpy()
        self._diverged[:] = saved["diverged"].numpy()
        self._state = None

    def close(self) -> None:
        self._pool.close()


def dof_addresses(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the kit's 69 dofs in qpos, qvel and ctrl, found by name."""
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    names = [f"{body_of[n[:-2]]}_{n[-1]}" for n in dof_names()]
    joints = [model.joint(n).id for n in names]
    actuators = [model.actuator(n).id for n in names]
    assert len(names) == NUM_DOFS
    return model.jnt_qposadr[joints], model.jnt_dofadr[joints], np.array(actuators)


def _sensor_addresses(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Columns of sensordata with the contact force of each body (24 x 3) and the torque of each dof (69)."""
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    contact = [model.sensor(f"contact_{b}").adr[0] + k for b in BODY_NAMES for k in range(3)]
    torque = [model.sensor(f"torque_{body_of[n[:-2]]}_{n[-1]}").adr[0] for n in dof_names()]
    return np.array(contact), np.array(torque)
