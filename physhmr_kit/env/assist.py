"""Assistive force at the pelvis, for a body that has yet to learn a motion; annealed to zero in training.

Public work learns such a residual force with the policy (PTM, arXiv 2412.17377); here it is a spring and damper.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import NUM_JOINTS
from physhmr_kit.motion.state import BodyState

STIFFNESS, DAMPING = 60.0, 15.0
"""Of the pelvis for each kg of the body, 1/s^2 and 1/s; about critically damped."""


def assist_force(sim: BodyState, ref: BodyState, mass: float, most: float) -> torch.Tensor:
    """The force that pulls each pelvis towards the reference, no more than `most` N: (N, 24, 3) N, world frame.

    A spring and damper: mass (k (p_ref - p) + d (v_ref - v)).
    """
    lag = ref.body_pos[:, 0] - sim.body_pos[:, 0]
    slow = ref.body_lin_vel[:, 0] - sim.body_lin_vel[:, 0]
    wanted = mass * (STIFFNESS * lag + DAMPING * slow)
    force = wanted.new_zeros(len(wanted), NUM_JOINTS, 3)
    force[:, 0] = wanted * (most / wanted.norm(dim=-1, keepdim=True).clamp(min=most))
    return force
