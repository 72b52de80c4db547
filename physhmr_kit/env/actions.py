"""Actions: how 69 network outputs become 69 PD targets, and back.

Three ways, all at 30 Hz. *Absolute*: target = offset + scale x action, PHC's map; all the student has. *Residual*:
the action corrects what would track the reference if the body were already on it; only the expert, which has the
reference in view, can use it. *Balanced*: residual, and what brings back a body that is off it (virtual_model.py). The inverse of the absolute map turns an expert's target into a student's label.
"""

from __future__ import annotations

import math

import torch

from physhmr_kit.body.humanoid import Humanoid

RESIDUAL_SCALE = 0.5
"""Radians for an expert action of 1."""

VELOCITY_LEAD = 0.75
"""Share of the drives' lag by which a moving target leads."""


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


def reference_targets(
    ref_dof_pos: torch.Tensor, ref_dof_vel: torch.Tensor, ref_torque: torch.Tensor, humanoid: Humanoid
) -> torch.Tensor:
    """PD targets that follow a reference when the body is on it already: q + 0.75 (kd / kp) v + tau / kp.

    A PD drive damps against zero velocity and sags under load, so it trails a moving target by kd / kp seconds (0.1 s with
    PHC's gains) and a loaded one by tau / kp. Both leads are known in advance. The velocity's share is less than 1 because
    a target is held for a whole control step (0.5, 0.75 and 1 were tried by hand; there was little between them).

    Args:
        ref_dof_pos, ref_dof_vel: (..., 69) rad and rad/s.
        ref_torque: (..., 69) N m, e.g. of `inverse_dynamics.reference_torques`.
    """
    kp, kd = humanoid.kp.to(ref_dof_pos), humanoid.kd.to(ref_dof_pos)
    return ref_dof_pos + VELOCITY_LEAD * (kd / kp) * ref_dof_vel + ref_torque / kp


def residual_target(action: torch.Tensor, reference_target: torch.Tensor) -> torch.Tensor:
    """PD target of a residual action: the reference's target (`reference_targets`) one control step ahead + 0.5 x action."""
    return reference_target + RESIDUAL_SCALE * action


def residual_action(target: torch.Tensor, reference_target: torch.Tensor) -> torch.Tensor:
    """The residual action that asks for a PD target; the inverse of `residual_target`."""
    return (target - reference_target) / RESIDUAL_SCALE
