"""How the synthetic detector errs and how far motions are changed for it, in settings. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace


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
    occlusion: float = (
        0.0  # chance in a frame that something starts to hide a part of the person; lasts about 15 frames
    )
    truncation: float = 0.0  # chance that an edge of the picture cuts off a part of the person
    timing: float = (
        0.0  # chance that the pictures were not taken at an even 30 fps (jitter, or a lower rate held or blended)
    )

    def scaled(self, factor: float) -> KeypointNoise:
        """Everything but the memory and the lengths of gaps `factor` times as large; 0 is a perfect detector."""
        kept = ("memory", "dropout_frames")
        return replace(self, **{f.name: factor * getattr(self, f.name) for f in fields(self) if f.name not in kept})

    @classmethod
    def none(cls) -> KeypointNoise:
        """A perfect detector."""
        return cls(jitter=0.0, bias=0.0, outlier=0.0, swap=0.0, dropout=0.0, frame_dropout=0.0)


HARD = KeypointNoise(swap=0.006, occlusion=0.004, truncation=0.08, timing=0.25)
"""Worse than usual: what the encoder is trained under."""


@dataclass(frozen=True)
class Variety:
    """How far motions are changed before they are filmed, and how the detector errs."""

    speed: float = 0.25  # played up to this much faster, or slower by the same factor
    mirror: float = 0.5  # chance of the mirror image
    limbs: float = 0.06  # standard deviation of limb lengths, as a share; one body for all windows
    mix: float = 0.4  # chance that arms, neck and head (and, half of the times, the trunk) are those of another window
    bend: float = 0.08  # standard deviation, rad, of a constant turn added to each joint of arms, neck and head
    moving: float = 0.4  # chance that the camera orbits, follows or is held by hand
    withheld: float = 0.3  # chance that the camera's tilt (and, half of the times, its focal length) is told wrongly
    noise: KeypointNoise = field(default_factory=lambda: HARD)


@dataclass(frozen=True)
class Filming:
    """How clips are filmed for a student."""

    limbs: float = 0.0  # standard deviation of limb lengths, as a share; a body of its own in every view, legs as long as the mean shape's
    moving: float = 0.0  # chance that the camera of a view orbits, follows or is held by hand
    noise: KeypointNoise = field(default_factory=KeypointNoise)


STILL = Variety(speed=0.0, mirror=0.0, limbs=0.0, mix=0.0, bend=0.0, moving=0.0, withheld=0.0, noise=KeypointNoise())
"""Motions as they are, fixed and known cameras, under the default detector noise."""
