"""Settings of the synthetic detector and of augmentation. Does not import torch, which would slow down `--help`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True)
class KeypointNoise:
    """Errors of a keypoint detector. Lengths are relative to the larger side of the person's bounding box."""

    jitter: float = 0.008
    """Standard deviation of the time-varying error."""
    memory: float = 0.8
    """Correlation of the time-varying error between consecutive 30 fps frames."""
    bias: float = 0.008
    """Standard deviation of each keypoint's constant error."""
    outlier: float = 0.005
    """Probability per frame that a keypoint is off by eight times the jitter."""
    swap: float = 0.003
    """Probability per frame that the arms or the legs become swapped, for about 4 frames."""
    dropout: float = 0.008
    """Probability per frame that a keypoint goes missing."""
    dropout_frames: float = 6.0
    """Mean length of such gaps."""
    frame_dropout: float = 0.002
    """Probability per frame that the whole person goes missing."""
    occlusion: float = 0.0
    """Probability per frame that a part of the person becomes occluded, for about 15 frames."""
    truncation: float = 0.0
    """Probability that the image border cuts off a part of the person."""
    timing: float = 0.0
    """Probability that the frames are not evenly spaced at 30 fps (jitter, or a lower rate with repeated frames)."""
    joints: float = 0.0
    """3-D noise on the joints before projection, as a multiple of WHAM's (`synthetic.displace`)."""
    masked: float = 0.0
    """Probability per frame that a keypoint is missing together with those farther out on its limb, as in WHAM."""
    hidden_legs: float = 0.0
    """Probability per frame that knees and ankles become hidden, for about two seconds, as in GVHMR."""

    def scaled(self, factor: float) -> KeypointNoise:
        """All errors and probabilities times `factor`, same correlation and gap length; 0 is a perfect detector."""
        kept = ("memory", "dropout_frames")
        return replace(self, **{f.name: factor * getattr(self, f.name) for f in fields(self) if f.name not in kept})

    @classmethod
    def none(cls) -> KeypointNoise:
        """A perfect detector."""
        return cls(jitter=0.0, bias=0.0, outlier=0.0, swap=0.0, dropout=0.0, frame_dropout=0.0)


HARD = KeypointNoise(
    swap=0.006, occlusion=0.004, truncation=0.08, timing=0.25, joints=0.6, masked=0.01, hidden_legs=0.0007
)
"""Stronger than the default: the noise that the encoder is trained with."""

WHAM = replace(KeypointNoise.none(), joints=1.0, masked=0.03)
"""The noise that WHAM's encoder was trained with."""


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of the encoder's training data."""

    speed: float = 0.5
    """Maximum change of playback speed: up to 1 + speed times faster or slower."""
    mirror: float = 0.5
    """Probability of mirroring."""
    limbs: float = 0.06
    """Relative standard deviation of limb lengths; one body per batch."""
    mix: float = 0.4
    """Probability that arms, neck and head (in half of these windows also the trunk) come from another window."""
    bend: float = 0.08
    """Standard deviation, rad, of a constant rotation added to each joint of arms, neck and head."""
    poses: float = 0.1
    """Probability that a window shows random poses within the joint limits, static or slowly changing, instead of the clip."""
    wild: float = 0.4
    """Probability of a camera as in videos in the wild: nearer, with more pitch and roll (`camera.sample_wild_cameras`)."""
    moving: float = 0.4
    """Probability that the camera orbits, follows the person or is hand-held."""
    miscalibrated: float = 0.3
    """Probability that the assumed tilt of the camera (in half of these also its focal length) is wrong."""
    noise: KeypointNoise = field(default_factory=lambda: HARD)


@dataclass(frozen=True)
class Filming:
    """Synthetic views of clips for training a student."""

    limbs: float = 0.0
    """Relative standard deviation of limb lengths; a different body in every view, with the legs of the mean shape."""
    moving: float = 0.0
    """Probability that the camera of a view orbits, follows the person or is hand-held."""
    noise: KeypointNoise = field(default_factory=KeypointNoise)


NO_AUGMENTATION = Augmentation(
    speed=0.0, mirror=0.0, limbs=0.0, mix=0.0, bend=0.0, poses=0.0, wild=0.0, moving=0.0, miscalibrated=0.0,
    noise=KeypointNoise(),
)  # fmt: skip
"""No augmentation: fixed, calibrated cameras and the default detector noise."""
