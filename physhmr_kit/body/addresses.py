"""Where the kit's 69 dofs are in a MuJoCo model of the humanoid, whatever order the model has them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, NUM_DOFS

if TYPE_CHECKING:  # MuJoCo is for those who have a model
    import mujoco


def dof_addresses(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the kit's 69 dofs in qpos, qvel and ctrl, found by name."""
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    names = [f"{body_of[n[:-2]]}_{n[-1]}" for n in dof_names()]
    joints = [model.joint(n).id for n in names]
    actuators = [model.actuator(n).id for n in names]
    assert len(names) == NUM_DOFS
    return model.jnt_qposadr[joints], model.jnt_dofadr[joints], np.array(actuators)
