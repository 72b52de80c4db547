"""Kinds of motion: which clips of a set move alike, so that a policy of their own can learn them first."""

from __future__ import annotations

import torch
from scipy.cluster.hierarchy import fcluster, ward

from physhmr_kit.body.quaternions import quat_columns, quat_rotate_inverse
from physhmr_kit.motion.kinematics import heading, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState

_FLOOR = 0.05  # added to the spread of each column: what hardly moves in any clip tells nothing


def kinds_of_motion(library: MotionLibrary, count: int) -> torch.Tensor:
    """The kind of each clip, 0 to `count` - 1 at most: (C,).

    Ward's clustering (1963) of the clips by the mean and the spread over their frames of what a body does, seen from its own
    heading (`_gait`). Kinds are numbered by their first clip; the answer depends on all clips of the library.
    """
    if count < 2 or len(library) < 2:
        return torch.zeros(len(library), dtype=torch.long)
    clips = [_gait(library.clip(c).to("cpu")) for c in range(len(library))]
    scale = torch.cat(clips).std(0) + _FLOOR
    looks = torch.stack([torch.cat([x.mean(0), x.std(0)]) / scale.repeat(2) for x in clips])
    labels = fcluster(ward(looks.double().numpy()), count, "maxclust").tolist()
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return torch.tensor([numbers[label] for label in labels])


def _gait(states: BodyState) -> torch.Tensor:
    """T frames as seen from the body's heading: root height (1) m, other bodies from the root (69) m, their rotations (144, 6D),
    velocities (72) m/s and angular velocities (72) rad/s -> (T, 358)."""
    axes = quat_columns(states.body_rot).unflatten(-1, (2, 3)).flatten(1, 2)
    place = states.body_pos[:, 1:] - states.body_pos[:, :1]
    vectors = torch.cat([place, axes, states.body_lin_vel, states.body_ang_vel], dim=1)
    turn = yaw_quaternion(heading(states.root_rot))[:, None].expand(-1, vectors.shape[1], -1)
    return torch.cat([states.body_pos[:, 0, 2:], quat_rotate_inverse(turn, vectors).flatten(1)], dim=1)
