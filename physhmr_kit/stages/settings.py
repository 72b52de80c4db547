"""Settings of the four stages, composed of small groups. It does not import torch, which keeps `fit --help` fast.

Every field is an option of `python -m physhmr_kit.fit`: `--ppo.clip_range 0.1`, or `--clip_range 0.1` where only one
group has a field of that name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_type_hints

from physhmr_kit.env.settings import (
    EXPERT_REWARD,
    FINETUNE_REWARD,
    PAPER_GROUPS,
    VIDEO_REWARD,
    EpisodeConfig,
    reads_as_paper,
)
from physhmr_kit.motion.settings import MotionNoise
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.settings import Augmentation, Filming

T = TypeVar("T")


def check_range(settings, **least: float) -> None:
    """Raise a `KitError` when a setting is below its least value (a setting of None is not checked)."""
    for key, low in least.items():
        value = getattr(settings, key)
        if value is not None and not value >= low:
            raise KitError(f"{key} is {value}; at least {low:g} is needed")


def check_positive(settings, *keys: str) -> None:
    """Raise a `KitError` when one of these settings is not greater than 0."""
    for key in keys:
        if not getattr(settings, key) > 0:
            raise KitError(f"{key} is {getattr(settings, key)}; it must be greater than 0")


def check_share(settings, *keys: str) -> None:
    """Raise a `KitError` when one of these settings is not between 0 and 1."""
    for key in keys:
        if not 0 <= getattr(settings, key) <= 1:
            raise KitError(f"{key} is {getattr(settings, key)}; it must be between 0 and 1")


# ---- shared by several stages


@dataclass(frozen=True)
class RunSettings:
    """Settings of every stage."""

    iterations: int = 100
    """Length of the run; an iteration is a rollout and its updates, or an optimiser step of the encoder."""
    seed: int = 0
    """Seed of all random numbers."""
    validate_every: int | None = None
    """Iterations between two validations, by which the best weights are chosen; null for none. A policy is run on every clip."""
    checkpoint_every: int = 10
    """Iterations between two checkpoints."""

    def __post_init__(self):
        check_range(self, iterations=1, validate_every=1, checkpoint_every=1)


@dataclass(frozen=True)
class MotionData:
    """The motions to learn from."""

    clips: tuple[str, ...] = ("demo",)
    """Motions: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 0
    """Exclude one in this many clips from training, chosen by the SHA-256 of the name; 0 trains on all. `evaluate` has the same option."""
    fold: int = 0
    """Which of the `held_out` parts is excluded, 0 to held_out - 1."""
    leave_out: tuple[str, ...] = ()
    """Name prefixes of clips to exclude from training: '08_ 10_' excludes CMU's subjects 08 and 10."""
    skip_unsupported: bool = False
    """Exclude and list the clips that sit, climb or hang on objects, which are not simulated (data_prep/retargeting/support.py)."""
    strict: bool = False
    """Stop at the first file of a folder that is refused; by default it is skipped and listed."""

    def __post_init__(self):
        check_range(self, held_out=0, fold=0)


@dataclass(frozen=True)
class CameraData:
    """The synthetic camera views of the motions that a student observes."""

    views: int = 16
    """Camera views of each clip."""
    encoder: str | None = None
    """Weights of the encoder; the bundled ones by default."""
    filming: Filming = field(default_factory=Filming)
    """Body proportions, camera motion and detector noise of the views."""

    def __post_init__(self):
        check_range(self, views=1)


@dataclass(frozen=True)
class Simulation:
    """The physics."""

    simulator: str = "auto"
    """'mujoco_cpu', 'mujoco_gpu' or 'isaac_gym'; 'auto' chooses the fastest one available."""
    num_envs: int = 256
    """Parallel environments, in each process."""
    substeps: int = 4
    """Physics steps per control step; 4 is 120 Hz."""

    def __post_init__(self):
        check_range(self, num_envs=1, substeps=1)


@dataclass(frozen=True)
class ExpertPolicy:
    """The expert's network."""

    init: str | None = None
    """Initial weights; random ones by default."""
    hidden: tuple[int, ...] = (512, 256)
    """Widths of the hidden layers of a new network."""
    std: float = 0.05
    """Standard deviation of the actions, also with initial weights; 1 is half a radian."""
    control: Literal["residual", "balanced"] | None = None
    """PD targets without action: 'residual' those of the reference, 'balanced' corrected by a virtual model that keeps the body
    over its feet (env/virtual_model.py). By default that of the initial weights, 'balanced' without any."""
    preview: bool = True
    """Whether a new expert observes the reference 0.1, 0.23 and 0.5 s ahead, in addition to the next step."""

    def __post_init__(self):
        check_positive(self, "std")


@dataclass(frozen=True)
class StudentPolicy:
    """The student's network."""

    student: Literal["paper", "estimate"] = "paper"
    """Kind of a new student: 'paper' has PhysHMR's observations and absolute targets; 'estimate' starts as the expert, observes
    the refined estimate in place of the reference, and rays and features as well."""
    init: str | None = None
    """Initial weights, of a student of either kind."""
    groups: tuple[str, ...] = ()
    """Observation groups of a new 'paper' student, for ablations; PhysHMR's by default."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers of a new network."""
    std: float = 0.01
    """Standard deviation of the student's actions while it collects data; 1 is 1.2 times a joint's range."""

    def __post_init__(self):
        check_positive(self, "std")
        if not self.groups:
            return
        if self.student != "paper":
            raise KitError(f"groups are for a 'paper' student; omit them with --student {self.student}")
        unknown = [group for group in self.groups if group not in PAPER_GROUPS]
        if unknown:
            raise KitError(f"a 'paper' student cannot read '{unknown[0]}'; choose from: {', '.join(PAPER_GROUPS)}")
        if not reads_as_paper(self.groups):
            raise KitError(f"groups {', '.join(self.groups)}: give proprioception and another group, each once")


# ---- encoder


@dataclass(frozen=True)
class EncoderData:
    """The training data of the encoder."""

    clips: tuple[str, ...] = ("demo",)
    """Motions: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 5
    """Reserve one in this many clips for validation, chosen by the SHA-256 of the name; 0 for none."""
    leave_out: tuple[str, ...] = ()
    """Name prefixes of clips to reserve for validation: '08_ 10_' for CMU's subjects 08 and 10."""
    frames_per_step: int = 2304
    """Frames per batch: 24 windows of 96, 36 of 64 or 72 of 32."""
    windows: tuple[int, ...] = (96, 96, 64, 32)
    """Window lengths to draw from; short ones prepare for short videos."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Augmentation of the motions, and noise of the synthetic detector."""
    validation_windows: int = 96
    """Validation windows of 96 frames, the same in every validation."""

    def __post_init__(self):
        check_range(self, held_out=0, frames_per_step=1, validation_windows=1)


@dataclass(frozen=True)
class EncoderNetwork:
    """The encoder's transformer."""

    init: str | None = None
    """Initial weights, .safetensors of an encoder; width, layers and heads are then those of the file."""
    width: int = 192
    """Width of the transformer; with 4 layers 1.4 M parameters."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 6
    """Attention heads."""

    def __post_init__(self):
        check_range(self, width=1, layers=1, heads=1)


@dataclass(frozen=True)
class EncoderOptimisation:
    """AdamW with warm-up and a cosine schedule."""

    learning_rate: float = 1e-3
    """Peak learning rate, after `warmup_iterations`; it then falls to a hundredth along a cosine."""
    warmup_iterations: int = 200
    """Iterations over which the learning rate rises."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self):
        check_positive(self, "learning_rate", "max_grad_norm")
        check_range(self, warmup_iterations=0, weight_decay=0)


@dataclass(frozen=True)
class EncoderConfig(RunSettings):
    """Settings of the encoder stage."""

    iterations: int = 2000
    validate_every: int | None = 200
    checkpoint_every: int = 50
    data: EncoderData = field(default_factory=EncoderData)
    network: EncoderNetwork = field(default_factory=EncoderNetwork)
    optim: EncoderOptimisation = field(default_factory=EncoderOptimisation)


# ---- expert


@dataclass(frozen=True)
class PPO:
    """Proximal policy optimisation (Schulman et al. 2017)."""

    horizon: int = 32
    """Control steps of each environment per rollout; an iteration has num_envs x horizon samples."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch_size: int = 2048
    """Samples per gradient step, in each process."""
    learning_rate: float = 1e-4
    """Initial learning rate of the actor."""
    critic_learning_rate: float = 1e-3
    """Learning rate of the critic."""
    gamma: float = 0.97
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: float = 0.2
    """Clipping range of the probability ratio."""
    max_grad_norm: float = 1.0
    """Gradients of actor and critic are each clipped to this norm."""
    critic_hidden: tuple[int, ...] | None = None
    """Widths of the critic's hidden layers; those of the policy by default."""
    critic_warmup: int = 0
    """Iterations at the start that train only the critic; without it the first advantages of a trained actor are noise."""
    desired_kl: float | None = 0.1
    """Desired KL divergence of an update: the actor's learning rate is lowered above twice this and raised below half of it; null: constant."""
    final_desired_kl: float | None = None
    """Desired KL divergence at the end of the run, reached linearly over the last 60 % of the iterations; null: constant `desired_kl`."""
    bounds_coef: float = 0.01
    """Weight of the loss on mean actions beyond +-2."""
    ema_decay: float = 0.96
    """Decay of the exponential moving average of the weights, which is evaluated and saved: single updates are mostly noise."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """Precision of matrix products (torch.set_float32_matmul_precision). On a CPU with bfloat16 units 'medium' makes updates
    faster, and learned equally well in one run (docs/performance.md)."""

    def __post_init__(self):
        check_range(self, horizon=1, epochs=1, minibatch_size=1, critic_warmup=0)
        check_positive(self, "learning_rate", "critic_learning_rate", "clip_range", "max_grad_norm")
        check_share(self, "gamma", "gae_lambda")
        check_range(self, bounds_coef=0, desired_kl=0, final_desired_kl=0)
        check_share(self, "ema_decay")


@dataclass(frozen=True)
class MotionPrior:
    """The adversarial motion prior (AMP, Peng et al. 2021), in addition to the tracking reward."""

    weight: float = 0.0
    """Share of the discriminator in the reward; 0.5 in PhysHMR, 0 trains without a prior."""
    window: int = 4
    """Control steps in the discriminator's input; 10 in PHC."""
    discriminator_hidden: tuple[int, ...] = (512, 256)
    """Widths of the discriminator's hidden layers."""
    discriminator_learning_rate: float = 1e-4
    """Learning rate of the discriminator."""

    def __post_init__(self):
        check_share(self, "weight")
        check_range(self, window=2)
        check_positive(self, "discriminator_learning_rate")


@dataclass(frozen=True)
class ExpertConfig(RunSettings):
    """Settings of the expert stage."""

    iterations: int = 150
    data: MotionData = field(default_factory=MotionData)
    noise: MotionNoise = field(default_factory=MotionNoise)
    sim: Simulation = field(default_factory=Simulation)
    env: EpisodeConfig = field(
        default_factory=lambda: EpisodeConfig(failure_weighted_prob=0.7, pre_failure_prob=0.3, reward=EXPERT_REWARD)
    )
    policy: ExpertPolicy = field(default_factory=ExpertPolicy)
    ppo: PPO = field(default_factory=PPO)
    prior: MotionPrior = field(default_factory=MotionPrior)


# ---- distill


@dataclass(frozen=True)
class Distillation:
    """On-policy distillation (DAgger, Ross et al. 2011)."""

    horizon: int = 16
    """Control steps of each environment per rollout; an iteration has num_envs x horizon samples."""
    buffer_rollouts: int = 24
    """Number of recent rollouts kept in the replay buffer."""
    updates: int = 12
    """Gradient steps after each rollout."""
    minibatch_size: int = 1024
    """Samples per gradient step, in each process."""
    learning_rate: float = 5e-4
    """Initial learning rate; it falls linearly to a tenth over the run."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""

    def __post_init__(self):
        check_range(self, horizon=1, buffer_rollouts=1, updates=1, minibatch_size=1)
        check_positive(self, "learning_rate", "max_grad_norm")


@dataclass(frozen=True)
class DistillConfig(RunSettings):
    """Settings of the distillation stage."""

    expert: str | None = None
    """Weights of the expert that labels the visited states; the bundled ones by default."""
    data: MotionData = field(default_factory=MotionData)
    cameras: CameraData = field(default_factory=CameraData)
    sim: Simulation = field(default_factory=lambda: Simulation(num_envs=128))
    env: EpisodeConfig = field(
        # wider termination than the expert's, to include recoveries; the reward is only logged
        default_factory=lambda: EpisodeConfig(termination="mean", termination_distance=0.4)
    )
    policy: StudentPolicy = field(default_factory=StudentPolicy)
    optim: Distillation = field(default_factory=Distillation)


# ---- finetune


@dataclass(frozen=True)
class FinetunePPO(PPO):
    """PPO of the student, with an imitation loss that keeps it close to the expert."""

    epochs: int = 3
    learning_rate: float = 5e-5
    desired_kl: float | None = None
    critic_hidden: tuple[int, ...] | None = (512, 256)
    critic_warmup: int = 10
    imitation_coef: float = 10.0
    """Lambda, the weight of the imitation loss relative to the PPO loss."""

    def __post_init__(self):
        super().__post_init__()
        check_range(self, imitation_coef=0)


@dataclass(frozen=True)
class FinetuneConfig(RunSettings):
    """Settings of the fine-tuning stage."""

    iterations: int = 60
    expert: str | None = None
    """Weights of the expert that labels the visited states; the bundled ones by default."""
    data: MotionData = field(default_factory=MotionData)
    cameras: CameraData = field(default_factory=CameraData)
    sim: Simulation = field(default_factory=lambda: Simulation(num_envs=128))
    env: EpisodeConfig = field(
        default_factory=lambda: EpisodeConfig(termination="mean", termination_distance=0.4, reward=FINETUNE_REWARD)
    )
    policy: StudentPolicy = field(default_factory=lambda: StudentPolicy(std=0.02))
    ppo: FinetunePPO = field(default_factory=FinetunePPO)
    video: str | None = None
    """Keypoints (.npz) of a video to adapt to, instead of clips; the defaults are then those of `reconstruct --adapt`."""
    camera: str | None = None
    """Calibrated camera (.json or .npz) of that video."""


ADAPTATION_CONFIG = FinetuneConfig(
    iterations=200,
    validate_every=5,
    sim=Simulation(num_envs=256),
    env=EpisodeConfig(
        termination="relative", termination_distance=0.3, pre_failure_prob=0.5, first_frame_prob=0.2,
        reward=VIDEO_REWARD,
    ),
    policy=StudentPolicy(std=0.05),
    ppo=FinetunePPO(
        horizon=32, minibatch_size=2048, gamma=0.97, learning_rate=1e-4, desired_kl=0.04, critic_warmup=3,
        imitation_coef=0.0, ema_decay=0.8,
    ),
)  # fmt: skip
"""Settings of the adaptation to a video."""


CONFIGS = {"encoder": EncoderConfig, "expert": ExpertConfig, "distill": DistillConfig, "finetune": FinetuneConfig}
"""Settings of each stage, in training order."""


def to_plain(settings: Any) -> Any:
    """Settings as dicts, lists, numbers and strings, for YAML and checkpoints."""
    if is_dataclass(settings):
        return {f.name: to_plain(getattr(settings, f.name)) for f in fields(settings)}
    return [to_plain(value) for value in settings] if isinstance(settings, (tuple, list)) else settings


def from_plain(kind: type[T], values: T | dict[str, Any]) -> T:
    """Inverse of `to_plain`; an object of `kind` is returned unchanged."""
    if isinstance(values, kind):
        return values
    assert isinstance(values, dict)
    hints, arguments = get_type_hints(kind), {}
    for name, value in values.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            arguments[name] = from_plain(hint, value)
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)
