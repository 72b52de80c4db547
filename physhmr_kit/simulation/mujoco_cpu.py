"""MuJoCo on the CPU: `mujoco.rollout` steps all environments in one call, on native threads."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property

import mujoco
import mujoco.rollout
import numpy as np
import torch

from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.quaternions import quat_rotate_inverse
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, NUM_DOFS, NUM_JOINTS
from physhmr_kit.motion.kinematics import coordinate_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import MAX_SPEED, SimState, Simulator
from physhmr_kit.simulation.cores import usable_cores
from physhmr_kit.utils.errors import KitError

_READINGS = 3 * NUM_JOINTS + NUM_DOFS  # sensor readings per environment


class MujocoCpu(Simulator):
    """`mujoco.rollout.Rollout` as a Simulator.

    The state is one float64 row per environment (MuJoCo's FULLPHYSICS state: time, qpos, qvel). Rollouts do not return body
    poses, and their sensors lag one physics step behind; poses and velocities therefore come from our forward kinematics.

    Args:
        threads: worker threads; by default all cores available to the process.
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
            raise KitError(f"simulator mujoco_cpu computes on the CPU, not on '{device}'; use mujoco_gpu")
        super().__init__(humanoid, num_envs, "cpu", substeps)
        self.model = mujoco.MjModel.from_xml_string(humanoid.mjcf(self.timestep))
        threads = min(threads or usable_cores(), num_envs)
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._scratch = [mujoco.MjData(self.model) for _ in range(threads)]
        self._models = [self.model] * num_envs
        self._offsets = humanoid.offsets

        size = mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        assert size == 1 + self.model.nq + self.model.nv, "the humanoid has no activations or plugins"
        # for a model of this size, warm starts and islands cost more than they save (one sixth of the total time), and the
        # solver converges to the same forces without them
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART | mujoco.mjtDisableBit.mjDSBL_ISLAND
        self._order = _coordinate_order(self.model)
        self._back = torch.argsort(torch.cat([torch.zeros(1, dtype=torch.long), self._order]))
        assert (dof_addresses(self.model)[2] == np.arange(NUM_DOFS)).all(), (
            "the MJCF lists the drives in the kit's order"
        )
        self._reports = _sensor_order(self.model)
        # input and output of the engine
        rows = lambda *shape: torch.zeros(num_envs, *shape, dtype=torch.float64)  # noqa: E731
        self._physics, self._control = rows(size), rows(substeps, self.model.nu)
        self._states, self._sensors = rows(substeps, size), rows(substeps, self.model.nsensordata)
        self._physics[:, 0] = 1
        self._physics[:, 1 : 1 + self.model.nq] = torch.from_numpy(self.model.qpos0)
        self._state = self._read(self._physics, rows(_READINGS).float(), rows().bool())

    def reset(self, env_ids: torch.Tensor, state: BodyState, settled: bool = False) -> None:
        root_rot = torch.nn.functional.normalize(state.root_rot, dim=1)
        # MuJoCo stores the angular velocity of a free joint in the body frame
        ang_vel = quat_rotate_inverse(root_rot, state.body_ang_vel[:, 0])
        time = torch.ones(len(env_ids), 1)  # MuJoCo resets that of a diverged environment to 0
        parts = (time, state.root_pos, root_rot, state.dof_pos, state.body_lin_vel[:, 0], ang_vel, state.dof_vel)
        physics = torch.cat(parts, dim=1).index_select(1, self._back).double()
        self._physics.index_copy_(0, env_ids, physics)
        readings = torch.zeros(len(env_ids), _READINGS)
        if settled:
            fresh = self._assemble(state, readings, torch.zeros(len(env_ids), dtype=torch.bool))
        else:
            fresh = self._read(physics, readings, ~physics.sum(1).isfinite())
        self._state = self._state.with_rows(env_ids, fresh)

    def step(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> SimState:
        self.check_inputs(pd_targets, push)
        bad = ~pd_targets.sum(1).isfinite()
        held = self.humanoid.limit_targets(pd_targets, self._state.dof_pos, self._state.dof_vel)
        held = held.nan_to_num(posinf=0.0, neginf=0.0)
        self._control.copy_(held.unsqueeze(1))
        control, spec = self._control.numpy(), mujoco.mjtState.mjSTATE_CTRL
        if push is not None:
            control, spec = self._with_push(push), spec | mujoco.mjtState.mjSTATE_XFRC_APPLIED
        self._pool.rollout(
            self._models, self._scratch, self._physics.numpy(), control,
            control_spec=int(spec), skip_checks=True, nstep=self.substeps, state=self._states.numpy(), sensordata=self._sensors.numpy(),
        )  # fmt: skip
        # MuJoCo silently resets a diverged environment to qpos0, and its time to 0
        late = self._states[:, -1, 0] - self._physics[:, 0] < (self.substeps - 0.5) * self.timestep
        self._physics.copy_(self._states[:, -1])
        readings = self._sensors[:, -1].float().index_select(1, self._reports)
        self._state = self._read(self._physics, readings, late | bad)
        return self._state

    @property
    def state(self) -> SimState:
        return self._state

    @cached_property
    def _pushed_control(self) -> np.ndarray:
        """(N, substeps, nu + 6 nbody): controls, then the wrench on each body. Allocated at the first push."""
        return np.zeros((self.num_envs, self.substeps, self.model.nu + 6 * self.model.nbody))

    def _with_push(self, push: torch.Tensor) -> np.ndarray:
        """The engine's input with forces (N, 24, 3) N on the bodies in addition to the controls."""
        rows, nu = self._pushed_control, self.model.nu
        rows[:, :, :nu] = self._control.numpy()
        wrenches = rows[:, :, nu:].reshape(self.num_envs, self.substeps, self.model.nbody, 6)  # a view
        wrenches[:, :, body_ids(self.model), :3] = push.detach().cpu().numpy()[:, None]
        return rows

    def _read(self, physics: torch.Tensor, readings: torch.Tensor, diverged: torch.Tensor) -> SimState:
        """Convert K rows of physics (K, 152) and sensor readings (see `_sensor_order`) to a `SimState`."""
        columns = physics.T.to(torch.float32, memory_format=torch.contiguous_format).index_select(0, self._order)
        body = coordinate_kinematics(columns, self._offsets)
        exploded = ~(columns[-NUM_DOFS - 6 :].abs().amax(0) < MAX_SPEED)  # NaN compares false
        return self._assemble(body, readings, diverged | exploded)

    @staticmethod
    def _assemble(body: BodyState, readings: torch.Tensor, diverged: torch.Tensor) -> SimState:
        contact, torque = readings.split([3 * NUM_JOINTS, NUM_DOFS], dim=1)
        # the sensor reports the force exerted by the body, `SimState` the force on it
        return SimState.of(body, -contact.unflatten(1, (NUM_JOINTS, 3)), torque, diverged)

    def save(self) -> dict[str, torch.Tensor]:
        reported = {f.name: getattr(self._state, f.name).clone() for f in fields(SimState)}
        return {"physics": self._physics.clone(), **reported}

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        self._physics.copy_(saved["physics"])
        self._state = SimState(**{f.name: saved[f.name].clone() for f in fields(SimState)})

    def close(self) -> None:
        self._pool.close()


def body_ids(model: mujoco.MjModel) -> list[int]:
    """MuJoCo ids of the 24 bodies in SMPL order."""
    return [model.body(name).id for name in BODY_NAMES]


def _coordinate_order(model: mujoco.MjModel) -> torch.Tensor:
    """Columns of MuJoCo's state (time, qpos, qvel) in the order of `coordinate_kinematics`: (151,)."""
    qpos, qvel, _ = dof_addresses(model)
    root = [1, 2, 3, 5, 6, 7, 4]  # position, then the quaternion from wxyz to xyzw
    first = 1 + model.nq
    return torch.tensor([*root, *(1 + qpos), *range(first, first + 6), *(first + qvel)])


def _sensor_order(model: mujoco.MjModel) -> torch.Tensor:
    """Columns of sensordata with the contact force of each body (24 x 3), then the torque of each dof (69)."""
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    contact = [model.sensor(f"contact_{b}").adr[0] + k for b in BODY_NAMES for k in range(3)]
    torque = [model.sensor(f"torque_{body_of[n[:-2]]}_{n[-1]}").adr[0] for n in dof_names()]
    return torch.tensor([*contact, *torque])
