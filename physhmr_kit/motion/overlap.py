"""Self-penetration: how deep the body parts of a motion overlap, by the collision shapes of the simulated body."""

from __future__ import annotations

from functools import lru_cache

import mujoco
import torch

from physhmr_kit.body.addresses import generalised_positions
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.state import BodyState


def self_overlap(states: BodyState, humanoid: Humanoid | None = None) -> torch.Tensor:
    """Penetration depth of the deepest pair of collision shapes in each frame: T frames -> (T,) m; 0 without any contact.

    Pairs that may overlap by design (neighbours, the shoulder girdle) do not count.
    """
    model = _model((humanoid or Humanoid.mean()).mjcf())
    data = mujoco.MjData(model)
    depth = torch.zeros(len(states))
    for t, qpos in enumerate(generalised_positions(model, states.root_pos, states.root_rot, states.dof_pos)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon:
            contacts = data.contact
            own = (model.geom_bodyid[contacts.geom] != 0).all(1)  # neither is the floor
            if own.any():
                depth[t] = max(0.0, -float(contacts.dist[own].min()))
    return depth


@lru_cache(maxsize=1)
def _model(mjcf: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(mjcf)
