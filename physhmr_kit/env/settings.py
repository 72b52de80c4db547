"""What an episode is, in settings: observation groups, reward weights, `TrackingConfig`. Free of torch, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from physhmr_kit.utils.errors import KitError

GROUP_SIZES = {
    "proprioception": 358,
    "reference": 576,
    "preview": 81,
    "rays": 36,
    "ray_confidence": 12,
    "feature": 512,
    "root_orientation": 6,
}
"""The named groups of the observation and their widths."""

VISUAL_GROUPS = ("rays", "ray_confidence", "feature", "root_orientation")
"""The groups that come from a camera; a policy that reads one of them needs a `VisualLibrary`."""


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each reward term; the first five are PhysHMR's, `feet` is ours, the last two belong to fine-tuning."""

    position: float = 0.5
    rotation: float = 0.3
    velocity: float = 0.1
    angular_velocity: float = 0.1
    power: float = -0.0005
    feet: float = 0.0
    balance: float = 0.0
    foot_contact: float = 0.0


@dataclass(frozen=True)
class TrackingConfig:
    """What an episode is.

    Attributes:
        groups: observation groups, in order; those seen by a camera need a VisualLibrary.
        control: 'residual' around the reference, 'balanced' around the reference and the virtual model, or 'absolute' (see actions.py).
        termination: 'any' body of 20 or the 'mean' distance (see terminations.py), or 'none'.
        termination_distance: metres.
        episode_length: control steps after which an episode is truncated; 0 for the end of the clip only.
        start: 'random' frame (reference-state initialisation) or 'first' frame of the clip.
        hard_share: share of starts whose clip is drawn by failure rate.
        moment_share: share of starts placed shortly before a moment at which their clip has been lost.
        first_share: share of starts at their clip's first frame, where evaluations begin.
        retry_share: share of the failed episodes that begin again from where their body was up to 2 s before (see retries.py).
        push_force: N, horizontal, at the chest (spine3), now and then in a random direction (see pushes.py); 0 for never.
        push_steps: control steps that a push lasts.
        push_every: control steps from one push to the next, on average.
        reward: weights of the terms.
    """

    groups: tuple[str, ...] = ("proprioception", "reference")
    control: str = "residual"
    termination: str = "any"
    termination_distance: float = 0.25
    episode_length: int = 300
    start: str = "random"
    hard_share: float = 0.5
    moment_share: float = 0.0
    first_share: float = 0.0
    retry_share: float = 0.0
    push_force: float = 0.0
    push_steps: int = 3
    push_every: float = 90.0
    reward: RewardWeights = RewardWeights()

    def __post_init__(self):
        for key, least in (("push_force", 0), ("push_steps", 1), ("push_every", 1)):
            if not getattr(self, key) >= least:
                raise KitError(f"{key} is {getattr(self, key)}; at least {least} is needed")
        unknown = [g for g in self.groups if g not in GROUP_SIZES]
        if unknown:
            raise KitError(f"unknown observation group '{unknown[0]}'; known: {', '.join(GROUP_SIZES)}")
        for key, allowed in (
            ("control", ("residual", "balanced", "absolute")),
            ("termination", ("any", "mean", "none")),
            ("start", ("random", "first")),
        ):
            if getattr(self, key) not in allowed:
                raise KitError(f"{key} is '{getattr(self, key)}'; choose one of: {', '.join(allowed)}")
