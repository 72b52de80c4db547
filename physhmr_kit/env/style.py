"""Observation of the adversarial motion prior: how a body moves, independent of place, heading and reference.

The observation is PHC's (humanoid_amp.py, build_amp_observations_smpl); the discriminator sees windows of several steps.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.hinges import dof_to_rotation
from physhmr_kit.body.quaternions import quat_columns
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.env.observations import rotation_6d, to_heading
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState

STYLE_JOINTS = tuple(j for j, name in enumerate(JOINT_NAMES) if j > 0 and not name.endswith(("_foot", "_hand")))
"""The 19 observed joints, SMPL order: without toes and hands, as in PHC, which motion capture seldom measures."""

STYLE_ENDS = (7, 8, 20, 21)
"""Left and right ankle, left and right wrist."""

STYLE_LAYOUT = {
    "root_height": 1,
    "root_rotation": 6,
    "root_velocity": 3,
    "root_angular_velocity": 3,
    "joint_rotations": 6 * len(STYLE_JOINTS),
    "joint_velocities": 3 * len(STYLE_JOINTS),
    "end_positions": 3 * len(STYLE_ENDS),
}
"""Parts of the observation in order, with their widths."""

STYLE_SIZE = sum(STYLE_LAYOUT.values())
"""196."""


def style_observation(state: BodyState) -> torch.Tensor:
    """Motion prior observation of one step, invariant to place and heading: N bodies -> (N, 196).

    ======= =========================================================================================
    columns content
    ======= =========================================================================================
    0       root height, m
    1-6     root rotation in the heading frame, 6D (first two columns of the matrix)
    7-9     root velocity in the heading frame, m/s
    10-12   root angular velocity in the heading frame, rad/s
    13-126  rotation of each of `STYLE_JOINTS` relative to its parent, 6D, joint by joint
    127-183 velocities of their hinges, rad/s, joint by joint
    184-195 `STYLE_ENDS` relative to the root in the heading frame, m
    ======= =========================================================================================

    Joint rotations are computed from the hinge angles, the only description of a pose that is bit-identical in clips and
    simulators.
    """
    yaw = heading(state.root_rot)
    joints = [j - 1 for j in STYLE_JOINTS]
    ends = state.body_pos[:, list(STYLE_ENDS)] - state.body_pos[:, :1]
    roots = torch.cat([state.body_lin_vel[:, :1], state.body_ang_vel[:, :1]], dim=1)
    return torch.cat(
        [
            state.root_pos[:, 2:],
            rotation_6d(state.root_rot, yaw),
            to_heading(roots, yaw).flatten(1),
            quat_columns(dof_to_rotation(state.dof_pos)[:, joints]).flatten(1),
            state.dof_vel.unflatten(1, (-1, 3))[:, joints].flatten(1),
            to_heading(ends, yaw).flatten(1),
        ],
        dim=1,
    )


def reference_windows(
    library: MotionLibrary, clip_ids: torch.Tensor, last_frames: torch.Tensor, steps: int
) -> torch.Tensor:
    """Windows of the reference motion, the `steps` frames up to `last_frames`: (M,), (M,) -> (M, steps, 196).

    Before a clip's first frame that frame is repeated, as in PHC. The states are within the humanoid's joint limits
    (`MotionLibrary.starts`); otherwise poses beyond the limits would identify real motion.
    """
    frames = last_frames.unsqueeze(1) + torch.arange(1 - steps, 1, device=last_frames.device)
    rows = library.rows(clip_ids.repeat_interleave(steps), frames.flatten())
    return style_observation(library.starts(rows)).unflatten(0, (-1, steps))
