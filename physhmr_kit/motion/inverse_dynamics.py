"""Inverse dynamics: the joint torques that carry a reference motion.

The inverse dynamics of a motion give the generalised force of each frame; its six root rows must come from the floor, so
contact forces at the low, slow sole corners are fitted to them (non-negative combinations of friction-pyramid edges), and
what these forces do at the joints is taken off.
"""

from __future__ import annotations

from functools import lru_cache

import mujoco
import numpy as np
import roma
import torch
from scipy.signal import savgol_filter

from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.motion.contact import LOAD
from physhmr_kit.motion.state import BodyState

_FRICTION = 0.8
_EDGES = np.array([[_FRICTION, 0, 1], [-_FRICTION, 0, 1], [0, _FRICTION, 1], [0, -_FRICTION, 1]])
_EVEN = 3e-4  # prefers spreading the load over corners; small beside the fit
_AT_ONCE = 512  # frames whose Jacobians are held at once, 8 MB


def reference_torques(states: BodyState, humanoid: Humanoid, fps: float = 30.0) -> torch.Tensor:
    """Joint torques that carry a reference motion: T frames -> (T, 69) N m, held within the drives' limits.

    Velocities and accelerations are those of quadratics fitted over nine frames. In flight there is no corner to carry
    anything; the torques are then those of free fall.
    """
    model = _free_model(humanoid.mjcf())
    qpos_of, qvel_of, _ = dof_addresses(model)
    motion = _trajectory(states, model, qpos_of, qvel_of, fps)
    starts = range(0, len(states), _AT_ONCE)
    torque = np.concatenate([_carried(model, humanoid, *(x[i : i + _AT_ONCE] for x in motion)) for i in starts])
    limit = humanoid.torque_limit.numpy()
    return torch.from_numpy(np.clip(torque[:, qvel_of], -limit, limit)).float()


@lru_cache(maxsize=1)
def _free_model(mjcf: str) -> mujoco.MjModel:
    """The body without drives, limits and floor; compiling it takes as long as 50 frames, and clips are many."""
    model = mujoco.MjModel.from_xml_string(mjcf)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    model.actuator_gainprm[:] = 0
    model.actuator_biasprm[:] = 0
    return model


def _carried(model, humanoid: Humanoid, qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray) -> np.ndarray:
    """Generalised forces (T, nv) of a motion less what the floor does through the corners in contact."""
    soles = foot_corners(humanoid)
    force, feet, jacobian = _inverse(model, [model.body(BODY_NAMES[joint]).id for joint in soles], qpos, qvel, qacc)
    position, rotation = feet[..., :3], feet[..., 3:].reshape(*feet.shape[:2], 3, 3)
    arm = np.einsum("tfij,fcj->tfci", rotation, np.stack([c.numpy() for c in soles.values()]))  # from the joint, world
    speed = np.einsum("tfkv,tv->tfk", jacobian, qvel)
    corner_speed = np.linalg.norm(speed[:, :, None, :3] + np.cross(speed[:, :, None, 3:], arm), axis=-1)
    loaded = LOAD((position[:, :, None] + arm)[..., 2], corner_speed)
    # the wrench of each pyramid edge about its foot: (T, feet, corners, edges, 6); edges not in contact are zero
    edge = np.broadcast_to(_EDGES, (*arm.shape[:3], *_EDGES.shape))
    wrench = np.concatenate([edge, np.cross(arm[..., None, :], edge)], axis=-1) * loaded[..., None, None]
    root = np.einsum("tfcek,tfkv->tvfce", wrench, jacobian[..., :6]).reshape(len(qpos), 6, -1)
    scale = humanoid.mass * 9.81
    share = nonnegative_ridge(root, force[:, :6] / scale, _EVEN).reshape(*edge.shape[:-1])
    return force - scale * np.einsum("tfce,tfcek,tfkv->tv", share, wrench, jacobian, optimize=True)


def _inverse(model, bodies: list[int], qpos: np.ndarray, qvel: np.ndarray, qacc: np.ndarray) -> tuple[np.ndarray, ...]:
    """Frame by frame: inverse dynamics (T, nv), place and rotation of bodies (T, B, 3 + 9), Jacobians (T, B, 6, nv)."""
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
    """The x >= 0 that minimise |a x - b|^2 + ridge |x|^2, of many small problems at once.

    With y = b - a x, the optimum is x = max(0, a^T y) / ridge: a piecewise linear equation in the few rows of y, the
    gradient of a convex function, which Newton's method with a halved step where needed solves in a handful of steps.

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
    """How much of each step (T, M) goes down: 1, halved until it does (T,)."""

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


def _trajectory(states: BodyState, model, qpos_of, qvel_of, fps: float):
    """MuJoCo's qpos, qvel and qacc along the reference."""
    count = len(states)
    window = min(9, count - (count + 1) % 2)
    if window < 3:
        return _still(states, model, qpos_of)
    smooth = lambda x, order: savgol_filter(x, window, 2, deriv=order, delta=1 / fps, axis=0)  # noqa: E731
    position, dof = states.root_pos.double().numpy(), states.dof_pos.double().numpy()
    rot = states.root_rot.double()
    ang_b = roma.quat_action(roma.quat_conjugation(rot), states.body_ang_vel[:, 0].double()).numpy()
    qpos, qvel, qacc = np.zeros((count, model.nq)), np.zeros((count, model.nv)), np.zeros((count, model.nv))
    qpos[:, :3], qpos[:, 3:7], qpos[:, qpos_of] = position, rot[:, [3, 0, 1, 2]].numpy(), dof
    qvel[:, :3], qvel[:, 3:6], qvel[:, qvel_of] = smooth(position, 1), smooth(ang_b, 0), smooth(dof, 1)
    qacc[:, :3], qacc[:, 3:6], qacc[:, qvel_of] = smooth(position, 2), smooth(ang_b, 1), smooth(dof, 2)
    return qpos, qvel, qacc


def _still(states: BodyState, model, qpos_of):
    """A reference too short for derivatives stands still."""
    qpos = np.zeros((len(states), model.nq))
    qpos[:, :3], qpos[:, 3:7] = states.root_pos.numpy(), states.root_rot[:, [3, 0, 1, 2]].numpy()
    qpos[:, qpos_of] = states.dof_pos.numpy()
    return qpos, np.zeros((len(states), model.nv)), np.zeros((len(states), model.nv))
