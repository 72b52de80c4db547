"""MuJoCo on a GPU: `mujoco_warp` steps all environments in one CUDA graph and shares its memory with torch."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.quaternions import quat_rotate, quat_rotate_inverse
from physhmr_kit.body.skeleton import BODY_NAMES, NUM_DOFS, NUM_JOINTS
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import MAX_SPEED, SimState, Simulator
from physhmr_kit.simulation.mujoco_cpu import body_ids
from physhmr_kit.utils.errors import KitError

try:
    import warp as wp

    wp.config.log_level = 30  # warnings only: no banner, no line for each of a hundred kernels
    import mujoco_warp as mjw

    from physhmr_kit.simulation import warp_kernels as kernels
except ImportError as absent:
    raise KitError(f"simulator mujoco_gpu: {absent}; install it with: pip install -e '.[gpu]'") from absent

OVERFLOW_BITS = int(
    mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ | mjw.OverflowType.BROADPHASE
    | mjw.OverflowType.NARROWPHASE | mjw.OverflowType.CCD | mjw.OverflowType.EPA_HORIZON
)  # fmt: skip
"""Overflow bits of dropped contacts or constraints. The other bits report that the solver reached its iteration limit, as
intended, or concern features that the humanoid does not use."""


class MujocoGpu(Simulator):
    """`mujoco_warp` as a Simulator, in float32.

    A control step launches one CUDA graph and copies nothing from the device: PD targets, all physics steps, contact forces,
    divergence check. The graph is captured in the constructor (also on Warp's CPU device). The first time on a machine Warp
    compiles its kernels, half a minute for the CPU and more for a GPU, and caches them.

    `qpos`, `qvel` and `warmstart` are torch views of Warp's arrays. The contact sensors of the MJCF are removed: each of the
    24 would search all contacts in every physics step, while one pass over the contacts of the last step gives the same
    forces.

    Contacts are pooled: one environment may have more than `nconmax`, but once the pool of `num_envs * nconmax` is full any
    environment may lose some, and all count as overflowed. `njmax` is a limit per environment. Falls of this humanoid reach
    31 contacts and 126 constraint rows.

    On a GPU equal inputs do not give equal bits, because threads add contacts and forces in the order of arrival; on Warp's
    CPU device they do.

    Args:
        device: a CUDA device, by default torch's current one; 'cpu' for tests.
        nconmax: mean number of contacts per environment.
        njmax: constraint rows per environment.
    """

    name = "mujoco_gpu"

    def __init__(
        self,
        humanoid: Humanoid,
        num_envs: int,
        device: str | torch.device | None = None,
        substeps: int = 4,
        nconmax: int = 48,
        njmax: int = 192,
    ):
        super().__init__(humanoid, num_envs, _resolve(device), substeps)
        self.deterministic = self.device.type == "cpu"
        spec = mujoco.MjSpec.from_string(humanoid.mjcf(self.timestep))
        for sensor in list(spec.sensors):
            spec.delete(sensor)
        self.model = spec.compile()
        wp.init()
        self._warp_device = wp.device_from_torch(self.device)
        with wp.ScopedDevice(self._warp_device):
            self._m = mjw.put_model(self.model)
            self._m.opt.warn_overflow = 0  # reported by counters()
            if self._warp_device.is_cuda:  # lets the solver stop early inside a graph; needs CUDA 12.4
                self._m.opt.graph_conditional = wp.is_conditional_graph_supported()
            self._d = mjw.make_data(self.model, nworld=num_envs, nconmax=nconmax, njmax=njmax)
        wp.synchronize_device(self._warp_device)  # torch may use another stream

        self.qpos, self.qvel, self.warmstart = (
            wp.to_torch(a) for a in (self._d.qpos, self._d.qvel, self._d.qacc_warmstart)
        )
        self._wrench, self._pushed = wp.to_torch(self._d.xfrc_applied), False
        self._body_ids = torch.tensor(body_ids(self.model), device=self.device)
        self._time, self._drive = wp.to_torch(self._d.time), wp.to_torch(self._d.actuator_force)
        self._dof_qpos, self._dof_qvel, self._dof_ctrl = (
            torch.as_tensor(a, dtype=torch.int64, device=self.device) for a in dof_addresses(self.model)
        )
        self._offsets = humanoid.offsets.to(self.device)
        self._gains = [g.to(self.device) for g in (humanoid.kp, humanoid.kd, humanoid.torque_limit)]
        self._targets = torch.zeros(num_envs, NUM_DOFS, device=self.device)
        self._contact = torch.zeros(num_envs, NUM_JOINTS, 3, device=self.device)
        self._diverged = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._overflowed = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._wrap()
        self._state = self._read()
        self._graph: wp.Graph | None = self._record()

    def _wrap(self) -> None:
        """Create Warp views of torch tensors, and the buffers of the graph."""
        view = wp.from_torch
        self._in = [view(self._targets), self._d.qpos, self._d.qvel]
        self._places = [view(a.int()) for a in (self._dof_qpos, self._dof_qvel, self._dof_ctrl)]
        self._drives = [view(a) for a in self._gains]
        self._out = view(self._contact, dtype=wp.vec3), view(self._diverged), view(self._overflowed)
        with wp.ScopedDevice(self._warp_device):
            self._contact_ids: wp.array = wp.array(np.arange(self._d.naconmax), dtype=int)
            self._contact_force = wp.zeros(self._d.naconmax, dtype=wp.spatial_vector)
            self._joint_of_geom: wp.array = wp.array(_joint_of_geom(self.model), dtype=int)

    def _physics(self) -> None:
        """One control step from `_targets`, with Warp launches only, so that a graph can capture it."""
        m, d = self._m, self._d
        contact, diverged, overflowed = self._out
        with wp.ScopedDevice(self._warp_device):
            wp.launch(kernels.hold_targets, (d.nworld, NUM_DOFS), [*self._in, *self._places, *self._drives], [d.ctrl])
            for _ in range(self.substeps):
                mjw.step(m, d)
            # contacts and actuator forces are those of the last physics step
            mjw.contact_force(m, d, self._contact_ids, True, self._contact_force)
            contact.zero_()
            found = [d.nacon, d.contact.geom, d.contact.worldid, self._contact_force, self._joint_of_geom]
            wp.launch(kernels.add_contacts, d.naconmax, found, [contact])
            wp.launch(
                kernels.check_worlds,
                d.nworld,
                [*self._in, MAX_SPEED, OVERFLOW_BITS],
                [d.overflow, diverged, overflowed],
            )

    def _record(self) -> wp.Graph:
        """Capture `_physics` as a graph. It holds addresses: afterwards arrays may be written to but not replaced."""
        clean = self.save()
        if self._warp_device.is_cuda:  # Warp uses its own stream
            torch.cuda.synchronize(self.device)
        self._physics()  # compiles and loads the kernels before the capture
        wp.synchronize_device(self._warp_device)
        with wp.ScopedCapture(device=self._warp_device) as capture:
            self._physics()
        self.restore(clean)
        return capture.graph

    def reset(self, env_ids: torch.Tensor, state: BodyState, settled: bool = False) -> None:
        """See `Simulator.reset`. mujoco_warp's `reset_data` builds new kernels in every call and changes the contacts of all
        worlds; only these four arrays persist between steps."""
        env_ids, state = env_ids.to(self.device), state.to(self.device)
        qpos, qvel = self.qpos.new_empty(len(env_ids), self.model.nq), self.qvel.new_empty(len(env_ids), self.model.nv)
        root_rot = state.root_rot
        qpos[:, :3] = state.root_pos
        qpos[:, 3:7] = root_rot.roll(1, dims=1)
        qpos[:, self._dof_qpos] = state.dof_pos
        qvel[:, :3] = state.body_lin_vel[:, 0]
        # MuJoCo stores the angular velocity of a free joint in the body frame
        qvel[:, 3:6] = quat_rotate_inverse(root_rot, state.body_ang_vel[:, 0])
        qvel[:, self._dof_qvel] = state.dof_vel
        self.qpos.index_copy_(0, env_ids, qpos)
        self.qvel.index_copy_(0, env_ids, qvel)
        self.warmstart.index_fill_(0, env_ids, 0.0)
        self._time.index_fill_(0, env_ids, 0.0)
        count = len(env_ids)
        forces = qpos.new_zeros(count, NUM_JOINTS, 3), qpos.new_zeros(count, NUM_DOFS), self._diverged.new_zeros(count)
        fresh = SimState.of(state, *forces) if settled else self._assemble(qpos, qvel, *forces)
        self._state = self._state.with_rows(env_ids, fresh)

    def step(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> SimState:
        self.check_inputs(pd_targets, push)
        assert self._graph is not None, "the simulator is closed"
        self._targets.copy_(pd_targets.detach())
        if push is not None:  # the graph always reads this array; it is zero without pushes
            self._wrench[:, self._body_ids, :3] = push.detach().to(self._wrench)
        elif self._pushed:
            self._wrench.zero_()
        self._pushed = push is not None
        # on torch's stream, for the order with other operations without synchronisation
        stream = wp.stream_from_torch(self.device) if self._warp_device.is_cuda else None
        wp.capture_launch(self._graph, stream=stream)
        self._state = self._read()
        return self._state

    @property
    def state(self) -> SimState:
        return self._state

    def _read(self) -> SimState:
        torque = self._drive[:, self._dof_ctrl]
        return self._assemble(self.qpos, self.qvel, self._contact.clone(), torque, self._diverged.clone())

    def _assemble(self, qpos, qvel, contact, torque, diverged) -> SimState:
        root_rot = torch.nn.functional.normalize(qpos[:, 3:7].roll(-1, dims=1), dim=1)
        body = hinge_kinematics(
            qpos[:, :3], root_rot, qvel[:, :3], quat_rotate(root_rot, qvel[:, 3:6]),
            qpos[:, self._dof_qpos], qvel[:, self._dof_qvel], self._offsets,
        )  # fmt: skip
        return SimState.of(body, contact, torque, diverged)

    def save(self) -> dict[str, torch.Tensor]:
        return {
            "qpos": self.qpos.clone(),
            "qvel": self.qvel.clone(),
            "warmstart": self.warmstart.clone(),  # initial value of the solver; needed for equal bits
            "time": self._time.clone(),
            "contact_force": self._state.contact_force.clone(),
            "dof_torque": self._state.dof_torque.clone(),
            "diverged": self._state.diverged.clone(),
            "overflowed": self._overflowed.clone(),
        }

    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        saved = {name: tensor.to(self.device) for name, tensor in saved.items()}
        self.qpos.copy_(saved["qpos"])
        self.qvel.copy_(saved["qvel"])
        self.warmstart.copy_(saved["warmstart"])
        self._time.copy_(saved["time"])
        self._overflowed.copy_(saved["overflowed"])
        forces = (saved[name].clone() for name in ("contact_force", "dof_torque", "diverged"))
        self._state = self._assemble(self.qpos, self.qvel, *forces)

    def counters(self) -> dict[str, int]:
        """'overflowed': contacts or constraints were dropped because `nconmax` or `njmax` is too small."""
        return {"overflowed": int(self._overflowed)}

    def close(self) -> None:
        self._graph = None


def _resolve(device: str | torch.device | None) -> torch.device:
    device = torch.device(device or "cuda")
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise KitError(f"simulator mujoco_gpu computes on a CUDA device, not on '{device}'; use mujoco_cpu")
    if not torch.cuda.is_available():
        raise KitError(
            "simulator mujoco_gpu: there is no CUDA device; use --simulator mujoco_cpu (with device='cpu' it runs on the CPU, "
            "slowly, for tests)"
        )
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _joint_of_geom(model: mujoco.MjModel) -> np.ndarray:
    """SMPL joint of each geom; -1 for the floor."""
    names = [model.body(body).name for body in model.geom_bodyid]
    return np.array([BODY_NAMES.index(name) if name in BODY_NAMES else -1 for name in names])
