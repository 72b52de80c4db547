"""Tracking failure: PHC's evaluation rule, shared by environments, rollouts and tables; and falls."""

from __future__ import annotations

from functools import cache

import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, standing_height

TOES_AND_HANDS = (10, 11, 22, 23)
"""The bodies that PHC excludes; the other 20 count."""

LOST_DISTANCE = 0.5
"""Mean distance, m, at which tracking has failed (PHC, im_amp.py)."""


@cache
@torch.inference_mode(False)
def all_but(bodies: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """(24,): 0 for these bodies, 1 for all others."""
    return torch.tensor([float(j not in bodies) for j in range(24)]).to(device)


def body_distance(body_pos: torch.Tensor, target_pos: torch.Tensor) -> torch.Tensor:
    """Distance of each body from its target: (..., 24, 3) m each, world -> (..., 24) m."""
    return (body_pos - target_pos).square().sum(-1).sqrt()


def mean_body_distance(body_pos: torch.Tensor, target_pos: torch.Tensor) -> torch.Tensor:
    """Mean distance of the 20 bodies that count: (..., 24, 3) m each, world -> (...) m."""
    counted = all_but(TOES_AND_HANDS, body_pos.device)
    return (body_distance(body_pos, target_pos) * counted).sum(-1) / 20


def is_lost(body_pos: torch.Tensor, target_pos: torch.Tensor, distance: float = LOST_DISTANCE) -> torch.Tensor:
    """Whether the mean distance exceeds `distance`, m, or is not finite: (..., 24, 3) m each, world -> (...) bool."""
    return ~(mean_body_distance(body_pos, target_pos) <= distance)


def is_upright(body_pos: torch.Tensor) -> torch.Tensor:
    """Whether a body is upright: trunk within 60 degrees of the vertical, pelvis above half its standing height.

    Args:
        body_pos: (..., 24, 3) m, world, floor at z = 0.

    Returns:
        (...) bool.
    """
    pelvis, neck = (body_pos[..., JOINT_NAMES.index(name), :] for name in ("pelvis", "neck"))
    trunk = torch.nn.functional.normalize(neck - pelvis, dim=-1)
    return (trunk[..., 2] > 0.5) & (pelvis[..., 2] > standing_height() / 2)


def has_fallen(body_pos: torch.Tensor, target_pos: torch.Tensor) -> torch.Tensor:
    """Whether a body is not upright although its target is: (..., 24, 3) m each, world -> (...) bool."""
    return is_upright(target_pos) & ~is_upright(body_pos)
