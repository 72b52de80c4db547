"""Detects the up axis and the length unit of imported motion.

Both are measured on a body that walks or stands: trunk and legs run along the vertical, the lowest point of the body rests on
a level floor, and a stance foot does not slide.
"""

from __future__ import annotations

import torch

from data_prep.retargeting.source import JOINT, unit
from physhmr_kit.motion.kinematics import linear_velocity
from physhmr_kit.utils.errors import KitError

_AXES = {
    sign + name: s * torch.eye(3, dtype=torch.float64)[i]
    for s, sign in ((1.0, ""), (-1.0, "-"))
    for i, name in enumerate("xyz")
}
_UPRIGHT = 0.5  # component of the mean body axis along the expected up at which it is accepted
_ALONG = 0.9  # cosine: a body aligned this well with another axis may be standing on it
_CLEARER = 0.15  # share of frames on a floor by which one axis must beat the other
_UNITS = {
    1e-3: "millimetres",
    1e-2: "centimetres",
    0.0254: "inches",
    1.0: "metres",
    100.0: "hundreds of metres",
    1000.0: "kilometres",
}
_FASTEST = 12.0  # m/s, faster than a sprint
LEG = 0.8
"""m, a usual `leg_length`."""


def find_up(pos: torch.Tensor, fps: float, expected: torch.Tensor, name: str) -> tuple[torch.Tensor, str]:
    """Which axis of a file points up.

    Args:
        pos: (T, 24, 3) joints in the file's axes. fps: frames per second.
        expected: (3,) unit, by the format or the rest pose. name: of the file, for the message.

    Returns:
        (3,) unit vector in the file's axes, and a note where it is not the expected one.

    Raises:
        KitError: the body is aligned with another axis, and it is ambiguous whether it lies or stands.
    """
    body = _body_axis(pos).mean(0)
    if float(body @ expected) >= _UPRIGHT:
        return expected, ""
    along = {axis: float(unit(body) @ vector) for axis, vector in _AXES.items()}
    other = max(along, key=lambda axis: along[axis])
    if along[other] < _ALONG or float(body.norm()) < _UPRIGHT:
        return expected, ""  # cartwheels, rolls, crawling: no axis to stand on, so we trust the format
    scores = [floor_contact(pos, axis, fps) for axis in (expected, _AXES[other])]
    usual = next(axis for axis, vector in _AXES.items() if torch.equal(vector, expected))
    if scores[1] > scores[0] + _CLEARER:
        return _AXES[other], f"turned upright: {other} is up in the file, not {usual}"
    if scores[0] > scores[1] + _CLEARER:
        return expected, ""
    raise KitError(
        f"{name}: the up axis is ambiguous: the body is aligned with {other} where {usual} should be up, and rests on a floor "
        f"as often by either; rotate the file so that {usual} is up"
    )


def _body_axis(pos: torch.Tensor) -> torch.Tensor:
    """Mean of the directions of trunk and legs, feet to head, at most 1 long: (T, 24, 3) -> (T, 3)."""
    hips, ankles = pos[:, [1, 2]].mean(1), pos[:, [7, 8]].mean(1)
    return (unit(pos[:, [JOINT["head"], 16, 17]].mean(1) - hips) + unit(hips - ankles)) / 2


def floor_contact(pos: torch.Tensor, up: torch.Tensor, fps: float) -> float:
    """Share of frames in which the lowest joint is on one level and does not slide, if `up` (3,) were up: 0..1."""
    metres = pos * (LEG / leg_length(pos))
    height, lowest = (metres @ up).min(1)
    velocity = linear_velocity(metres, fps)
    at = velocity[torch.arange(len(pos)), lowest]
    slide = (at - (at @ up).unsqueeze(-1) * up).norm(dim=-1)
    return float(((height < torch.quantile(height, 0.05) + 0.06) & (slide < 0.4)).double().mean())


def leg_length(pos: torch.Tensor) -> float:
    """Median length of thigh and shank, mean of both sides: (T, 24, 3) -> file units."""
    bones = ((1, 4), (4, 7), (2, 5), (5, 8))
    return sum(float((pos[:, b] - pos[:, a]).norm(dim=-1).median()) for a, b in bones) / 2


def upright_turn(up: torch.Tensor, to: str = "y") -> torch.Tensor:
    """(3, 3) rotation that takes an axis `up` (3,) to +y or +z: a quarter or half turn about a horizontal axis, or none."""
    target = _AXES[to]
    cosine = float(up @ target)
    if cosine > 1 - 1e-9:
        return torch.eye(3, dtype=torch.float64)
    if cosine < -1 + 1e-9:  # about x
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    axis = torch.linalg.cross(up, target)
    cross = torch.zeros(3, 3, dtype=torch.float64)
    cross[0, 1], cross[0, 2], cross[1, 2] = -axis[2], axis[1], -axis[0]
    cross = cross - cross.T
    return torch.eye(3, dtype=torch.float64) + cross + cross @ cross / (1 + cosine)


def path_unit(root: torch.Tensor, feet: torch.Tensor, up: torch.Tensor, fps: float) -> tuple[float, str]:
    """Detects the length unit of a root's path, given limbs in metres.

    A stance foot is still only if the path has the right unit; for a body on the spot the height above the floor decides.

    Args:
        root: (T, 3) as the file has it. feet: (T, F, 3) m, from the root, world axes. up: (3,). fps: frames per second.

    Returns:
        metres in one unit of the path, and the unit's name; 1.0 and '' where metres fit or nothing decides.
    """
    relative, moved = linear_velocity(feet, fps), linear_velocity(root.unsqueeze(1), fps)
    height = -(feet @ up).amin(1)  # of the root above its lower foot

    def slide(metres: float) -> float:
        return float((relative + metres * moved).norm(dim=-1).amin(1).median())

    def off_floor(metres: float) -> float:
        return float((metres * (root @ up) - height).abs().median())

    span = float((root.amax(0) - root.amin(0)).norm())
    best = min(_UNITS, key=slide)
    if best == 1.0:
        return 1.0, ""
    plausible = best > 1.0 or float(moved.norm(dim=-1).quantile(0.9)) > _FASTEST  # a skater slides, but not this fast
    if plausible and slide(best) < 0.3 * slide(1.0) and slide(1.0) > 0.05 and best * span > 0.2:
        return best, _UNITS[best]
    if off_floor(1.0) > 5.0:
        best = min(_UNITS, key=off_floor)
        if off_floor(best) < 0.5:
            return best, _UNITS[best]
    return 1.0, ""
