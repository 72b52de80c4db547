"""Physical plausibility of a motion without ground truth: artefacts that are impossible on a flat floor.

Each measure covers one artefact, on the mean-shape humanoid at 30 fps with the floor at z = 0 (ours, except jitter and
height variance). Read them together: a floating body neither slides nor penetrates.

| measure | definition |
|---|---|
| foot sliding | horizontal speed of the contact point of a foot in stance (`motion.soles.find_stance`), cm/s |
| floating | height of the lowest point of the body, counted above 5 mm, in all frames but those of a physical flight, mm |
| penetration | depth of the lowest point below the floor, mm |
| height variance | of the lowest point over the lowest quarter of the frames (PhysHMR's HV), mm² |
| jitter | third difference of the 24 joints (WHAM family), 10 m/s³ |
| self-penetration | largest penetration between the body's own collision shapes, mm |
| beyond limits | share of (frame, hinge) pairs outside the anatomical range, %; and their mean excess, degrees |
| off balance | share of frames with feet on the floor whose zero-moment point lies more than 5 cm outside the soles, % |
| unphysical flight | share of frames in the air that are no jump, % |

The lowest point is taken over the sole corners and the other joints less 5 cm of flesh (`motion.check.outline`); a
frame with it above 5 cm is in the air. Three or more such frames in a row are a flight, which is physical if it lasts
at most 1 s and the centre of mass follows a parabola with at least half of gravity. Shorter ones are not judged.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from physhmr_kit.body.hinges import dof_limits, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.feasible import beyond_support, segment_centres
from physhmr_kit.metrics.protocols import Values
from physhmr_kit.motion.check import LONGEST_FLIGHT, OFF_FLOOR, falls, outline
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.motion.overlap import self_overlap
from physhmr_kit.motion.soles import contact_point, find_stance, runs, sole_corners
from physhmr_kit.motion.state import BodyState

BALANCE_MARGIN = 0.05
"""m, distance of the zero-moment point from the support within the accuracy of the sole model and second derivatives."""
SHORTEST_FLIGHT = 3
"""Frames; fewer have no second difference, from which a fall is recognised."""

COLUMNS = {
    "foot_sliding": "foot sliding cm/s", "floating": "floating mm", "penetration": "penetration mm",
    "height_variance": "height var. mm²", "jitter": "jitter 10 m/s³", "self_penetration": "self-penetration mm",
    "beyond_limits": "beyond limits %", "limit_excess": "by degrees", "off_balance": "off balance %",
    "unphysical_flight": "unphysical flight %",
}  # fmt: skip
"""Measure -> heading."""


def plausibility(states: BodyState, fps: float = 30.0, humanoid: Humanoid | None = None) -> Values:
    """All measures of a motion.

    Args:
        states: T frames; only body positions and rotations are used. humanoid: the mean shape by default.

    Returns:
        measure of `COLUMNS` -> its values: one per frame, foot in stance, hinge or violation; may be empty.
    """
    humanoid = humanoid or Humanoid.mean()
    hinges = rotation_to_dof(local_rotations(states.body_rot)[:, 1:])  # `states.dof_pos` is clamped to the limits
    states = replace(states, dof_pos=hinges)
    points = outline(states.body_pos, states.body_rot, humanoid)
    lowest = points[..., 2].amin(1)
    masses = humanoid.segment_masses().double()
    centre = (segment_centres(states, humanoid)[..., 2] @ masses / masses.sum()).float()
    flying, unphysical = flights(lowest, centre, fps)
    excess = F.limit_excess(hinges, dof_limits())
    beyond = beyond_support(states, fps, humanoid)
    grounded = beyond[torch.isfinite(beyond)]
    return {
        "foot_sliding": foot_slip(sole_corners(states.body_pos, states.body_rot, humanoid), fps),
        "floating": torch.where(lowest > F.DEAD_ZONE, lowest, 0.0)[~flying] * F.MM,
        "penetration": F.penetration(points),
        "height_variance": F.height_variance(points),
        "jitter": F.jitter(states.body_pos, fps),
        "self_penetration": self_overlap(states, humanoid) * F.MM,
        "beyond_limits": (excess > 0).flatten().float() * 100,
        "limit_excess": excess[excess > 0],
        "off_balance": (grounded > BALANCE_MARGIN).float() * 100,
        "unphysical_flight": unphysical.float() * 100,
    }


def foot_slip(corners: torch.Tensor, fps: float) -> torch.Tensor:
    """Horizontal speed of feet in stance: (T, 2, 8, 3) m -> (frames and feet in stance,) cm/s."""
    _, velocity = contact_point(corners, fps)
    return velocity[..., :2].norm(dim=-1)[find_stance(corners, fps)] * 100


def flights(lowest: torch.Tensor, centre: torch.Tensor, fps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of physical and of unphysical flights.

    Args:
        lowest: (T,) m, height of the body's lowest point. centre: (T,) m, height of its centre of mass.

    Returns:
        (T,) bool each; both False in contact and in flights too short to judge.
    """
    physical, unphysical = torch.zeros_like(lowest, dtype=torch.bool), torch.zeros_like(lowest, dtype=torch.bool)
    for start, stop in runs(lowest > OFF_FLOOR):
        if stop - start >= SHORTEST_FLIGHT:
            real = (stop - start) / fps <= LONGEST_FLIGHT and falls(centre[start:stop], fps)
            (physical if real else unphysical)[start:stop] = True
    return physical, unphysical
