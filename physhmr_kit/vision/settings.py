"""Settings of the synthetic detector and of augmentation. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True)
class KeypointNoise:
    """Errors of a keypoint detector. Lengths are shares of the person's box (its larger side)."""

    jitter: float = 0.008
    """Standard deviation of the time-varying error."""
    memory: float = 0.8
    """Correlation of that error from one 30 fps frame to the next."""
    bias: float = 0.008
    """Standard deviation of each keypoint's constant error."""
    outlier: float = 0.005
    """Probability that a keypoint is off by eight times the jitter in a frame."""
    swap: float = 0.003
    """Probability in a frame that left and right arms or legs start to be swapped, for about 4 frames."""
    dropout: float = 0.008
    """Probability in a frame that a keypoint starts to be missing."""
    dropout_frames: float = 6.0
    """Mean length of such a gap."""
    frame_dropout: float = 0.002
    """Probability in a frame that the whole person starts to be missing."""
    occlusion: float = 0.0
    """Probability in a frame that a part of the person starts to be occluded, for about 15 frames."""
    truncation: float = 0.0
    """Probability that the image edge cuts off a part of the person."""
    timing: float = 0.0
    """Probability that the frames are not evenly spaced at 30 fps (jitter, or a lower rate held or blended)."""
    joints: float = 0.0
    """Noise on the joints in metres before projection, in multiples of WHAM's (`synthetic.displace`)."""
    masked: float = 0.0
    """Probability in a frame that a keypoint is missing together with those farther out on its limb, as in WHAM."""
    hidden_legs: float = 0.0
    """Probability in a frame that knees and ankles start to be hidden, for about two seconds, as in GVHMR."""

    def scaled(self, factor: float) -> KeypointNoise:
        """Everything but the memory and the lengths of gaps `factor` times as large; 0 is a perfect detector."""
        kept = ("memory", "dropout_frames")
        return replace(self, **{f.name: factor * getattr(self, f.name) for f in fields(self) if f.name not in kept})

    @classmethod
    def none(cls) -> KeypointNoise:
        """A perfect detector."""
        return cls(jitter=0.0, bias=0.0, outlier=0.0, swap=0.0, dropout=0.0, frame_dropout=0.0)


HARD = KeypointNoise(
    swap=0.006, occlusion=0.004, truncation=0.08, timing=0.25, joints=0.6, masked=0.01, hidden_legs=0.0007
)
"""Worse than usual: the noise that the encoder is trained with."""

WHAM = replace(KeypointNoise.none(), joints=1.0, masked=0.03)
"""The noise that WHAM's encoder was trained with, in place of ours."""


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of the encoder's training data: motion, body, camera and detector noise."""

    speed: float = 0.5
    """Played faster by up to this share, or slower by the same factor."""
    mirror: float = 0.5
    """Probability of the mirror image."""
    limbs: float = 0.06
    """Standard deviation of limb lengths, relative; one body for all windows of a batch."""
    mix: float = 0.4
    """Probability that arms, neck and head (in half of these, the trunk too) come from another window."""
    bend: float = 0.08
    """Standard deviation, rad, of a constant rotation added to each joint of arms, neck and head."""
    poses: float = 0.1
    """Probability that a window shows random poses within the hinges' limits, static or slowly changing, in place of the clip's."""
    wild: float = 0.4
    """Probability of a camera as in videos in the wild: nearer, pitched and rolled more (`camera.sample_wild_cameras`)."""
    moving: float = 0.4
    """Probability that the camera orbits, follows or is hand-held."""
    miscalibrated: float = 0.3
    """Probability that the camera's tilt (in half of these, its focal length too) is assumed wrongly."""
    noise: KeypointNoise = field(default_factory=lambda: HARD)


@dataclass(frozen=True)
class Filming:
    """Synthetic views of clips for a student."""

    limbs: float = 0.0
    """Standard deviation of limb lengths, relative; another body in every view, with the legs of the mean shape."""
    moving: float = 0.0
    """Probability that the camera of a view orbits, follows or is hand-held."""
    noise: KeypointNoise = field(default_factory=KeypointNoise)


NO_AUGMENTATION = Augmentation(
    speed=0.0, mirror=0.0, limbs=0.0, mix=0.0, bend=0.0, poses=0.0, wild=0.0, moving=0.0, miscalibrated=0.0,
    noise=KeypointNoise(),
)  # fmt: skip
"""Motions as they are, fixed and calibrated cameras, the default detector noise."""
