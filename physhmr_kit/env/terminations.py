"""Termination terms: when an episode has failed. Pure functions, (N,) bool each."""

from __future__ import annotations

import torch

_TRACKED = [j for j in range(24) if j not in (7, 8, 10, 11)]
_EVALUATED = [j for j in range(24) if j not in (10, 11, 22, 23)]


def any_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """Any of 20 bodies (all but ankles and toes) is farther than `distance` m from the reference.

    PHC's rule in training, 0.25 m (env_im.yaml). Positions are (N, 24, 3), world frame.
    """
    return ((sim_pos - ref_pos)[:, _TRACKED].norm(dim=-1) > distance).any(1)


def mean_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """The mean distance of 20 bodies (all but toes and hands) exceeds `distance` m.

    PHC's rule in evaluation, 0.5 m (im_amp.py).
    """
    return (sim_pos - ref_pos)[:, _EVALUATED].norm(dim=-1).mean(1) > distance
