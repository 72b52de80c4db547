"""How the synthetic detector errs and how far motions are changed for it, in settings. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeypointNoise:
    """How a detector errs. Lengths are shares of the person's box (its larger side)."""

    jitter: float = 0.008  # standard deviation of the moving error
    memory: float = 0.8  # correlation of that error from one 30 fps frame to the next
    bias: float = 0.008  # standard deviation of each keypoint's constant error
    outlier: float = 0.005  # chance that a keypoint is thrown off by eight times the jitter in a frame
    swap: float = 0.003  # chance in a frame that arms or legs start to be swapped left-right; lasts about 4 frames
    dropout: float = 0.008  # chance in a frame that a keypoint starts to be missing
    dropout_frames: float = 6.0  # mean length of such a gap
    frame_dropout: float = 0.002  # chance in a frame that the whole person starts to be missing

    @classmethod
    def none(cls) -> KeypointNoise:
        """A perfect detector."""
        return cls(jitter=0.0, bias=0.0, outlier=0.0, swap=0.0, dropout=0.0, frame_dropout=0.0)


@dataclass(frozen=True)
class Variety:
    """How far motions are changed before they are filmed, and how the detector errs."""

    speed: float = 0.25  # played up to this much faster, or slower by the same factor
    mirror: float = 0.5  # chance of the mirror image
    limbs: float = 0.06  # standard deviation of limb lengths, as a share; one body for all windows
    noise: KeypointNoise = field(default_factory=KeypointNoise)


STILL = Variety(speed=0.0, mirror=0.0, limbs=0.0)
"""Motions as they are, under the default detector noise."""
