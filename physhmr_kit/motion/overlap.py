"""Overlap: how deep the limbs of a motion lie in one another, by the collision shapes of the simulated body."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES
from physhmr_kit.motion.state import BodyState


def self_overlap(states: BodyState, humanoid: Humanoid | None = None) -> torch.Tensor:
    """How deep collision shapes of the body lie in one another: T frames -> (T,) m, the deepest pair; 0 where none touch.

    Pairs that the simulated body lets overlap by design (neighbours, the shoulder girdle) do not count.
    """
    model = mujoco.MjModel.from_xml_string(humanoid.mjcf()) if humanoid else _mean_model()
    data = mujoco.MjData(model)
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    qpos_of = [int(model.joint(f"{body_of[n[:-2]]}_{n[-1]}").qposadr[0]) for n in dof_names()]
    qpos = np.zeros((len(states), model.nq))
    qpos[:, :3], qpos[:, 3:7] = states.root_pos.numpy(), states.root_rot[:, [3, 0, 1, 2]].numpy()
    qpos[:, qpos_of] = states.dof_pos.numpy()
    depth = torch.zeros(len(states))
    for t, data.qpos[:] in enumerate(qpos):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon:
            contacts = data.contact
            own = (model.geom_bodyid[contacts.geom] != 0).all(1)  # neither is the floor
            if own.any():
                depth[t] = max(0.0, -float(contacts.dist[own].min()))
    return depth


@cache
def _mean_model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())
