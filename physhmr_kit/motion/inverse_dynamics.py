"""Inverse dynamics: the joint torques that carry a reference motion.

The inverse dynamics of a motion give the generalised force of each frame; its six root rows must come from the floor, so
contact forces at the low, slow sole corners are fitted to them (non-negative combinations of friction-pyramid edges), and
what these forces do at the joints is taken off.
"""

from __future__ import annotations

import mujoco
import numpy as np
import roma
import torch
from scipy.optimize import nnls
from scipy.signal import savgol_filter

from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.motion.contact import LOAD
from physhmr_kit.motion.state import BodyState

_FRICTION = 0.8
_EDGES = np.array([[_FRICTION, 0, 1], [-_FRICTION, 0, 1], [0, _FRICTION, 1], [0, -_FRICTION, 1]])
_EVEN = 3e-4  # prefers spreading the load over corners; small beside the fit


def reference_torques(states: BodyState, humanoid: Humanoid, fps: float = 30.0) -> torch.Tensor:
    """Joint torques that carry a reference motion: T frames -> (T, 69) N m, held within the drives' limits.

    Velocities and accelerations are those of quadratics fitted over nine frames. In flight there is no corner to carry
    anything; the torques are then those of free fall.
    """
    model = mujoco.MjModel.from_xml_string(humanoid.mjcf())
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    model.actuator_gainprm[:] = 0
    model.actuator_biasprm[:] = 0
    data = mujoco.MjData(model)
    qpos_of, qvel_of, _ = dof_addresses(model)
    qpos, qvel, qacc = _trajectory(states, model, qpos_of, qvel_of, fps)
    bodies = {j: model.body(BODY_NAMES[j]).id for j in foot_corners(humanoid)}
    corners = {j: c.numpy().astype(float) for j, c in foot_corners(humanoid).items()}
    torque = np.zeros((len(qpos), 69))
    jacobian = np.zeros((3, model.nv))
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_inverse(model, data)
        force = data.qfrc_inverse.copy()
        columns = []
        for joint, body in bodies.items():
            points = data.xpos[body] + corners[joint] @ data.xmat[body].reshape(3, 3).T
            for point in points:
                mujoco.mj_jac(model, data, jacobian, None, point, body)
                speed = np.linalg.norm(jacobian @ data.qvel)
                if LOAD(point[2], speed):  # type: ignore[arg-type]  # one point: numbers do as well as tensors
                    columns += list(_EDGES @ jacobian)
        if columns:
            edges = np.array(columns).T  # (nv, edges)
            scale = humanoid.mass * 9.81
            fit = np.vstack([edges[:6], np.sqrt(_EVEN) * np.eye(edges.shape[1])])
            share, _ = nnls(fit, np.concatenate([force[:6] / scale, np.zeros(edges.shape[1])]))
            force -= scale * edges @ share
        torque[t] = force[qvel_of]
    limit = humanoid.torque_limit.numpy()
    return torch.from_numpy(np.clip(torque, -limit, limit)).float()


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
