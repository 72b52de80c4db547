"""Termination terms: when an episode has failed. Pure functions, (N,) bool each."""

from __future__ import annotations

from functools import cache

import torch

_FEET = (7, 8, 10, 11)
_TOES_AND_HANDS = (10, 11, 22, 23)


@cache
@torch.inference_mode(False)
def _without(joints: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """(24,): 1 for the bodies that count, 0 for these."""
    return torch.tensor([float(j not in joints) for j in range(24)]).to(device)


def _distance(sim_pos: torch.Tensor, ref_pos: torch.Tensor) -> torch.Tensor:
    return (sim_pos - ref_pos).square().sum(-1).sqrt()


def any_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """Any of 20 bodies (all but ankles and toes) is farther than `distance` m from the reference.

    PHC's rule in training, 0.25 m (env_im.yaml). Positions are (N, 24, 3), world frame.
    """
    counted = _without(_FEET, sim_pos.device)
    return (_distance(sim_pos, ref_pos) * counted).amax(1) > distance


def mean_body_distance(sim_pos: torch.Tensor, ref_pos: torch.Tensor) -> torch.Tensor:
    """Mean distance (N,) m of 20 bodies (all but toes and hands) from the reference; positions as above."""
    counted = _without(_TOES_AND_HANDS, sim_pos.device)
    return (_distance(sim_pos, ref_pos) * counted).sum(1) / 20


def mean_body_far(sim_pos: torch.Tensor, ref_pos: torch.Tensor, distance: float) -> torch.Tensor:
    """The mean distance of 20 bodies (all but toes and hands) exceeds `distance` m.

    PHC's rule in evaluation, 0.5 m (im_amp.py).
    """
    return mean_body_distance(sim_pos, ref_pos) > distance
