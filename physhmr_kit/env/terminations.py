"""Termination terms: when an episode has failed. Pure functions, (N,) bool each."""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import FEET
from physhmr_kit.motion.following import all_but, body_distance, is_lost


def any_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """Any of 20 bodies (all but ankles and toes) is farther than `distance` m from the reference.

    PHC's rule in training, 0.25 m (env_im.yaml). Positions are (N, 24, 3), world frame.
    """
    return (body_distance(sim_pos, ref_pos) * all_but(FEET, sim_pos.device)).amax(1) > distance


def mean_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """The mean distance of 20 bodies exceeds `distance` m, or is not finite: PHC's rule of evaluation (`motion.following`)."""
    return is_lost(sim_pos, ref_pos, distance)
