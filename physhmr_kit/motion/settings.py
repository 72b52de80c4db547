"""Settings of motion noise. Does not import torch, so that `--help` is fast."""

from __future__ import annotations

from dataclasses import dataclass

from physhmr_kit.utils.errors import KitError


@dataclass(frozen=True)
class MotionNoise:
    """Noise on the reference motions an expert observes (motion/noise.py); the reward uses the exact motions.

    Standard deviations at full strength, chosen by hand; jumps and gaps imitate an estimate where the detector drops out.
    """

    versions: int = 1
    """Versions of each clip: the exact one, then others of increasing strength; 1 trains without noise."""
    least: float = 0.25
    """Strength of the weakest noisy version; that of the strongest is 1."""
    root_drift: float = 0.05
    """Smooth drift of the root, m."""
    root_seconds: float = 0.5
    """Time scale of the drift, s."""
    float_height: float = 0.025
    """Constant offset of the height, m."""
    tilt_degrees: float = 3.0
    """Constant lean of the root, degrees."""
    joint_degrees: float = 3.5
    """Smooth noise of every joint, degrees."""
    joint_seconds: float = 0.15
    """Time scale of the joint noise, s."""
    jitter_degrees: float = 0.5
    """Independent noise of every joint in each frame, degrees."""
    jump: float = 0.1
    """Sudden offsets of the root, m along each axis."""
    jump_every: float = 6.0
    """Mean time between two jumps, s."""
    jump_seconds: float = 0.4
    """Half-life of such an offset, s."""
    gap_every: float = 4.0
    """Mean time between two gaps without detections, s."""

    def __post_init__(self):
        if self.versions < 1:
            raise KitError(f"versions is {self.versions}; at least 1 is needed")
        if not 0 <= self.least <= 1:
            raise KitError(f"least is {self.least}; it must be between 0 and 1")
        for key in ("root_drift", "float_height", "tilt_degrees", "joint_degrees", "jitter_degrees", "jump"):
            if not getattr(self, key) >= 0:
                raise KitError(f"{key} is {getattr(self, key)}; it cannot be negative")
        for key in ("root_seconds", "joint_seconds", "jump_every", "jump_seconds", "gap_every"):
            if not getattr(self, key) > 0:
                raise KitError(f"{key} is {getattr(self, key)}; it must be greater than 0")
