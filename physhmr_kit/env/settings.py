"""Settings of the environment: observation groups, reward weights, `TrackingConfig`. Imports no torch, for a fast `--help`."""

from __future__ import annotations

from dataclasses import dataclass

from physhmr_kit.utils.errors import KitError

GROUP_SIZES = {
    "proprioception": 358,
    "reference": 576,
    "preview": 81,
    "estimate": 576,
    "estimate_preview": 81,
    "rays": 36,
    "ray_confidence": 12,
    "feature": 512,
    "root_orientation": 6,
    "root_position": 3,
}
"""Observation groups and their widths."""

ESTIMATES = {"reference": "estimate", "preview": "estimate_preview"}
"""Groups of the true motion and the corresponding groups of an estimate, which have the same layout."""

ESTIMATE_GROUPS = (*ESTIMATES.values(), "root_position")
"""Groups computed from an estimate of the motion."""

VISUAL_GROUPS = ("rays", "ray_confidence", "feature", "root_orientation")
"""Groups computed from a camera; the environment needs a `VisualLibrary`."""

EXPERT_GROUPS = ("proprioception", "reference", "preview")
"""Groups of an expert; the preview is optional."""

STUDENT_GROUPS = ("proprioception", *VISUAL_GROUPS)
"""Groups of PhysHMR's student, variant 358: 924 numbers."""

PAPER_GROUPS = (*STUDENT_GROUPS, "root_position")
"""All groups of PhysHMR's student and its ablations, which read proprioception and at least one more."""

ESTIMATE_STUDENT_GROUPS = ("proprioception", *ESTIMATES.values(), "rays", "ray_confidence", "feature")
"""Groups of a student that tracks the refined estimate: 1575 numbers."""


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each reward term (formulas in env/rewards.py); a term of weight 0 is not computed. Defaults are PhysHMR's."""

    position: float = 0.5
    """Weight of: body positions."""
    rotation: float = 0.3
    """Weight of: body rotations."""
    velocity: float = 0.1
    """Weight of: linear velocities of the bodies."""
    angular_velocity: float = 0.1
    """Weight of: angular velocities of the bodies."""
    power: float = -0.0005
    """Weight of: mechanical power of the drives, per watt."""
    feet: float = 0.0
    """Weight of: positions of ankles and toes."""
    balance: float = 0.0
    """Weight of: centre of mass over the line between the feet."""
    foot_contact: float = 0.0
    """Weight of: feet that stand when the reference stands, and do not slip."""
    pose: float = 0.0
    """Weight of: body positions relative to the root."""
    rays: float = 0.0
    """Weight of: joints on the camera's rays; needs views."""


#                    position rotation velocity ang. velocity  power     feet  balance  foot contact  pose  rays
# PhysHMR trains on billions of samples; with millions, its power cost prevents a policy from learning to track
EXPERT_REWARD = RewardWeights(0.5, 0.3, 0.1, 0.1, -0.0001, 0.0, 0.0, 0.0, 0.0, 0.0)
FINETUNE_REWARD = RewardWeights(0.35, 0.2, 0.1, 0.1, -0.00005, 0.0, 0.1, 0.15, 0.0, 0.0)
# the root is unknown in a video: the pose is compared relative to it, and rays constrain where the body is seen
VIDEO_REWARD = RewardWeights(0.0, 0.2, 0.1, 0.05, -0.00005, 0.0, 0.05, 0.1, 0.25, 0.25)


@dataclass(frozen=True)
class EpisodeConfig:
    """Start, termination, pushes and rewards of an episode."""

    termination: str = "any"
    """An episode fails when 'any' of 20 bodies, or the 'mean' of 20 bodies, is too far from the reference, or their mean distance
    with the roots above one another ('relative', which also fails a body that has fallen); 'none' never fails."""
    termination_distance: float = 0.25
    """That distance in metres."""
    episode_length: int | None = 300
    """Control steps after which an episode is truncated; null for the end of the clip only."""
    failure_weighted_prob: float = 0.5
    """Probability that the clip of a new episode is drawn in proportion to its recent failures instead of uniformly."""
    pre_failure_prob: float = 0.0
    """Probability that an episode starts shortly before a moment at which its clip was recently lost."""
    first_frame_prob: float = 0.0
    """Probability that an episode starts at the first frame of its clip, where evaluations start."""
    push_force: float = 0.0
    """Force in newtons of random horizontal pushes at the chest; 0 for none."""
    push_steps: int = 3
    """Control steps that a push lasts."""
    push_interval: float = 90.0
    """Mean number of control steps between two pushes."""
    reward: RewardWeights = RewardWeights()
    """Weights of the reward terms."""

    def __post_init__(self):
        for key, least in {"push_force": 0, "push_steps": 1, "push_interval": 1, "termination_distance": 0}.items():
            if not getattr(self, key) >= least:
                raise KitError(f"{key} is {getattr(self, key)}; at least {least} is needed")
        for key in ("failure_weighted_prob", "pre_failure_prob", "first_frame_prob"):
            if not 0 <= getattr(self, key) <= 1:
                raise KitError(f"{key} is {getattr(self, key)}; it is a probability, between 0 and 1")
        if self.episode_length is not None and self.episode_length < 1:
            raise KitError(f"episode_length is {self.episode_length}; at least 1 is needed, or null for no limit")
        check_choice(self, "termination", ("any", "mean", "relative", "none"))


@dataclass(frozen=True)
class TrackingConfig(EpisodeConfig):
    """Settings of `TrackingEnv`: episodes, observations and actions.

    Attributes:
        groups: observation groups, in order; those in `VISUAL_GROUPS` need a `VisualLibrary`.
        control: 'residual', 'balanced' or 'absolute' (see actions.py).
        start: 'random' frame (reference-state initialisation) or 'first' frame of the clip.
    """

    groups: tuple[str, ...] = ("proprioception", "reference")
    control: str = "residual"
    start: str = "random"

    def __post_init__(self):
        super().__post_init__()
        unknown = [g for g in self.groups if g not in GROUP_SIZES]
        if unknown:
            raise KitError(f"unknown observation group '{unknown[0]}'; known: {', '.join(GROUP_SIZES)}")
        check_choice(self, "control", ("residual", "balanced", "absolute"))
        check_choice(self, "start", ("random", "first"))

    @classmethod
    def of(cls, episode: EpisodeConfig, groups: tuple[str, ...], control: str) -> TrackingConfig:
        """The settings for a policy with these observation groups and this control."""
        return cls(**vars(episode), groups=tuple(groups), control=control)


def reads_as_paper(groups: tuple[str, ...]) -> bool:
    """Whether a student with these groups is PhysHMR's or one of its ablations: proprioception and others of `PAPER_GROUPS`."""
    return len(set(groups)) == len(groups) > 1 and "proprioception" in groups and set(groups) <= set(PAPER_GROUPS)


def check_choice(settings, key: str, allowed: tuple[str, ...]) -> None:
    """Raise a `KitError` unless the setting is one of the allowed words."""
    if getattr(settings, key) not in allowed:
        raise KitError(f"{key} is '{getattr(settings, key)}'; choose one of: {', '.join(allowed)}")
