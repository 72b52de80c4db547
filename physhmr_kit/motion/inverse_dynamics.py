"""Inverse dynamics: the joint torques that a reference motion requires.

The inverse dynamics of a motion give the generalised force of each frame. Its six root rows must come from the floor, so
contact forces at the low, slow sole corners are fitted to them (non-negative combinations of friction-pyramid edges), and
their contribution is subtracted at the joints.
"""

from __future__ import annotations

from functools import lru_cache

import mujoco
import numpy as np
import roma
import torch
from scipy.signal import savgol_filter

from physhmr_kit.body.addresses import dof_addresses, generalised_positions
from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.motion.balance import GRAVITY
from physhmr_kit.motion.contact import LOAD
from physhmr_kit.motion.state import BodyState

_FRICTION = 0.8
_EDGES = np.array([[_FRICTION, 0, 1], [-_FRICTION, 0, 1], [0, _FRICTION, 1], [0, -_FRICTION, 1]])
_RIDGE = 3e-4  # ridge that spreads the load over the corners; small compared with the fit
_CHUNK = 512  # frames whose Jacobians are held in memory at once, 8 MB


def reference_torques(states: BodyState, humanoid: Humanoid, fps: float = 30.0) -> torch.Tensor:
    """Joint torques that a reference motion requires: T frames -> (T, 69) N m, clamped to the actuators' limits.

    Velocities and accelerations are those of quadratics fitted over nine frames. In flight no corner is loaded and the
    torques are those of free fall. A motion of one or two frames is treated as static.
    """
    model = _free_model(humanoid.mjcf())
    _, qvel_of, _ = dof_addresses(model)
    motion = _trajectory(states, model, qvel_of, fps)
    starts = range(0, len(states), _CHUNK)
    torque = np.concatenate([_joint_forces(model, humanoid, *(x[i : i + _CHUNK] for x in motion)) for i in starts])
    limit = humanoid.torque_limit.numpy()
    return torch.from_numpy(np.clip(torque[:, qvel_of], -limit, limit)).float()


@lru_cache(maxsize=1)
def _free_model(mjcf: str) -> mujoco.MjModel:
    """The model without actuators, joint limits and contacts. Cached: compiling takes as long as 50 frames."""
    model = mujoco.MjModel.from_xml_string(mjcf)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    model.actuator_gainprm[:] = 0
    model.actuator_biasprm[:] = 0
    return model


def _joint_forces(model, humanoid: Humanoid, qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray) -> np.ndarray:
    """Generalised forces (T, nv) of a motion minus the contribution of the contact forces."""
    soles = foot_corners(humanoid)
    feet_ids = [model.body(BODY_NAMES[joint]).id for joint in soles]
    force, feet, jacobian = _inverse(model, feet_ids, qpos, qvel, qacc)
    position, rotation = feet[..., :3], feet[..., 3:].reshape(*feet.shape[:2], 3, 3)
    arm = np.einsum("tfij,fcj->tfci", rotation, np.stack([c.numpy() for c in soles.values()]))  # from the joint, world
    speed = np.einsum("tfkv,tv->tfk", jacobian, qvel)
    corner_speed = np.linalg.norm(speed[:, :, None, :3] + np.cross(speed[:, :, None, 3:], arm), axis=-1)
    loaded = LOAD((position[:, :, None] + arm)[..., 2], corner_speed)
    # the wrench of each pyramid edge about its foot: (T, feet, corners, edges, 6); edges not in contact are zero
    edge = np.broadcast_to(_EDGES, (*arm.shape[:3], *_EDGES.shape))
    wrench = np.concatenate([edge, np.cross(arm[..., None, :], edge)], axis=-1) * loaded[..., None, None]
    root = np.einsum("tfcek,tfkv->tvfce", wrench, jacobian[..., :6]).reshape(len(qpos), 6, -1)
    scale = humanoid.mass * GRAVITY
    share = nonnegative_ridge(root, force[:, :6] / scale, _RIDGE).reshape(*edge.shape[:-1])
    return force - scale * np.einsum("tfce,tfcek,tfkv->tv", share, wrench, jacobian, optimize=True)


def _inverse(model, bodies: list[int], qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray) -> tuple[np.ndarray, ...]:
    """Inverse dynamics (T, nv), poses of the bodies (T, B, 3 + 9) and their Jacobians (T, B, 6, nv)."""
    data = mujoco.MjData(model)
    force = np.empty_like(qvel)
    frames = np.empty((len(qpos), len(bodies), 12))
    jacobian = np.empty((len(qpos), len(bodies), 6, model.nv))
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_inverse(model, data)
        force[t] = data.qfrc_inverse
        frames[t, :, :3], frames[t, :, 3:] = data.xpos[bodies], data.xmat[bodies]
        for n, body in enumerate(bodies):
            mujoco.mj_jacBody(model, data, jacobian[t, n, :3], jacobian[t, n, 3:], body)
    return force, frames, jacobian


def nonnegative_ridge(a: np.ndarray, b: np.ndarray, ridge: float, iterations: int = 50) -> np.ndarray:
    """Minimise |a x - b|^2 + ridge |x|^2 over x >= 0, for many small problems at once.

    With y = b - a x, the optimum is x = max(0, a^T y) / ridge: a piecewise linear equation in the few rows of y and the
    gradient of a convex function, which Newton's method with step halving solves in a handful of iterations.

    Args:
        a: (T, M, N), few rows and many columns. b: (T, M).

    Returns:
        (T, N)
    """
    y = b.copy()
    for _ in range(iterations):
        pull = np.maximum(np.einsum("tmn,tm->tn", a, y), 0)
        slope = y + np.einsum("tmn,tn->tm", a, pull) / ridge - b
        if np.abs(slope).max() < 1e-10:
            break
        active = a * (pull > 0)[:, None]
        curvature = np.eye(a.shape[1]) + active @ active.transpose(0, 2, 1) / ridge
        step = -np.linalg.solve(curvature, slope[..., None])[..., 0]
        y += _descent(a, b, ridge, y, slope, step)[:, None] * step
    return np.maximum(np.einsum("tmn,tm->tn", a, y), 0) / ridge


def _descent(a, b, ridge: float, y, slope, step) -> np.ndarray:
    """Step size of each problem (T,): 1, halved until the step (T, M) descends."""

    def height(y):
        pull = np.maximum(np.einsum("tmn,tm->tn", a, y), 0)
        return 0.5 * (y * y).sum(-1) + 0.5 * (pull * pull).sum(-1) / ridge - (b * y).sum(-1)

    share, here, fall = np.ones(len(y)), height(y), (slope * step).sum(-1)
    for _ in range(30):
        short = height(y + share[:, None] * step) > here + 1e-4 * share * fall + 1e-12
        if not short.any():
            break
        share[short] /= 2
    return share


def _trajectory(states: BodyState, model, qvel_of: np.ndarray, fps: float):
    """MuJoCo's qpos, qvel and qacc along the reference."""
    count = len(states)
    qpos = generalised_positions(model, states.root_pos, states.root_rot, states.dof_pos)
    qvel, qacc = np.zeros((count, model.nv)), np.zeros((count, model.nv))
    window = min(9, count - (count + 1) % 2)
    if window < 3:  # too short for derivatives
        return qpos, qvel, qacc
    smooth = lambda x, order: savgol_filter(x, window, 2, deriv=order, delta=1 / fps, axis=0)  # noqa: E731
    position, dof = states.root_pos.double().numpy(), states.dof_pos.double().numpy()
    rot = states.root_rot.double()
    ang_b = roma.quat_action(roma.quat_conjugation(rot), states.body_ang_vel[:, 0].double()).numpy()
    qvel[:, :3], qvel[:, 3:6], qvel[:, qvel_of] = smooth(position, 1), smooth(ang_b, 0), smooth(dof, 1)
    qacc[:, :3], qacc[:, 3:6], qacc[:, qvel_of] = smooth(position, 2), smooth(ang_b, 1), smooth(dof, 2)
    return qpos, qvel, qacc
