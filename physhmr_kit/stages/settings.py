"""Settings of the stages, in the order they are trained. Free of torch, so that `fit --stage expert --help` answers at once.

Each stage's file brings its own settings along: `from physhmr_kit.stages.expert import ExpertConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from physhmr_kit.env.settings import RewardWeights, TrackingConfig
from physhmr_kit.vision.settings import Filming, Variety

EXPERT_GROUPS = ("proprioception", "reference", "preview")
"""All an expert may read; the preview is an option."""

STUDENT_GROUPS = ("proprioception", "rays", "ray_confidence", "feature", "root_orientation")
"""924 numbers, PhysHMR's variant 358."""


_KL_STAYS = 0.4
"""Share of a run before its updates become smaller."""


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoder stage."""

    clips: tuple[str, ...] = ("demo",)
    """What to film: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 5
    """One clip in so many is kept for validation, chosen by the SHA-256 of its name; 0 keeps none."""
    iterations: int = 2000
    """Optimiser steps, each on newly filmed motion."""
    frames_per_step: int = 2304
    """Frames in a batch: 24 windows of 96, 36 of 64 or 72 of 32."""
    windows: tuple[int, ...] = (96, 96, 64, 32)
    """Lengths of windows to draw from; short ones keep short videos readable."""
    variety: Variety = field(default_factory=Variety)
    """How motions are changed, and the noise of the synthetic detector."""
    learning_rate: float = 1e-3
    """At its peak, after `warmup`; then a cosine down to a hundredth."""
    warmup: int = 200
    """Iterations over which the learning rate rises."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    init: str = ""
    """An encoder's .safetensors to go on from, in place of a fresh network; width, layers and heads are then its own."""
    width: int = 192
    """Of the transformer; with 4 layers 1.4 M parameters."""
    layers: int = 4
    heads: int = 6
    validate_every: int = 200
    """Iterations between two validations and checkpoints."""
    validation_windows: int = 96
    """Windows of 96 frames to validate on, the same in every validation."""
    seed: int = 0


@dataclass(frozen=True)
class ExpertConfig:
    """Settings of the expert stage."""

    clips: tuple[str, ...] = ("demo",)
    """What to track: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 0
    """Keep one clip in so many out of training, chosen by the SHA-256 of its name; 0 trains on all. `evaluate` has the same option."""
    fold: int = 0
    """Which of the `held_out` parts is kept out, 0 to held_out - 1."""
    kinds: int = 0
    """Sort the clips into so many kinds of motion and train on one of them only, for `merge` to put together; 0 trains on all."""
    kind: int = 0
    """Which kind, 0 to kinds - 1; they are numbered by their first clip."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    """Physics steps for each control step: 4 is 120 Hz."""
    num_envs: int = 256
    iterations: int = 150
    """Rollouts and their updates; one is num_envs x horizon samples."""
    horizon: int = 32
    epochs: int = 4
    """Passes over each rollout."""
    minibatch: int = 2048
    hidden: tuple[int, ...] = (512, 256)
    std: float = 0.05
    """Spread of the actions, also of a policy to begin from; 1 is half a radian. At 0.12 the noise alone halves how long a body stays up."""
    persistence: float = 0.0
    """Correlation of the action noise from one control step to the next; 0 is white noise."""
    learning_rate: float = 1e-4
    """Of the actor, at first; it then follows `kl`."""
    critic_rate: float = 1e-3
    kl: float = 0.1
    """Wanted KL divergence of an update; the actor's rate falls above twice this and rises below half of it."""
    kl_end: float = 0.0
    """The same at the end of the run, to which it falls evenly over the last 60 % of the samples; 0 keeps it at `kl`."""
    gamma: float = 0.97
    lam: float = 0.95
    clip: float = 0.2
    bounds: float = 0.01
    """Weight of the loss on mean actions beyond +-2."""
    max_grad_norm: float = 1.0
    matmul: Literal["highest", "high", "medium"] = "highest"
    """Precision of the networks' matrix products, in the update and while acting, 'highest', 'high' or 'medium' (see torch.set_float32_matmul_precision).
    On a CPU with bfloat16 units 'medium' updates 2.5 times as fast, and learned as well here (docs/performance.md)."""
    average: float = 0.96
    """Decay of the running mean of the weights. Single updates are mostly noise; the mean is what is evaluated and kept."""
    termination_distance: float = 0.25
    """Distance of a body from its reference, m, at which an episode ends, once the curriculum is over."""
    termination_start: float = 0.0
    """The same at the start of training; it then moves evenly. 0 for no curriculum."""
    curriculum: int = 2_000_000
    """Samples over which it moves."""
    episode_length: int = 300
    hard_share: float = 0.7
    """Share of starts drawn by failure rate rather than clip by clip."""
    moment_share: float = 0.3
    """Share of starts shortly before a moment at which the clip was lost lately."""
    first_share: float = 0.0
    """Share of starts at a clip's first frame, where evaluations begin."""
    retry_share: float = 0.0
    """Share of the failed episodes that begin again from where their own body was 1/3 to 2 s before."""
    push_force: float = 0.0
    """N, horizontal, at the chest, for 0.1 s, on average every `push_every` control steps; 0 for never."""
    push_every: float = 90.0
    control: Literal["", "residual", "balanced"] = ""
    """What the actions are added to: 'residual' the reference's targets, 'balanced' those and what keeps a body over its feet
    (env/virtual_model.py). Empty for that of the weights to begin from, 'balanced' for fresh ones."""
    preview: bool = True
    """Let the expert glimpse the reference 0.1, 0.23 and 0.5 s ahead, beside the next step."""
    mirror: bool = False
    """Train on the mirror image of every clip as well."""
    symmetry: float = 0.0
    """Weight of the loss on telling left from right: the answer to a mirrored state should be the mirrored answer. 0 for none."""
    style: float = 0.0
    """Share of the reward that an adversarial motion prior gives, PhysHMR's is 0.5; 0 does without one."""
    style_window: int = 4
    """Control steps that its discriminator sees at once; PHC's sees 10."""
    style_hidden: tuple[int, ...] = (512, 256)
    style_rate: float = 1e-4
    """Learning rate of the discriminator."""
    reward: RewardWeights = field(default_factory=lambda: RewardWeights(power=-0.0001))
    """PhysHMR weighs power -0.0005 over billions of samples; here that slows learning to follow at all."""
    init: str = ""
    """Weights to begin from; empty for fresh ones. Wider `hidden` layers than theirs are grown without changing what they do."""
    seed: int = 0

    def allowed_distance(self, samples: int) -> float:
        """Distance in metres at which episodes end after so many samples of training."""
        start = self.termination_start or self.termination_distance
        return start + (self.termination_distance - start) * min(samples / self.curriculum, 1.0)

    def wanted_kl(self, samples: int) -> float:
        """KL divergence that an update after so many samples of training should have."""
        done = samples / (self.iterations * self.num_envs * self.horizon)
        falling = min(max((done - _KL_STAYS) / (1 - _KL_STAYS), 0.0), 1.0)
        return self.kl + (self.kl_end - self.kl) * falling if self.kl_end else self.kl

    def tracking(self) -> TrackingConfig:
        """The episode these settings describe."""
        return TrackingConfig(
            groups=EXPERT_GROUPS if self.preview else EXPERT_GROUPS[:2],
            control="residual",
            termination_distance=self.termination_distance,
            episode_length=self.episode_length,
            hard_share=self.hard_share,
            moment_share=self.moment_share,
            first_share=self.first_share,
            retry_share=self.retry_share,
            push_force=self.push_force,
            push_every=self.push_every,
            reward=self.reward,
        )


@dataclass(frozen=True)
class SuperTrackConfig:
    """Settings of the supertrack stage: an expert through a learned model of the physics."""

    clips: tuple[str, ...] = ("demo",)
    """What to track: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 0
    """Keep one clip in so many out of training, chosen by the SHA-256 of its name; 0 trains on all. `evaluate` has the same option."""
    fold: int = 0
    """Which of the `held_out` parts is kept out, 0 to held_out - 1."""
    mirror: bool = False
    """Train on the mirror image of every clip as well."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    """Physics steps for each control step: 4 is 120 Hz."""
    num_envs: int = 256
    iterations: int = 40
    """Rollouts and their updates; one is num_envs x horizon samples."""
    horizon: int = 32
    memory: int = 24
    """Rollouts that the model learns from."""
    latest: int = 4
    """Rollouts that the policy learns from: the last ones, which it made itself or nearly so."""
    warmup: int = 3
    """Iterations in which only the model learns."""
    settle: int = 20
    """Iterations after which the policy's normaliser stays as it is."""
    model_hidden: tuple[int, ...] = (512, 512)
    model_updates: int = 20
    """Of the model, for each rollout."""
    model_rate: float = 1e-3
    """Learning rate of the model; both rates fall linearly to a tenth over the run."""
    window: int = 8
    """Control steps that the model is unrolled when it learns."""
    hidden: tuple[int, ...] = (512, 256)
    policy_updates: int = 10
    """Of the policy, for each rollout."""
    learning_rate: float = 5e-4
    """Of the policy."""
    lookahead: int = 16
    """Control steps through which the policy's consequences are differentiated: how far ahead it feels what it does."""
    minibatch: int = 256
    """Windows in an update, of the model and of the policy."""
    std: float = 0.05
    """Spread of the actions while data are collected; 1 is half a radian."""
    anchored: bool = False
    """Let the model answer for differences from what happened only; otherwise it is left to itself, as in SuperTrack
    (docs/expert.md compares)."""
    effort: float = 0.01
    """Weight of the squared actions beside the distance from the reference."""
    energy: float = 0.0
    """Weight of the drives' power, per W."""
    max_grad_norm: float = 1.0
    matmul: Literal["highest", "high", "medium"] = "medium"
    """Precision of the networks' matrix products (see torch.set_float32_matmul_precision); kinematics always has the highest."""
    average: float = 0.98
    """Decay of the running mean of the policy's weights; the mean is what is evaluated and kept."""
    preview: bool = True
    """Let the expert glimpse the reference 0.1, 0.23 and 0.5 s ahead, beside the next step."""
    termination_distance: float = 0.25
    """Distance of a body from its reference, m, at which an episode ends."""
    episode_length: int = 300
    hard_share: float = 0.6
    """Share of starts drawn by failure rate rather than clip by clip."""
    moment_share: float = 0.3
    """Share of starts shortly before a moment at which the clip was lost lately."""
    push_force: float = 0.0
    """N, horizontal, at the chest, for 0.1 s, on average every `push_every` control steps; 0 for never."""
    push_every: float = 90.0
    reward: RewardWeights = field(default_factory=RewardWeights)
    """Only watched: nothing is learned from it."""
    init: str = ""
    """Weights to begin from; empty for fresh ones. Wider `hidden` layers than theirs are grown without changing what they do."""
    seed: int = 0

    def tracking(self) -> TrackingConfig:
        """The episode these settings describe."""
        return TrackingConfig(
            groups=EXPERT_GROUPS if self.preview else EXPERT_GROUPS[:2],
            control="residual",
            termination_distance=self.termination_distance,
            episode_length=self.episode_length,
            hard_share=self.hard_share,
            moment_share=self.moment_share,
            push_force=self.push_force,
            push_every=self.push_every,
            reward=self.reward,
        )


@dataclass(frozen=True)
class SamconConfig:
    """Settings of the samcon stage: an expert that imitates what a search in the simulator finds."""

    clips: tuple[str, ...] = ("demo",)
    """What to track: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    held_out: int = 0
    """Keep one clip in so many out of training, chosen by the SHA-256 of its name; 0 trains on all. `evaluate` has the same option."""
    fold: int = 0
    """Which of the `held_out` parts is kept out, 0 to held_out - 1."""
    mirror: bool = False
    """Train on the mirror image of every clip as well."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    """Physics steps for each control step: 4 is 120 Hz."""
    bodies: int = 8
    """Stretches of clips searched at once."""
    copies: int = 128
    """Of each body; the simulator holds bodies x copies."""
    iterations: int = 200
    """Searches and the updates after them."""
    windows: int = 16
    """Of a search; one is `window` control steps."""
    window: int = 4
    """Control steps for which a variation is held."""
    lead: int = 20
    """Control steps, at most, that the policy goes alone before a search, so that it learns where it gets to."""
    spread: float = 0.2
    """Standard deviation of the largest variations; 1 is half a radian."""
    elite: float = 0.3
    """Share of the copies that go on after a window."""
    decay: float = 0.5
    """Weight of earlier windows' cost in the choice."""
    lookahead: int = 3
    """Windows that a line of copies must survive for what it did to be imitated."""
    keep: int = 16
    """States of each body and control step that are imitated, at most."""
    memory: int = 120_000
    """States that are remembered, 2 kB each; a checkpoint holds them."""
    warmup: int = 25_000
    """States to be found before anything is imitated: a few stretches of clips are no good teachers of all others."""
    passes: float = 3.0
    """How often what was found is imitated, on average."""
    stay: float = 0.3
    """Weight of staying as it was where other copies got to."""
    minibatch: int = 1024
    hidden: tuple[int, ...] = (512, 256)
    learning_rate: float = 3e-4
    std: float = 0.05
    """Spread of the actions that is written into the weights, for a stage that goes on from them."""
    max_grad_norm: float = 1.0
    matmul: Literal["highest", "high", "medium"] = "medium"
    """Precision of the networks' matrix products (see torch.set_float32_matmul_precision)."""
    average: float = 0.99
    """Decay of the running mean of the policy's weights; the mean is what is evaluated and kept."""
    preview: bool = True
    """Let the expert glimpse the reference 0.1, 0.23 and 0.5 s ahead, beside the next step."""
    hard_share: float = 0.3
    """Share of stretches drawn by how often a search loses their clip, rather than clip by clip."""
    moment_share: float = 0.2
    """Share of stretches that begin shortly before a moment at which a search has lost the clip lately."""
    push_force: float = 200.0
    """N, horizontal, at the chest, for 0.1 s, at the beginning of some searches."""
    push_share: float = 0.0
    """Share of the stretches in which the body is pushed."""
    init: str = ""
    """Weights to begin from; empty for fresh ones. Wider `hidden` layers than theirs are grown without changing what they do."""
    seed: int = 0

    def tracking(self) -> TrackingConfig:
        """The episode these settings describe: it never fails, the search decides who goes on."""
        return TrackingConfig(
            groups=EXPERT_GROUPS if self.preview else EXPERT_GROUPS[:2],
            control="residual",
            termination="none",
            episode_length=0,
            hard_share=self.hard_share,
        )


@dataclass(frozen=True)
class MergeConfig:
    """Settings of the merge stage: one expert from experts of one kind of motion each."""

    clips: tuple[str, ...] = ("demo",)
    """What to track: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders; the clips that the experts' kinds were made of."""
    held_out: int = 0
    """Keep one clip in so many out of training, chosen by the SHA-256 of its name, as the experts did."""
    fold: int = 0
    """Which of the `held_out` parts is kept out, 0 to held_out - 1."""
    experts: tuple[str, ...] = ()
    """Weights or run folders, one for each kind of motion, in their order; '' is the bundled expert. One may be named more than once."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    """Physics steps for each control step: 4 is 120 Hz."""
    num_envs: int = 256
    iterations: int = 300
    """Rollouts and their updates; one is num_envs x horizon samples."""
    horizon: int = 16
    memory: int = 240_000
    """States that are remembered with their labels, 2 kB each; a checkpoint holds them."""
    updates: int = 16
    """Minibatches for each rollout."""
    minibatch: int = 2048
    hidden: tuple[int, ...] = (1024, 512)
    """Wider than the experts': there is more to know. Weights to begin from are widened."""
    learning_rate: float = 5e-4
    """At first; falls linearly to a tenth over the run."""
    std: float = 0.05
    """Spread of the actions while it acts; 1 is half a radian."""
    max_grad_norm: float = 1.0
    matmul: Literal["highest", "high", "medium"] = "medium"
    """Precision of the networks' matrix products (see torch.set_float32_matmul_precision)."""
    average: float = 0.998
    """Decay of the running mean of the weights, for each minibatch; the mean is what is evaluated and kept."""
    termination_distance: float = 0.3
    """Distance of a body from its reference, m, at which an episode ends: little more than what the experts have seen."""
    episode_length: int = 300
    hard_share: float = 0.5
    """Share of starts drawn by failure rate rather than clip by clip."""
    moment_share: float = 0.3
    """Share of starts shortly before a moment at which the clip was lost lately."""
    retry_share: float = 0.0
    """Share of the failed episodes that begin again from where their own body was 1/3 to 2 s before."""
    push_force: float = 0.0
    """N, horizontal, at the chest, for 0.1 s, on average every `push_every` control steps; 0 for never."""
    push_every: float = 90.0
    reward: RewardWeights = field(default_factory=RewardWeights)
    """Only watched: imitation does not use it."""
    init: str = ""
    """Weights to begin from; empty for fresh ones."""
    seed: int = 0

    def tracking(self, groups: tuple[str, ...] = EXPERT_GROUPS, control: str = "residual") -> TrackingConfig:
        """The episode these settings describe; `groups` are what the experts read, `control` what their actions mean."""
        return TrackingConfig(
            groups=groups,
            control=control,
            termination_distance=self.termination_distance,
            episode_length=self.episode_length,
            hard_share=self.hard_share,
            moment_share=self.moment_share,
            retry_share=self.retry_share,
            push_force=self.push_force,
            push_every=self.push_every,
            reward=self.reward,
        )


@dataclass(frozen=True)
class DistillConfig:
    """Settings of the distillation stage."""

    clips: tuple[str, ...] = ("demo",)
    """What to distil: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    expert: str = ""
    """Weights of the expert that labels; empty for the bundled one."""
    encoder: str = ""
    """Weights of the encoder; empty for the bundled one."""
    views: int = 16
    """Synthetic cameras for each clip."""
    filming: Filming = field(default_factory=Filming)
    """Bodies, moving cameras and detector noise of the views."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    num_envs: int = 128
    iterations: int = 100
    """Rollouts and their updates; one is num_envs x horizon samples."""
    horizon: int = 16
    memory: int = 24
    """Rollouts whose labels are kept; old ones were visited by a worse student but are labelled as well."""
    updates: int = 12
    """Minibatches for each rollout."""
    minibatch: int = 1024
    hidden: tuple[int, ...] = (512, 512)
    std: float = 0.01
    """Spread of the student's actions while it explores, 0.03 rad at a hip; it gets no gradient from imitation."""
    learning_rate: float = 5e-4
    max_grad_norm: float = 1.0
    termination_distance: float = 0.4
    """Mean body distance, m, at which an episode ends; looser than the expert's, to see recoveries."""
    episode_length: int = 300
    hard_share: float = 0.5
    reward: RewardWeights = field(default_factory=RewardWeights)
    """Only watched: imitation does not use it."""
    init: str = ""
    """Student weights to begin from; empty for fresh ones."""
    seed: int = 0

    def tracking(self, labels: tuple[str, ...] = ("reference",)) -> TrackingConfig:
        """The episode these settings describe; `labels` are the groups that the expert reads."""
        return TrackingConfig(
            groups=tuple(dict.fromkeys((*STUDENT_GROUPS, "reference", *labels))),
            control="absolute",
            termination="mean",
            termination_distance=self.termination_distance,
            episode_length=self.episode_length,
            hard_share=self.hard_share,
            reward=self.reward,
        )


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of the fine-tuning stage."""

    clips: tuple[str, ...] = ("demo",)
    """What to track: 'demo', 'demo:NAME', files (.npz, .bvh, .amc) or folders."""
    student: str = ""
    """Weights of the distilled student to begin from; empty for the bundled one."""
    expert: str = ""
    """Weights of the expert that labels; empty for the bundled one."""
    encoder: str = ""
    """Weights of the encoder; empty for the bundled one."""
    views: int = 16
    filming: Filming = field(default_factory=Filming)
    """Bodies, moving cameras and detector noise of the views."""
    simulator: str = "auto"
    device: str = ""
    """Where physics and networks live; empty for the simulator's own choice. mujoco_gpu also runs, slowly, on 'cpu'."""
    substeps: int = 4
    num_envs: int = 128
    iterations: int = 60
    horizon: int = 32
    epochs: int = 3
    minibatch: int = 2048
    hidden: tuple[int, ...] = (512, 256)
    """Of the critic."""
    std: float = 0.02
    """Spread of the actions: reduced, so that exploring does not undo what was distilled."""
    warmup: int = 10
    """Iterations in which only the critic learns; the actor's first advantages would be noise."""
    imitation: float = 10.0
    """lambda: weight of L_BC beside the PPO loss."""
    learning_rate: float = 5e-5
    critic_rate: float = 1e-3
    gamma: float = 0.97
    lam: float = 0.95
    clip: float = 0.2
    max_grad_norm: float = 1.0
    termination_distance: float = 0.4
    episode_length: int = 300
    hard_share: float = 0.5
    reward: RewardWeights = field(
        default_factory=lambda: RewardWeights(0.35, 0.2, 0.1, 0.1, power=-0.00005, balance=0.1, foot_contact=0.15)
    )
    """Pose, velocity, power, balance and ground contact."""
    seed: int = 0

    def tracking(self, labels: tuple[str, ...] = ("reference",)) -> TrackingConfig:
        """The episode these settings describe; `labels` are the groups that the expert reads."""
        return TrackingConfig(
            groups=tuple(dict.fromkeys((*STUDENT_GROUPS, "reference", *labels))),
            control="absolute",
            termination="mean",
            termination_distance=self.termination_distance,
            episode_length=self.episode_length,
            hard_share=self.hard_share,
            reward=self.reward,
        )


CONFIGS = {
    "encoder": EncoderConfig,
    "expert": ExpertConfig,
    "supertrack": SuperTrackConfig,
    "samcon": SamconConfig,
    "merge": MergeConfig,
    "distill": DistillConfig,
    "finetune": FinetuneConfig,
}
"""Settings of each stage, in the order they are trained; `supertrack` and `samcon` are other ways to an expert, `merge` makes one of several."""
