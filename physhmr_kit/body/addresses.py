"""Maps between the kit's joint order and a MuJoCo model of the humanoid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from physhmr_kit.body.hinges import hinge_names

if TYPE_CHECKING:  # MuJoCo is only needed by callers that have a model
    import mujoco


def dof_addresses(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the kit's 69 dofs into qpos, qvel and ctrl, looked up by name: (69,) int each."""
    joints = [model.joint(name).id for name in hinge_names()]
    actuators = [model.actuator(name).id for name in hinge_names()]
    return model.jnt_qposadr[joints], model.jnt_dofadr[joints], np.array(actuators)


def generalised_positions(
    model: mujoco.MjModel, root_pos: torch.Tensor, root_rot: torch.Tensor, dof_pos: torch.Tensor
) -> np.ndarray:
    """MuJoCo's qpos: root positions (T, 3) m, root rotations (T, 4) xyzw, hinge angles (T, 69) rad -> (T, 76)."""
    qpos = np.zeros((len(root_pos), model.nq))
    qpos[:, :3], qpos[:, 3:7] = root_pos.numpy(), root_rot[:, [3, 0, 1, 2]].numpy()
    qpos[:, dof_addresses(model)[0]] = dof_pos.numpy()
    return qpos
