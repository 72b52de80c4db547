"""Settings of what is done to motions. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from physhmr_kit.utils.errors import KitError


@dataclass(frozen=True)
class MotionNoise:
    """Noise on the motions that an expert is shown (motion/noise.py); what it is rewarded for stays exact.

    Standard deviations at full strength, chosen by hand; jumps and gaps are what an estimate does where the detector drops out.
    """

    versions: int = 1
    """Versions of each clip: the exact one, and others of growing strength; 1 trains without noise."""
    least: float = 0.25
    """Strength of the weakest noisy version; the strongest has 1."""
    root_drift: float = 0.05
    """Smooth drift of the root, m."""
    root_seconds: float = 0.5
    """Time over which the drift changes, s."""
    float_height: float = 0.025
    """Constant offset of the height, m."""
    tilt_degrees: float = 3.0
    """Constant lean of the root, degrees."""
    joint_degrees: float = 3.5
    """Smooth noise of every joint, degrees."""
    joint_seconds: float = 0.15
    """Time over which it changes, s."""
    jitter_degrees: float = 0.5
    """Noise of every joint from frame to frame, degrees."""
    jump: float = 0.1
    """Sudden offsets of the root, m on each axis."""
    jump_every: float = 6.0
    """Mean time between two of them, s."""
    jump_seconds: float = 0.4
    """Time in which half of such an offset is gone, s."""
    gap_every: float = 4.0
    """Mean time between two stretches in which nothing was seen, s."""

    def __post_init__(self):
        if self.versions < 1:
            raise KitError(f"versions is {self.versions}; at least 1 is needed")
        if not 0 <= self.least <= 1:
            raise KitError(f"least is {self.least}; it must be between 0 and 1")
        sizes = ("root_drift", "float_height", "tilt_degrees", "joint_degrees", "jitter_degrees", "jump")
        for key in sizes:
            if not getattr(self, key) >= 0:
                raise KitError(f"{key} is {getattr(self, key)}; it cannot be negative")
        for key in ("root_seconds", "joint_seconds", "jump_every", "jump_seconds", "gap_every"):
            if not getattr(self, key) > 0:
                raise KitError(f"{key} is {getattr(self, key)}; it must be greater than 0")
