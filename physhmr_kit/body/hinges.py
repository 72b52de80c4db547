"""Joints as hinge triples, and the 69 degrees of freedom they add up to.

A joint's rotation is R = R(axis 1) R(axis 2) R(axis 3), first axis outermost, as MuJoCo composes the hinges of one
body. A hinge triple is singular where the middle hinge reaches +-90 degrees, so the middle axis is the one with the
smallest anatomical range. Degrees of freedom are in SMPL joint order: joint j owns dofs 3 (j - 1) .. 3 (j - 1) + 2.
"""

from __future__ import annotations

import math

import roma
import torch

from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, without_side

# joint: (axis order, {axis: (low, high) degrees}) for the left side; x is left, y up, z forward in the rest pose.
# Ranges are textbook ranges of motion (AAOS), widened where SMPL splits one anatomical joint over several.
_HINGES = {
    "hip": ("xzy", {"x": (-140, 50), "y": (-60, 60), "z": (-40, 65)}),
    "knee": ("xzy", {"x": (-5, 155), "y": (-35, 35), "z": (-25, 25)}),
    "ankle": ("xzy", {"x": (-45, 70), "y": (-45, 45), "z": (-40, 40)}),
    "foot": ("xzy", {"x": (-65, 45), "y": (-20, 20), "z": (-20, 20)}),
    "spine1": ("xzy", {"x": (-30, 60), "y": (-40, 40), "z": (-35, 35)}),
    "spine2": ("xzy", {"x": (-30, 60), "y": (-40, 40), "z": (-35, 35)}),
    "spine3": ("xzy", {"x": (-30, 60), "y": (-40, 40), "z": (-35, 35)}),
    "neck": ("xzy", {"x": (-50, 60), "y": (-70, 70), "z": (-45, 45)}),
    "head": ("xzy", {"x": (-50, 60), "y": (-70, 70), "z": (-45, 45)}),
    "collar": ("zxy", {"x": (-30, 30), "y": (-45, 40), "z": (-30, 50)}),
    "shoulder": ("zxy", {"x": (-85, 85), "y": (-155, 80), "z": (-115, 115)}),
    "elbow": ("yzx", {"x": (-100, 100), "y": (-160, 15), "z": (-45, 45)}),
    "wrist": ("zyx", {"x": (-80, 80), "y": (-50, 50), "z": (-90, 90)}),
    "hand": ("zyx", {"x": (-45, 45), "y": (-45, 45), "z": (-90, 60)}),
}


def axis_orders() -> tuple[str, ...]:
    """Axis order of each of the 23 joints, e.g. 'xzy', SMPL order without the pelvis."""
    return tuple(_HINGES[without_side(name)][0] for name in JOINT_NAMES[1:])


def dof_names() -> tuple[str, ...]:
    """Names of the 69 degrees of freedom, e.g. 'left_knee_x'."""
    return tuple(f"{n}_{a}" for n, order in zip(JOINT_NAMES[1:], axis_orders(), strict=True) for a in order)


def hinge_names() -> tuple[str, ...]:
    """Names of the same hinges in the MJCF, e.g. 'L_Knee_x'."""
    return tuple(f"{b}_{a}" for b, order in zip(BODY_NAMES[1:], axis_orders(), strict=True) for a in order)


def _limits() -> torch.Tensor:
    rows = []
    for name in dof_names():
        joint, axis = name.rsplit("_", 1)
        low, high = _HINGES[without_side(joint)][1][axis]
        if joint.startswith("right_") and axis != "x":  # mirrored in the sagittal plane: x stays, y and z change sign
            low, high = -high, -low
        rows.append((math.radians(low), math.radians(high)))
    return torch.tensor(rows, dtype=torch.float32)


_LIMITS = _limits()
_AXES = torch.eye(3)[torch.tensor([["xyz".index(axis) for axis in order] for order in axis_orders()])]


def dof_limits() -> torch.Tensor:
    """Anatomical limits: (69, 2) low and high, radians."""
    return _LIMITS.clone()


def hinge_axes() -> torch.Tensor:
    """Unit axes of the hinges: (23, 3 hinges, 3)."""
    return _AXES.clone()


def dof_to_rotation(dof: torch.Tensor) -> torch.Tensor:
    """Joint rotations from hinge angles.

    Args:
        dof: (..., 69) radians.

    Returns:
        (..., 23, 4) quaternions xyzw, each joint relative to its parent.
    """
    half = dof.unflatten(-1, (23, 3, 1)) / 2
    quats = torch.cat([half.sin() * _AXES.to(dof), half.cos()], dim=-1)
    outer, middle, inner = quats.unbind(-2)
    return roma.quat_product(roma.quat_product(outer, middle), inner)


def rotation_to_dof(rotation: torch.Tensor) -> torch.Tensor:
    """Hinge angles from joint rotations, on the branch nearest the middle of each hinge's range.

    Args:
        rotation: (..., 23, 4) unit quaternions xyzw.

    Returns:
        (..., 69) radians; not clamped to `dof_limits`.
    """
    dof = torch.empty(*rotation.shape[:-2], 23, 3, dtype=rotation.dtype, device=rotation.device)
    orders = axis_orders()
    for order in sorted(set(orders)):
        rows = [i for i, o in enumerate(orders) if o == order]
        dof[..., rows, :] = roma.unitquat_to_euler(order.upper(), rotation[..., rows, :])
    dof = dof.flatten(-2)
    middle = _LIMITS.to(dof).mean(-1)
    return dof - 2 * math.pi * torch.round((dof - middle) / (2 * math.pi))
