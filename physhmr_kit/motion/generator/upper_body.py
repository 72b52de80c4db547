"""Random movements of arms, trunk and head for generated clips, on the hinges the motion itself does not use."""

from __future__ import annotations

import numpy as np

from physhmr_kit.motion.choreography import LIMBS, Choreography
from physhmr_kit.motion.generator.draw import Draw

ARMS = ("collar_z", "collar_y", "shoulder_x", "shoulder_y", "shoulder_z", "elbow_y")
POSTURES = {
    "hanging": (-4, 0, 0, -4, -70, -14),
    "aside": (5, 0, 0, -5, -5, -10),
    "overhead": (22, 0, 0, -5, 50, -10),
    "forward": (0, -5, 0, -85, -12, -10),
    "high": (14, -12, -50, -85, -10, -8),
    "guard": (0, 0, 0, -35, -62, -120),
    "behind": (0, 10, 0, 30, -55, -12),
    "raised": (10, 0, -70, -20, 8, -90),
}
"""Hinge angles of the left arm, degrees, in the order of `ARMS`; mixtures of them are postures too."""

_TRUNK = {
    "spine1_x": (-5, 14), "spine2_x": (-5, 14), "spine3_x": (-5, 12), "spine1_y": (-8, 8), "spine2_y": (-10, 10),
    "spine3_y": (-14, 14), "spine1_z": (-7, 7), "spine2_z": (-7, 7), "spine3_z": (-8, 8),
}  # fmt: skip
_HEAD = {"neck_x": (-16, 18), "neck_y": (-25, 25), "neck_z": (-10, 10), "head_y": (-15, 15), "head_x": (-8, 8)}


def arm(d: Draw, side: str, most: float = 1.0) -> dict[str, float]:
    """Arm angles between hanging (`most` 0) and a mixture of three of `POSTURES` (1), degrees."""
    names = list(POSTURES)
    share = d.rng.dirichlet(np.full(3, 0.7))
    mixture = share @ np.array([POSTURES[d.one_of(names)] for _ in range(3)], float)
    noise = d.rng.normal(0, (2, 2, 6, 6, 6, 10))
    rest = np.array(POSTURES["hanging"], float)
    angles = rest + d.bold * most * (mixture + noise - rest)
    angles[-1] = min(angles[-1], -5)  # an elbow does not bend backwards
    return LIMBS[side](**dict(zip(ARMS, angles.tolist(), strict=True)))


def trunk(d: Draw, most: float = 1.0) -> dict[str, float]:
    """Spine angles, degrees."""
    return {name: most * d.up_to(low, high) for name, (low, high) in _TRUNK.items()}


def head(d: Draw, most: float = 1.0) -> dict[str, float]:
    """Neck and head angles, degrees."""
    return {name: most * d.up_to(low, high) for name, (low, high) in _HEAD.items()}


def wander(m: Choreography, d: Draw, end: float, most: float = 1.0) -> None:
    """Move arms, trunk and head from posture to posture until `end`, s, each at its own pace.

    Channels that already have moves are not changed.
    """
    parts = [
        (lambda: arm(d, "left", most), (0.45, 1.4)),
        (lambda: arm(d, "right", most), (0.45, 1.4)),
        (lambda: trunk(d, most), (0.9, 1.8)),
        (lambda: head(d, most), (0.6, 1.4)),
    ]
    free = {name for name, channel in m.channels.items() if not channel.moves}
    for draw, (quick, slow) in parts:
        now = d.between(0.1, 1.0)
        while True:
            # smaller movements are also slower
            stop = now + d.between(quick, slow) / d.bold**0.5
            if stop > end:
                break
            m.move(now, stop, **{name: angle for name, angle in draw().items() if name in free})
            now = stop + d.between(0.0, 0.7)
