"""Isaac Gym Preview 4 as a Simulator, in a worker process of another interpreter."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import roma
import torch

from physhmr_kit.body.hinges import dof_limits
from physhmr_kit.body.humanoid import ARMATURE, Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES, NUM_DOFS, NUM_JOINTS, STANDING, standing_height
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import MAX_SPEED, SimState, Simulator, SimulatorError
from physhmr_kit.simulation.isaac.asset import DRIVE_NAMES, excluded_pairs, filter_bits, isaac_mjcf
from physhmr_kit.simulation.isaac.joints import (
    hinge_to_joint_velocity,
    hinges_to_vectors,
    joint_to_hinge_torque,
    joint_to_hinge_velocity,
    nearest_vectors,
    vectors_to_hinges,
)
from physhmr_kit.simulation.isaac.process import WorkerProcess, isaac_interpreter
from physhmr_kit.utils.errors import KitError

_IN_THE_AIR = 20.0
_SAVED = ("root", "dof", "contact", "torque", "diverged")


class IsaacGym(Simulator):
    """Isaac Gym (PhysX) in a worker process, run by the interpreter set in PHYSHMR_ISAACGYM_PYTHON.

    The worker computes on a CUDA device if it has one, else on the CPU. States are exchanged in shared memory on the CPU; with
    device='cuda' they are copied to the GPU for the policy.

    Arrays on this side hold Isaac Gym's values (root (13,); rotation vector and velocity of each drive) in SMPL joint order.
    Body poses come from the kit's forward kinematics, because the engine's are stale after a reset. Resets are queued; the
    worker applies them just before it simulates.

    Args:
        device: of states and targets; the CPU by default.
        start_timeout: seconds for each request during the start (the first import of gymtorch compiles an extension).
        step_timeout: seconds for a control step.

    Raises:
        KitError: the interpreter is not set, cannot be run, or lacks Isaac Gym.
        SimulatorError: the engine imports the asset as a different body; later, the worker died or does not answer.
    """

    name = "isaac_gym"
    deterministic = False

    def __init__(
        self,
        humanoid: Humanoid,
        num_envs: int,
        device: str | torch.device | None = None,
        substeps: int = 4,
        start_timeout: float = 600.0,
        step_timeout: float = 120.0,
    ):
        super().__init__(humanoid, num_envs, device or "cpu", substeps)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise KitError(f"isaac_gym: device '{device}' was requested, but torch finds no CUDA device; leave it out")
        self._step_timeout = step_timeout
        self._offsets = humanoid.offsets.to(self.device, torch.float64)
        python = isaac_interpreter()
        layout = {
            "set_root": ("float32", (num_envs, 13)), "set_dof": ("float32", (num_envs, NUM_DOFS, 2)),
            "pending": ("uint8", (num_envs,)), "target": ("float32", (num_envs, NUM_DOFS)),
            "root": ("float32", (num_envs, 13)), "dof": ("float32", (num_envs, NUM_DOFS, 2)),
            "contact": ("float32", (num_envs, NUM_JOINTS, 3)), "torque": ("float32", (num_envs, NUM_DOFS)),
            "bodies": ("float32", (num_envs, NUM_JOINTS, 13)), "push": ("float32", (num_envs, NUM_JOINTS, 3)),
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "humanoid.xml").write_text(isaac_mjcf(humanoid))
            setup = {
                "num_envs": num_envs, "timestep": self.timestep, "asset_folder": folder, "asset_file": "humanoid.xml",
                "need_cuda": self.device.type == "cuda", "device_index": self.device.index or 0,
            }  # fmt: skip
            try:
                self._worker = WorkerProcess(python, setup, layout, start_timeout)
                names = self._worker.ask("load", start_timeout)
            except SimulatorError as fault:
                raise KitError(
                    f"{fault}; try: {python} -c 'import isaacgym' (docs/isaac_gym.md has the set-up)"
                ) from None
        try:
            self._drives = torch.tensor(_places(DRIVE_NAMES, names["dofs"], "drive"))
            self._bodies = torch.tensor(_places(BODY_NAMES, names["bodies"], "body"))
            report = self._build(names["bodies"], start_timeout)
            self._arrays = {k: torch.from_numpy(v) for k, v in self._worker.arrays.items()}
            self.deterministic = report["standin"]
            self._clear()
            self._check_body(start_timeout)
            self._clear()
            self._worker.started = True
        except BaseException:
            self.close()
            raise

    def _build(self, body_names: list[str], timeout: float) -> dict:
        h = self.humanoid
        drives = torch.stack([h.kp, h.kd, torch.full((NUM_DOFS,), ARMATURE), h.torque_limit], 1)
        bits = filter_bits(BODY_NAMES, excluded_pairs(h))
        report = self._worker.ask(
            "build", timeout, drives=drives[self._drives.argsort()].tolist(), filters=[bits[b] for b in body_names]
        )
        made, meant = torch.tensor(report["masses"])[self._bodies], h.segment_masses()
        if (wrong := (made / meant - 1).abs() > 0.02).any():
            body = int(wrong.nonzero()[0])
            raise SimulatorError(
                f"isaac_gym: the engine gave {BODY_NAMES[body]} a mass of {made[body]:.3g} kg instead of {meant[body]:.3g} kg; "
                "its importer does not read our asset as expected (docs/isaac_gym.md, known unknowns)"
            )
        return report

    def _clear(self) -> None:
        """Reset all environments to standing at rest, without contact forces and torques."""
        n = self.num_envs
        self._root, self._dof = torch.zeros(n, 13), torch.zeros(n, NUM_DOFS, 2)
        self._root[:, 2] = standing_height()
        self._root[:, 3:7] = torch.tensor(STANDING)
        self._contact, self._torque = torch.zeros(n, NUM_JOINTS, 3), torch.zeros(n, NUM_DOFS)
        self._diverged = torch.zeros(n, dtype=torch.bool)
        self._lost = torch.zeros(
            n, dtype=torch.bool
        )  # reset to values that are not finite, which the engine does not get
        self._state: SimState | None = None
        self._queue_reset(torch.arange(n))

    def _queue_reset(self, rows: torch.Tensor) -> None:
        """Queue a reset of these rows before the next simulation."""
        self._arrays["set_root"][rows] = torch.nan_to_num(self._root[rows], posinf=0.0, neginf=0.0)
        self._arrays["set_dof"][rows] = self._to_engine(torch.nan_to_num(self._dof[rows], posinf=0.0, neginf=0.0))
        self._arrays["pending"][rows] = 1

    def _to_engine(self, by_drive: torch.Tensor) -> torch.Tensor:
        """Reorder (K, 69, ...) from SMPL to the engine's order."""
        return by_drive[:, self._drives.argsort()]

    def _check_body(self, timeout: float) -> None:
        """Compare the engine's body poses with our kinematics for a random pose and velocity of each environment.

        Detects an importer whose axes, joint order or rotations differ from ours.
        """
        n, generator = self.num_envs, torch.Generator().manual_seed(0)
        low, high = (0.6 * dof_limits()).double().unbind(-1)
        angles = low + (high - low) * torch.rand(n, NUM_DOFS, dtype=torch.float64, generator=generator)
        speeds = torch.randn(n, NUM_DOFS, dtype=torch.float64, generator=generator)
        self._root[:, 2] = _IN_THE_AIR
        self._dof[:, :, 0] = hinges_to_vectors(angles).float()
        self._dof[:, :, 1] = hinge_to_joint_velocity(angles, speeds).float()
        self._queue_reset(torch.arange(n))
        self._arrays["target"][:] = self._to_engine(self._dof[:, :, 0])
        self._worker.ask("step", timeout, substeps=1, with_bodies=True)
        self._fetch()
        ours, theirs = self._read(), self._arrays["bodies"][:, self._bodies]
        gap = (ours.body_pos.cpu() - theirs[..., :3]).norm(dim=-1).nan_to_num(torch.inf)
        if gap.max() > 0.02:
            body = BODY_NAMES[int(gap.amax(0).argmax())]
            raise SimulatorError(
                f"isaac_gym: the engine has {body} {100 * gap.max():.1f} cm from where our kinematics has it; "
                "its importer does not read our joints as expected (docs/isaac_gym.md, known unknowns)"
            )
        slip = (ours.body_ang_vel.cpu() - theirs[..., 10:13]).norm(dim=-1)
        if slip.max() > 0.5:
            body = BODY_NAMES[int(slip.amax(0).argmax())]
            warnings.warn(
                f"isaac_gym: {body} turns {slip.max():.2f} rad/s faster or slower in the engine than in our kinematics; "
                "joint velocities may be in another frame than expected (docs/isaac_gym.md, known unknowns)",
                stacklevel=3,
            )

    # TrackingEnv steps in inference mode, and the inference tensors it leaves here can only be modified in that mode
    @torch.inference_mode()
    def reset(self, env_ids: torch.Tensor, state: BodyState, settled: bool = False) -> None:
        rows = env_ids.cpu()
        dof_pos, dof_vel = state.dof_pos.cpu().double(), state.dof_vel.cpu().double()
        self._root[rows] = torch.cat(
            [state.root_pos, state.root_rot, state.body_lin_vel[:, 0], state.body_ang_vel[:, 0]], 1
        ).to("cpu", torch.float32)
        self._dof[rows, :, 0] = hinges_to_vectors(dof_pos).float()
        self._dof[rows, :, 1] = hinge_to_joint_velocity(dof_pos, dof_vel).float()
        self._contact[rows], self._torque[rows], self._diverged[rows] = 0, 0, False
        self._lost[rows] = ~torch.isfinite(torch.cat([self._root[rows], self._dof[rows].flatten(1)], 1)).all(1)
        self._queue_reset(rows)
        if self._state is not None:
            self._state = self._state.with_rows(rows.to(self.device), self._read(rows))

    def step(self, pd_targets: torch.Tensor, push: torch.Tensor | None = None) -> SimState:
        self.check_inputs(pd_targets, push)
        now = self.state
        bad = ~torch.isfinite(pd_targets).all(1)
        held = self.humanoid.limit_targets(torch.where(bad[:, None], now.dof_pos, pd_targets), now.dof_pos, now.dof_vel)
        target = nearest_vectors(hinges_to_vectors(held.float()), self._dof[:, :, 0].to(self.device))
        target = torch.nan_to_num(target, posinf=0.0, neginf=0.0).cpu()
        self._arrays["target"][:] = self._to_engine(target)
        if push is not None:
            self._arrays["push"][:] = push.detach().cpu()[:, self._bodies.argsort()]
        self._worker.ask("step", self._step_timeout, substeps=self.substeps, pushed=push is not None)
        self._fetch()
        speed = torch.cat([self._root[:, 7:], self._dof[:, :, 1]], 1).abs().amax(1)
        finite = torch.isfinite(torch.cat([self._root, self._dof.flatten(1)], 1)).all(1)
        self._diverged = ~finite | ~(speed <= MAX_SPEED) | bad.cpu() | self._lost
        self._state = self._read()
        return self._state

    def _fetch(self) -> None:
        self._root = self._arrays["root"].clone()
        self._dof = self._arrays["dof"][:, self._drives]
        self._contact = self._arrays["contact"][:, self._bodies]
        self._torque = self._arrays["torque"][:, self._drives]

    @property
    def state(self) -> SimState:
        if self._state is None:
            self._state = self._read()
        return self._state

    def _read(self, rows=slice(None)) -> SimState:
        """Convert rows of the engine's values to a `SimState`."""
        root, dof, contact, torque, diverged = (
            t[rows].to(self.device) for t in (self._root, self._dof, self._contact, self._torque, self._diverged)
        )
        # rows that are not finite are marked as diverged and must not affect others
        root, dof = (torch.nan_to_num(t.double(), posinf=0.0, neginf=0.0) for t in (root, dof))
        lost = root[:, 3:7].norm(dim=-1, keepdim=True) < 1e-3
        root_rot = roma.quat_normalize(torch.where(lost, root.new_tensor(STANDING), root[:, 3:7]))
        dof_pos = vectors_to_hinges(dof[..., 0])
        dof_vel = joint_to_hinge_velocity(dof_pos, dof[..., 1])
        body = hinge_kinematics(root[:, :3], root_rot, root[:, 7:10], root[:, 10:], dof_pos, dof_vel, self._offsets)
        torque = joint_to_hinge_torque(dof_pos, torque.double())
        return SimState.of(body.to(torch.float32), contact.clone(), torque.float(), diverged.clone())

    def save(self) -> dict[str, torch.Tensor]:
        return {key: getattr(self, f"_{key}").clone() for key in _SAVED}

    @torch.inference_mode()
    def restore(self, saved: dict[str, torch.Tensor]) -> None:
        for key in _SAVED:
            getattr(self, f"_{key}").copy_(saved[key])
        self._state = None
        self._queue_reset(torch.arange(self.num_envs))

    def close(self) -> None:
        if hasattr(self, "_worker"):
            self._worker.close()


def _places(wanted: tuple[str, ...], found: list[str], what: str) -> list[int]:
    """Index in `found` of each wanted name.

    Raises:
        SimulatorError: a name is missing, or there are others.
    """
    lacking, surplus = [n for n in wanted if n not in found], [n for n in found if n not in wanted]
    if lacking or surplus or len(found) != len(wanted):
        raise SimulatorError(
            f"isaac_gym: the engine has other {what} names than our asset: missing {lacking[:5]}, "
            f"unknown {surplus[:5]}, {len(found)} instead of {len(wanted)}"
        )
    return [found.index(n) for n in wanted]
