"""Conversion between 69 network outputs and 69 PD targets, at 30 Hz.

*Absolute*: target = scale x action (PHC); needs no reference motion. *Residual*: the action is added to targets that track
the reference exactly when the body is already on it. *Balanced*: residual plus a correction from the virtual model
(virtual_model.py). The inverse maps turn an expert's targets into a student's labels.
"""

from __future__ import annotations

import math

import torch

from physhmr_kit.body.humanoid import Humanoid

RESIDUAL_SCALE = 0.5
"""Radians for an expert action of 1."""

VELOCITY_LEAD = 0.75
"""Fraction of the drives' lag that moving targets compensate."""


def absolute_scale(humanoid: Humanoid) -> torch.Tensor:
    """(69,) radians for an action of 1: min(1.2 x largest |limit| of the joint's three hinges, pi) (PHC, humanoid.py)."""
    largest = humanoid.dof_limits.abs().amax(1).view(23, 3).amax(1)
    return (1.2 * largest).clamp(max=math.pi).repeat_interleave(3)


def absolute_target(action: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """PD target of an absolute action: (N, 69) -> (N, 69) rad."""
    return action * scale


def absolute_action(target: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Inverse of `absolute_target`: (N, 69) rad -> (N, 69)."""
    return target / scale


def reference_targets(
    ref_dof_pos: torch.Tensor, ref_dof_vel: torch.Tensor, ref_torque: torch.Tensor, humanoid: Humanoid
) -> torch.Tensor:
    """PD targets that track a reference when the body is already on it: q + 0.75 (kd / kp) v + tau / kp.

    A PD drive damps towards zero velocity and needs an error to produce torque, so it lags a moving target by kd / kp
    seconds (0.1 s with PHC's gains) and a loaded one by tau / kp. The velocity term is scaled by less than 1 because a
    target is held for a whole control step (0.5, 0.75 and 1 were tried by hand and differ little).

    Args:
        ref_dof_pos, ref_dof_vel: (..., 69) rad and rad/s.
        ref_torque: (..., 69) N m, e.g. from `inverse_dynamics.reference_torques`.
    """
    kp, kd = humanoid.kp.to(ref_dof_pos), humanoid.kd.to(ref_dof_pos)
    return ref_dof_pos + VELOCITY_LEAD * (kd / kp) * ref_dof_vel + ref_torque / kp


def residual_target(action: torch.Tensor, reference_target: torch.Tensor) -> torch.Tensor:
    """PD target of a residual action: `reference_targets` one control step ahead + 0.5 x action, rad."""
    return reference_target + RESIDUAL_SCALE * action


def residual_action(target: torch.Tensor, reference_target: torch.Tensor) -> torch.Tensor:
    """Inverse of `residual_target`."""
    return (target - reference_target) / RESIDUAL_SCALE
