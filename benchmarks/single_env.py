"""The episode of `TrackingEnv` as a single gymnasium.Env, written as CPU environments usually are: the baseline of environment.py.

One humanoid, `mujoco.mj_step`, and NumPy for observation, reward and termination. benchmarks/environment.py runs many of them
with gymnasium's AsyncVectorEnv; tests/env/test_single_env.py compares their values with TrackingEnv's. For a fair comparison it
is optimised: it uses the rotation matrices that MuJoCo computes anyway, handles all 24 bodies in one array operation, and
workers import no torch.

Three differences are in its favour: starts are drawn uniformly (TrackingEnv prefers clips that fail, and resets take time), the
observation is one flat array (copying a dict of two is slower), and MuJoCo's solver is warm-started (TrackingEnv is not, so that
a saved state is enough to continue bit-exactly). Under AsyncVectorEnv's default autoreset a step that only resets counts, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import mujoco
import numpy as np

from physhmr_kit.env.settings import EXPERT_REWARD, TrackingConfig

EPISODE = TrackingConfig(failure_weighted_prob=0.7, reward=EXPERT_REWARD)
"""The expert's episode without preview, virtual model and starts before failures, which this file implements."""

BODIES, DOFS, WIDTH = 24, 69, 358 + 576
TRACKED = [j for j in range(BODIES) if j not in (7, 8, 10, 11)]  # all but ankles and toes


@dataclass(frozen=True)
class Task:
    """The data of an episode as NumPy arrays. F frames of all clips, concatenated; world frame, SMPL order.

    Attributes:
        mjcf, substeps, qpos_of, qvel_of, ctrl_of, body_of: the model, and the addresses of our DoFs and bodies in it.
        kp, kd, torque_limit: (69,) of the PD controllers.
        starts, lengths: (C,) first frame and number of frames of each clip.
        pos, rot, mat, lin, ang: (F, 24, 3), (F, 24, 4) xyzw, (F, 24, 3, 3), (F, 24, 3), (F, 24, 3) of the reference.
        dof_pos, dof_vel, target: (F, 69) of the reference, and its PD targets.
        weights: of the reward terms position, rotation, velocity, angular_velocity, power.
        distance, episode_length: termination distance (m) and truncation (steps). residual_scale: rad for an action of 1.
    """

    mjcf: str
    substeps: int
    qpos_of: np.ndarray
    qvel_of: np.ndarray
    ctrl_of: np.ndarray
    body_of: np.ndarray
    kp: np.ndarray
    kd: np.ndarray
    torque_limit: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    pos: np.ndarray
    rot: np.ndarray
    mat: np.ndarray
    lin: np.ndarray
    ang: np.ndarray
    dof_pos: np.ndarray
    dof_vel: np.ndarray
    target: np.ndarray
    weights: tuple[float, float, float, float, float]
    distance: float
    episode_length: int
    residual_scale: float


def make_task(library, config, humanoid=None, substeps: int = 4) -> Task:
    """The task of a `MotionLibrary` and a `TrackingConfig` (residual control, termination 'any').

    Raises:
        ValueError: the configuration uses something that is not implemented here.
    """
    import roma

    from physhmr_kit.body.addresses import dof_addresses
    from physhmr_kit.body.humanoid import Humanoid
    from physhmr_kit.body.skeleton import BODY_NAMES
    from physhmr_kit.env.actions import RESIDUAL_SCALE
    from physhmr_kit.env.feedforward import library_targets
    from physhmr_kit.simulation.contract import CONTROL_DT

    given = (config.groups, config.control, config.termination, config.start)
    if given != (("proprioception", "reference"), "residual", "any", "random"):
        raise ValueError(f"single_env supports the expert's episode only, not {given}")
    reward = config.reward
    if reward.balance or reward.foot_contact:
        raise ValueError("single_env has no balance and no foot_contact reward")
    humanoid = humanoid or Humanoid.mean()
    mjcf = humanoid.mjcf(CONTROL_DT / substeps)
    model = mujoco.MjModel.from_xml_string(mjcf)
    qpos_of, qvel_of, ctrl_of = dof_addresses(model)
    clips = [library.clip(c) for c in range(library.num_clips)]

    def packed(name: str) -> np.ndarray:
        return np.concatenate([getattr(c, name).double().numpy() for c in clips])

    lengths = library.lengths.numpy().copy()
    rot = packed("body_rot")
    return Task(
        mjcf, substeps, qpos_of, qvel_of, ctrl_of, np.array([model.body(n).id for n in BODY_NAMES]),
        *(t.double().numpy() for t in (humanoid.kp, humanoid.kd, humanoid.torque_limit)),
        np.cumsum(lengths) - lengths, lengths,
        packed("body_pos"), rot, np.concatenate([roma.unitquat_to_rotmat(c.body_rot).double().numpy() for c in clips]),
        packed("body_lin_vel"), packed("body_ang_vel"), packed("dof_pos"), packed("dof_vel"),
        library_targets(library, humanoid).double().numpy(),
        (reward.position, reward.rotation, reward.velocity, reward.angular_velocity, reward.power),
        config.termination_distance, config.episode_length, RESIDUAL_SCALE,
    )  # fmt: skip


class SingleEnv(gym.Env):
    """A humanoid that follows a clip, as in the expert's episode of `TrackingEnv`.

    Observation (934,) float32: the groups proprioception and reference, concatenated. Action (69,): residual of the PD targets.
    """

    metadata = {"render_modes": [], "render_fps": 30}

    def __init__(self, task: Task):
        self.task = task
        self.model = mujoco.MjModel.from_xml_string(task.mjcf)
        self.data = mujoco.MjData(self.model)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (WIDTH,), np.float32)
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (DOFS,), np.float32)
        self._reach = task.torque_limit / task.kp
        self._lag = task.kd / task.kp
        self.clip = self.frame = self.steps = 0
        self._matrices = self._positions = self._quaternions = self._linear = self._angular = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start at a random frame of a random clip, or at options {'clip': id, 'frame': id}."""
        super().reset(seed=seed)
        task, options = self.task, options or {}
        self.clip = int(options.get("clip", self.np_random.integers(len(task.lengths))))
        self.frame = int(options.get("frame", self.np_random.integers(task.lengths[self.clip] - 1)))
        self.steps = 0
        row = self._row(0)
        data = self.data
        mujoco.mj_resetData(self.model, data)
        data.qpos[:3] = task.pos[row, 0]
        data.qpos[3:7] = task.rot[row, 0, [3, 0, 1, 2]]
        data.qpos[task.qpos_of] = task.dof_pos[row]
        data.qvel[:3] = task.lin[row, 0]
        data.qvel[3:6] = task.ang[row, 0] @ task.mat[row, 0]  # MuJoCo's free joint has a local angular velocity
        data.qvel[task.qvel_of] = task.dof_vel[row]
        self.read_bodies()
        return self.observation(), {}

    def step(self, action: np.ndarray):
        """One control step of 1/30 s."""
        task, data = self.task, self.data
        target = task.target[self._row(1)] + task.residual_scale * action
        # no joint starts the step beyond its torque limit (Humanoid.limit_targets)
        neutral = data.qpos[task.qpos_of] + self._lag * data.qvel[task.qvel_of]
        data.ctrl[task.ctrl_of] = np.clip(target, neutral - self._reach, neutral + self._reach)
        due = data.time + task.substeps * self.model.opt.timestep
        mujoco.mj_step(self.model, data, nstep=task.substeps)
        self.frame += 1
        self.steps += 1
        self.read_bodies()
        # MuJoCo resets a diverged simulation silently, which the clock reveals
        diverged = abs(data.time - due) > 0.5 * self.model.opt.timestep or not np.isfinite(data.qpos).all()
        row = self._row(0)
        reward = 0.0 if diverged else self.reward(row)
        far = np.square(self._positions[TRACKED] - task.pos[row, TRACKED]).sum(1).max() > task.distance**2
        terminated = bool(far or diverged)
        at_end = self.frame >= task.lengths[self.clip] - 1 or self.steps >= (task.episode_length or np.inf)
        return self.observation(), reward, terminated, bool(at_end and not terminated), {}

    def read_bodies(self) -> None:
        """Update poses and velocities of all bodies from the current qpos and qvel.

        `mj_step` leaves those from the beginning of the last physics step. `cvel` is taken at the centre of mass of the whole
        tree and is transferred to the body as for any rigid body.
        """
        model, data, order = self.model, self.data, self.task.body_of
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        self._positions = data.xpos[order]
        self._quaternions = data.xquat[order]
        self._matrices = data.xmat[order].reshape(BODIES, 3, 3)
        spatial = data.cvel[order]
        self._angular = spatial[:, :3]
        self._linear = spatial[:, 3:] + _cross(self._angular, self._positions - data.subtree_com[order[0]])

    def observation(self) -> np.ndarray:
        """(934,) proprioception and reference, as in env/observations.py."""
        task, row = self.task, self._row(1)
        pos, mat, lin, ang = self._positions, self._matrices, self._linear, self._angular
        turn = self._heading()
        ref_pos, ref_mat = task.pos[row], task.mat[row]
        columns = mat[:, :, :2].transpose(0, 2, 1)  # each body's first two axes, as rows
        ref_columns = ref_mat[:, :, :2].transpose(0, 2, 1)
        relative = pos - pos[0]
        # everything that is rotated to the heading frame, in one product: 11 vectors for each body
        vectors = np.concatenate(
            [
                relative[:, None], columns, lin[:, None], ang[:, None],
                (ref_pos - pos)[:, None], (task.lin[row] - lin)[:, None], (task.ang[row] - ang)[:, None],
                (ref_pos - pos[0])[:, None], ref_columns,
            ],
            axis=1,
        )  # fmt: skip
        seen = vectors @ turn
        obs = np.empty(WIDTH, np.float32)
        obs[0] = pos[0, 2]
        obs[1:70] = seen[1:, 0].ravel()
        obs[70:214] = seen[:, 1:3].ravel()
        obs[214:286] = seen[:, 3].ravel()
        obs[286:358] = seen[:, 4].ravel()
        each = obs[358:].reshape(BODIES, 24)
        each[:, 0:3] = seen[:, 5]
        each[:, 3:9] = (ref_columns @ mat).reshape(BODIES, 6)  # columns of sim^T ref
        each[:, 9:15] = seen[:, 6:8].reshape(BODIES, 6)
        each[:, 15:24] = seen[:, 8:].reshape(BODIES, 9)
        return obs

    def reward(self, row: int) -> float:
        """The weighted terms of env/rewards.py with respect to frame `row` of the reference."""
        task = self.task
        position, rotation, velocity, angular_velocity, power = task.weights
        mine, theirs = self._quaternions, task.rot[row][:, [3, 0, 1, 2]]
        chord = np.minimum(np.square(mine - theirs).sum(1), np.square(mine + theirs).sum(1))
        angle = 4 * np.arcsin(np.minimum(np.sqrt(chord) / 2, 1))
        value = (
            position * np.exp(-100 * np.square(self._positions - task.pos[row]).mean())
            + rotation * np.exp(-10 * np.square(angle).mean())
            + velocity * np.exp(-0.1 * np.square(self._linear - task.lin[row]).mean())
            + angular_velocity * np.exp(-0.1 * np.square(self._angular - task.ang[row]).mean())
        )
        if self.steps > 3:
            data = self.data
            value += power * np.abs(data.actuator_force[task.ctrl_of] * data.qvel[task.qvel_of]).sum()
        return float(value)

    def _row(self, ahead: int) -> int:
        task = self.task
        return int(task.starts[self.clip] + min(self.frame + ahead, task.lengths[self.clip] - 1))

    def _heading(self) -> np.ndarray:
        """(3, 3) matrix that rotates row vectors by minus the heading of the root (`kinematics.heading`)."""
        w, x, y, z = self._quaternions[0]
        # the twist about the vertical of root * conjugate(STANDING), STANDING = (1, 1, 1, 1) / 2, up to a common factor
        up, real = z - w - x + y, w + x + y + z
        length = up * up + real * real
        cos, sin = ((real * real - up * up) / length, 2 * up * real / length) if length > 0 else (1.0, 0.0)
        return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross products of rows, without the overhead of np.cross, which dominates for 24 rows."""
    ax, ay, az = a.T
    bx, by, bz = b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
