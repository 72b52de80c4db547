"""Corrects a constant lean: a body that is ahead of or behind its feet throughout a clip.

A capture that was fitted with a skeleton unlike the person's can lean from its first frame to its last, as CMU's subject 05
does (benchmarks/lean.py prints how much, for every subject).
"""

from __future__ import annotations

import roma
import torch
from scipy.ndimage import gaussian_filter1d

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.balance import zero_moment_point
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.grounding import stance_of
from physhmr_kit.motion.kinematics import forward_kinematics, heading, local_rotations
from physhmr_kit.motion.leg_ik import reach_with
from physhmr_kit.motion.soles import sole_corners

_OVER = (-0.06, 0.03)
"""m: allowed median of the zero-moment point ahead of the mean corner of the standing soles. It is -0.05 in the demo motions,
which stand on their ankles, and at most 1.5 cm outside these bounds in all clips of CMU's other subjects."""
_LONG_ENOUGH = 2.0
"""Seconds of standing needed for an estimate: single steps of a short run are not in balance."""
_LEGS = ((1, 4, 7), (2, 5, 8))  # hip, knee, ankle


def stand_over_feet(clip: Clip) -> Clip:
    """Shift the body along its heading, the same in every frame, until its zero-moment point is over the standing feet.

    Feet stay where they are, legs bend as needed. Only the excess of the median over `_OVER` is corrected; a clip that
    stands for less than two seconds is returned as it is.

    Args:
        clip: on the floor, its feet planted (`motion.grounding.ground`).
    """
    humanoid = Humanoid.mean()
    offsets = humanoid.offsets.double()
    pos, rot = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), offsets)
    ahead = _ahead(pos, rot, stance_of(clip), clip.fps, humanoid)
    if len(ahead) < _LONG_ENOUGH * clip.fps:
        return clip
    median = ahead.median()
    excess = median - median.clamp(*_OVER)
    if excess == 0:
        return clip
    ankles = pos[:, [7, 8]]
    pos = pos - excess * _forward(rot)[:, None]
    rot = rot.clone()
    for foot, (hip, knee, ankle) in enumerate(_LEGS):
        bones = offsets[knee], offsets[ankle]
        rot[:, hip], rot[:, knee] = reach_with(pos[:, hip], ankles[:, foot], rot[:, hip], rot[:, knee], *bones)
    return Clip.from_joints(pos[:, 0], local_rotations(rot), clip.fps, clip.name)


def _forward(rot: torch.Tensor) -> torch.Tensor:
    """Heading as a horizontal unit vector: (T, 24, 4) -> (T, 3)."""
    yaw = heading(rot[:, 0])
    return torch.stack([yaw.cos(), yaw.sin(), torch.zeros_like(yaw)], dim=-1)


def _ahead(pos, rot, stance: torch.Tensor, fps: float, humanoid: Humanoid) -> torch.Tensor:
    """How far the zero-moment point is ahead of the middle of the standing soles, in frames with a stance: (S,) m."""
    centres = pos + roma.quat_action(rot, humanoid.segment_centres().to(pos).expand_as(pos))
    centres = gaussian_filter1d(centres.numpy(), 0.08 * fps, axis=0, mode="nearest")
    point = torch.from_numpy(zero_moment_point(centres, humanoid.segment_masses().double().numpy(), fps))
    stands = stance.any(1)
    weight = stance[stands].double()[..., None]
    middle = (sole_corners(pos, rot, humanoid)[stands].mean(2)[..., :2] * weight).sum(1) / weight.sum(1)
    return ((point[stands] - middle) * _forward(rot)[stands, :2]).sum(-1)
