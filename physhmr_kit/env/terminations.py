"""Termination terms: rules by which an episode fails. Pure functions, (N,) bool each."""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import FEET
from physhmr_kit.motion.following import all_but, body_distance, has_fallen, is_lost


def any_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """Any of 20 bodies (all but ankles and toes) is farther than `distance` m from the reference.

    PHC's rule in training, 0.25 m (env_im.yaml). Positions are (N, 24, 3), world frame.
    """
    return (body_distance(sim_pos, ref_pos) * all_but(FEET, sim_pos.device)).amax(1) > distance


def relative_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """The mean distance of 20 bodies exceeds `distance` m after horizontal alignment of the roots, or the body has fallen where
    the reference stands. Horizontal drift alone does not fail (as in PTM, arXiv 2412.17377).
    """
    shift = (ref_pos - sim_pos)[:, :1] * torch.tensor([1.0, 1.0, 0.0], device=sim_pos.device)
    return is_lost(sim_pos + shift, ref_pos, distance) | has_fallen(sim_pos, ref_pos)


def mean_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """The mean distance of 20 bodies exceeds `distance` m, or is not finite: PHC's rule of evaluation (`motion.following`)."""
    return is_lost(sim_pos, ref_pos, distance)
