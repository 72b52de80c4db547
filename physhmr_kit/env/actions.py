"""Actions: how 69 network outputs become 69 PD targets, and back.

Two ways, both at 30 Hz. *Absolute*: target = offset + scale x action, PHC's map; all the student has. *Residual*:
the action corrects what would track the reference if the body were already on it; only the expert, which has the
reference in view, can use it. The inverse of the absolute map turns an expert's target into a student's label.
"""

from __future__ import annotations

import math

import torch

from physhmr_kit.body.humanoid import Humanoid

RESIDUAL_SCALE = 0.5
"""Radians for an expert action of 1."""


def absolute_scale(humanoid: Humanoid) -> torch.Tensor:
    """(69,) radians for an action of 1: min(1.2 x largest |limit| of the joint's three hinges, pi) (PHC, humanoid.py)."""
    largest = humanoid.dof_limits.abs().amax(1).view(23, 3).amax(1)
    return (1.2 * largest).clamp(max=math.pi).repeat_interleave(3)


def absolute_target(action: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """PD target of an absolute action: (N, 69) -> (N, 69) rad."""
    return action * scale


def absolute_action(target: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The absolute action that asks for a PD target: (N, 69) rad -> (N, 69)."""
    return target / scale


def residual_target(
    action: torch.Tensor, ref_dof_pos: torch.Tensor, ref_dof_vel: torch.Tensor, lag: torch.Tensor
) -> torch.Tensor:
    """PD target of a residual action: reference + lag x reference velocity + 0.5 x action.

    A PD drive damps against zero velocity and so trails a moving target by kd / kp seconds (0.1 s with PHC's
    gains). Leading the target by that much turns the law into kp (q_ref - q) + kd (v_ref - v).

    Args:
        ref_dof_pos, ref_dof_vel: (N, 69) rad and rad/s, the reference one control step ahead.
        lag: (69,) kd / kp, seconds.
    """
    return ref_dof_pos + lag * ref_dof_vel + RESIDUAL_SCALE * action
