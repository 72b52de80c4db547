"""Assistive force at the pelvis while a policy learns a difficult motion; annealed to zero during training.

PTM (arXiv 2412.17377) learns such a residual force together with the policy; here it is a spring and damper.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import NUM_JOINTS
from physhmr_kit.motion.state import BodyState

STIFFNESS, DAMPING = 60.0, 15.0
"""Per kg of body mass, 1/s^2 and 1/s; about critically damped."""


def assist_force(sim: BodyState, ref: BodyState, mass: float, max_force: float) -> torch.Tensor:
    """Force mass (k (p_ref - p) + d (v_ref - v)) on each pelvis, at most `max_force` N: (N, 24, 3) N, world frame."""
    pos_error = ref.body_pos[:, 0] - sim.body_pos[:, 0]
    vel_error = ref.body_lin_vel[:, 0] - sim.body_lin_vel[:, 0]
    pull = mass * (STIFFNESS * pos_error + DAMPING * vel_error)
    force = pull.new_zeros(len(pull), NUM_JOINTS, 3)
    force[:, 0] = pull * (max_force / pull.norm(dim=-1, keepdim=True).clamp(min=max_force))
    return force
