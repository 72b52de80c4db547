"""The force that a clip requires from the floor, by MuJoCo's inverse dynamics, for tests of planned motions."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np

from physhmr_kit.body.addresses import generalised_positions
from physhmr_kit.body.hinges import rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_corners


def qpos_of(model: mujoco.MjModel, clip: Clip) -> np.ndarray:
    """MuJoCo's qpos of every frame: (T, 76)."""
    rot = clip.joint_rot
    return generalised_positions(model, clip.root_pos, rot[:, 0], rotation_to_dof(rot[:, 1:]))


def corners_of(clip: Clip) -> np.ndarray:
    """World positions of the 16 sole corners, left foot first: (T, 16, 3) m."""
    offsets = Humanoid.mean().offsets.double()
    bodies = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), offsets)
    return sole_corners(*bodies).flatten(1, 2).numpy()


@cache
def _floating_model() -> mujoco.MjModel:
    model = mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())
    for flag in ("CONTACT", "ACTUATION", "LIMIT"):
        model.opt.disableflags |= getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag}")
    return model


def floor_forces(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Force on the body, (T - 2, 3) N, and its point of action on the floor, (T - 2, 2) m, without the first and last frame."""
    model = _floating_model()
    data, qpos = mujoco.MjData(model), qpos_of(model, clip)
    speed = np.zeros((len(clip) - 1, model.nv))
    for frame, row in enumerate(speed):
        mujoco.mj_differentiatePos(model, row, 1 / clip.fps, qpos[frame], qpos[frame + 1])
    wrench = np.zeros((len(clip) - 2, 6))
    for frame, row in enumerate(wrench):
        data.qpos[:], data.qvel[:] = qpos[frame + 1], (speed[frame] + speed[frame + 1]) / 2
        data.qacc[:] = (speed[frame + 1] - speed[frame]) * clip.fps
        mujoco.mj_inverse(model, data)
        row[:] = data.qfrc_inverse[:6]
        row[3:] = data.xmat[1].reshape(3, 3) @ row[3:] + np.cross(data.qpos[:3], row[:3])  # about the origin
    with np.errstate(divide="ignore", invalid="ignore"):
        point = np.stack([-wrench[:, 4], wrench[:, 3]], axis=1) / wrench[:, 2:3]
    return wrench[:, :3], point
