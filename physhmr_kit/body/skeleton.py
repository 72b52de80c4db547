"""SMPL's 24 joints: names, kinematic tree, rest pose, left-right mirroring.

Frames: SMPL's rest pose is y-up and faces +z with the left hand at +x. Every body frame of the kit is
aligned with it, so a joint rotation here *is* an SMPL pose parameter. In the z-up world of the kit the
rest pose stands upright and faces +x when its root rotation is `STANDING`.
"""

from __future__ import annotations

import torch

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
"""SMPL's names in SMPL's order (smplx, joint_names.py)."""

BODY_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest",
    "L_Toe", "R_Toe", "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow",
    "R_Elbow", "L_Wrist", "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
"""The names of the same 24 bodies in the SMPL humanoid (SMPLSim, smpl_joint_names.py)."""

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

NUM_JOINTS = 24
NUM_DOFS = 69
FEET = (7, 8, 10, 11)
"""Left ankle, right ankle, left toe, right toe: the bodies that touch the floor in stance."""

LEGS = {"left": (1, 4, 7, 10), "right": (2, 5, 8, 11)}
"""Hip, knee, ankle and toe joint of each leg."""

MIRROR = tuple(
    JOINT_NAMES.index(n.replace("left", "#").replace("right", "left").replace("#", "right")) for n in JOINT_NAMES
)
"""Index list that swaps left and right joints."""

# Each joint's offset from its parent in the rest pose, metres, x left, y up, z forward: SMPL's mean shape
# (as in the SMPL humanoids of PHC), averaged over left and right so that mirrored motions are exact.
_MEAN_OFFSETS = {
    "pelvis": (0.0, 0.0, 0.0),
    "hip": (0.0686, -0.0910, -0.0055),
    "knee": (0.0363, -0.3789, -0.0067),
    "ankle": (-0.0147, -0.3982, -0.0430),
    "foot": (0.0259, -0.0520, 0.1213),
    "spine1": (0.0, 0.1090, -0.0267),
    "spine2": (0.0, 0.1352, 0.0011),
    "spine3": (0.0, 0.0529, 0.0254),
    "neck": (0.0, 0.2139, -0.0429),
    "head": (0.0, 0.0650, 0.0513),
    "collar": (0.0803, 0.1203, -0.0364),
    "shoulder": (0.0935, 0.0316, -0.0090),
    "elbow": (0.2567, -0.0131, -0.0245),
    "wrist": (0.2523, 0.0084, -0.0034),
    "hand": (0.0843, -0.0072, -0.0126),
}

SOLE_DEPTH = 0.070
"""Height of the ankle joint above the sole in the rest pose of the mean shape, metres."""

PELVIS_AT_REST = (0.0, -0.2233, 0.0282)
"""Pelvis joint j0 of SMPL's mean shape. SMPL rotates the root about it, so pelvis in world = trans + j0 (not rotated)."""

STANDING = (0.5, 0.5, 0.5, 0.5)
"""Root rotation (xyzw) that takes the y-up rest pose to upright in the z-up world, facing +x."""


def without_side(name: str) -> str:
    """A joint name without its side: 'left_hip' -> 'hip'."""
    return name.removeprefix("left_").removeprefix("right_")


def mean_offsets() -> torch.Tensor:
    """Rest offsets of the mean shape: (24, 3) metres, each joint from its parent, y-up rest frame."""
    rows = []
    for name in JOINT_NAMES:
        x, y, z = _MEAN_OFFSETS[without_side(name)]
        rows.append((-x if name.startswith("right_") else x, y, z))
    return torch.tensor(rows, dtype=torch.float32)


def rest_joints(offsets: torch.Tensor | None = None) -> torch.Tensor:
    """Joint positions of the rest pose with the pelvis at the origin.

    Args:
        offsets: (24, 3) metres; the mean shape when omitted.

    Returns:
        (24, 3) metres in the y-up rest frame.
    """
    offsets = mean_offsets() if offsets is None else offsets
    joints = offsets.clone()
    for joint in range(1, NUM_JOINTS):
        joints[joint] += joints[PARENTS[joint]]
    return joints


def standing_height(offsets: torch.Tensor | None = None) -> float:
    """Height of the pelvis above the floor, metres, in the rest pose on flat soles."""
    joints = rest_joints(offsets)
    return float(SOLE_DEPTH - joints[[7, 8], 1].min())
