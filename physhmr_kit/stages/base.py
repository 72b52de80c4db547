"""What every stage shares under Lightning: one epoch is one iteration, clips are the validation set, runs resume bit-exactly.

An iteration is a rollout and its updates. `minibatches` collects the rollout and yields what each optimiser step learns
from, so `trainer.current_epoch` counts iterations and `trainer.global_step` counts updates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer

from physhmr_kit.env.rollout import Rollout, evaluation_env, follow_clips
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.env.tracking import TrackingEnv
from physhmr_kit.learning.collect import Batch, Collector, Teacher
from physhmr_kit.learning.distributed import gather_objects, world_size
from physhmr_kit.learning.networks import Observation, Policy
from physhmr_kit.metrics.followed import ClipScore, score_clips, total
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.settings import to_plain
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:
    from physhmr_kit.stages.data import MotionDataModule

_SEED_STRIDE = 1_000_003  # between the seeds of two processes


class Stage(pl.LightningModule):
    """A LightningModule whose run can be killed after any checkpoint and resumed to the same weights.

    Lightning's checkpoints hold weights, optimisers and loop counters. Added here: the generator of the stage, its sample
    count, and whatever `extra_state` returns, for every process of the run.

    Args:
        config: settings of the stage, or the same as plain data.
    """

    name: str
    """Of the stage: 'encoder', 'expert', 'distill' or 'finetune'."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.samples = 0
        """Training samples so far, over all processes: control steps of one body, or frames given to the encoder."""
        self.generator = torch.Generator().manual_seed(config.seed)
        self._resume: dict | None = None

    # ---- for a stage to fill in

    @property
    @abstractmethod
    def num_minibatches(self) -> int:
        """Optimiser steps in an iteration."""

    @abstractmethod
    def minibatches(self) -> Iterator[Any]:
        """Collect the data of one iteration and yield the `num_minibatches` that it learns from."""

    def extra_state(self) -> dict:
        """State to keep beside the weights: tensors, numbers, strings, and dicts and lists of them."""
        return {}

    def load_extra_state(self, state: dict) -> None:
        """Restore an `extra_state`."""

    # ---- Lightning

    def on_train_start(self) -> None:
        if self._resume is not None:
            self.generator.set_state(self._resume["generator"].cpu())
            self.load_extra_state(self._resume["stage"])
            self._resume = None

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        state = {"stage": self.extra_state(), "generator": self.generator.get_state()}
        checkpoint["physhmr_kit"] = {"samples": self.samples, "processes": gather_objects(state)}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        saved = checkpoint.get("physhmr_kit", {})
        if "processes" not in saved:
            raise KitError("the checkpoint was written by another version of the kit; start a new run from its weights")
        self.samples = saved["samples"]
        if self._trainer is None:  # load_from_checkpoint: only the weights are wanted
            return
        if len(saved["processes"]) != self.trainer.world_size:
            raise KitError(
                f"the run was trained by {len(saved['processes'])} processes; resume it with as many, not {self.trainer.world_size}"
            )
        self._resume = saved["processes"][self.global_rank]

    @property
    def root_device(self) -> torch.device:
        """Where this process of the Trainer computes."""
        return self.trainer.strategy.root_device

    @property
    def datamodule(self) -> Any:
        """The Trainer's data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined] # set by the Trainer's fit, declared nowhere

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions included: what the Trainer's `Timer` says, 0 without one."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined] # set by the Trainer, declared nowhere
        timer = next((c for c in callbacks if isinstance(c, Timer)), None)
        return 0.0 if timer is None else timer.time_elapsed("train")

    def log_iteration(self, values: dict[str, float], progress_bar: tuple[str, ...] = ()) -> None:
        """Log the figures of an iteration, averaged over all processes."""
        shared = self.trainer.world_size > 1
        for key, value in values.items():
            self.log(key, value, prog_bar=key in progress_bar, sync_dist=shared)
        self.log_dict({"samples": float(self.samples), "minutes": self.seconds / 60}, sync_dist=shared)


class PolicyStage(Stage):
    """What the expert, the student and its fine-tuning share: environments, labels, evaluation of all clips.

    Clips (and, for a student, their views) come from the Trainer's datamodule. The training environment is built when the
    fit begins, on the Trainer's device; the evaluation environment at the first validation. Both are closed in `teardown`.

    Args:
        config: settings with `sim` and `env` groups.
        policy: the network that is trained.
    """

    collector: Collector
    """What steps the training environment; built in `open`."""

    def __init__(self, config: Any, policy: Policy):
        super().__init__(config)
        self.policy = policy
        self.save_hyperparameters({"config": to_plain(config), "policy": policy.spec})
        self._env: TrackingEnv | None = None
        self.evaluation: TrackingEnv | None = None
        self.scores: list[ClipScore] = []
        """How each clip was followed in the last validation."""
        self.worst: Rollout | None = None
        """The rollout of the last validation that was lost first, or followed worst."""

    # ---- environments

    @property
    def env(self) -> TrackingEnv:
        """The training environment, from `open` to `teardown`."""
        if self._env is None:
            raise RuntimeError("the training environment is not open; a Trainer opens it, or `PolicyStage.open`")
        return self._env

    @property
    def tracking(self) -> TrackingConfig:
        """The episode as this stage's policy observes it and acts in it."""
        return TrackingConfig.of(self.config.env, self.policy.groups, self.policy.control)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.open(self.datamodule, self.root_device, self.global_rank)

    def open(self, data: MotionDataModule, device: torch.device | str = "cpu", rank: int = 0) -> None:
        """Build the training environment and what steps it. A Trainer does this in `setup`; call it to look at the parts.

        Args:
            data: clips and views.
            device: where simulator and networks live.
            rank: of this process; each draws its own random numbers.
        """
        sim, seed = self.config.sim, self.config.seed + _SEED_STRIDE * rank
        self.generator = torch.Generator(device).manual_seed(seed)
        simulator = make_simulator(sim.simulator, None, sim.num_envs, device, sim.substeps)
        self._env = TrackingEnv(
            data.library, simulator, self.training_episode, data.visual, seed, estimates=data.estimates
        )
        self.make_collector()

    @property
    def training_episode(self) -> TrackingConfig:
        """The episode to train in; it observes more than the policy where a teacher or a critic reads more."""
        return self.tracking

    @abstractmethod
    def make_collector(self) -> None:
        """Set `self.collector`, which steps `self.env`."""

    def teardown(self, stage: str) -> None:
        for env in (self._env, self.evaluation):
            if env is not None:
                env.close()
        self._env = self.evaluation = None

    @property
    def batch_size(self) -> int:
        """Samples of a rollout in this process."""
        return self.collector.steps * self.env.num_envs

    # ---- one iteration

    def collect(self, teacher: Teacher | None = None) -> Batch:
        """Collect the rollout of an iteration and count its samples."""
        batch = self.collector.collect(teacher)
        self.samples += batch.reward.numel() * world_size()
        return batch

    def on_train_epoch_end(self) -> None:
        batch = self.collector.batch
        values = {
            "reward": float(batch.reward.mean()),
            "failed": batch.failures / max(batch.episodes, 1),
            "steps_to_end": batch.reward.numel() / max(batch.episodes, 1),
            "diverged": float(self.env.num_diverged),
            **self.env.simulator.counters(),
            **{f"reward/{k}": v for k, v in batch.terms.items()},
            **self.iteration_values(),
        }
        self.log_iteration(values, progress_bar=("reward", "failed"))

    def iteration_values(self) -> dict[str, float]:
        """Figures of the stage itself to log after an iteration."""
        return {}

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.collector.obs = self.env.load_state_dict(state["env"])

    # ---- validation: every clip is followed once from its first frame

    def on_validation_epoch_start(self) -> None:
        self.scores, self.worst = [], None

    def validation_step(self, clips: list[int], batch_idx: int) -> None:
        if self.evaluation is None:
            data, sim = self.datamodule, self.config.sim
            self.evaluation = evaluation_env(
                data.library, self.tracking, data.validation_visual, sim.simulator, sim.substeps, len(clips), self.root_device
            )  # fmt: skip
        rollouts = follow_clips(self.policy, self.evaluation, clips)
        self.scores += score_clips(rollouts)
        self.worst = min([*rollouts, *([self.worst] if self.worst else [])], key=_quality)

    def on_validation_epoch_end(self) -> None:
        shards = gather_objects(self.scores)
        by_clip = {score.clip: score for shard in shards for score in shard}
        self.scores = [by_clip[name] for name in self.datamodule.library.names if name in by_clip]
        totals, shared = total(self.scores), self.trainer.world_size > 1
        self.log("val/success", totals.success, prog_bar=True, sync_dist=shared)
        self.log("val/frames_followed", totals.covered, sync_dist=shared)
        self.log("val/error_mm", totals.followed_mm, sync_dist=shared)
        self.log("val/score", totals.value, sync_dist=shared)


class LabelledStage(PolicyStage):
    """A policy stage whose student is labelled by an expert with the reference in view."""

    def teach(self, teacher: Policy | None) -> None:
        """Set the expert, and freeze it; None where no labels are needed, e.g. when a checkpoint is loaded for evaluation."""
        # in a tuple, so that it is not a submodule: it is not trained, averaged or saved
        self._teacher = (None if teacher is None else teacher.requires_grad_(False),)

    @property
    def teacher(self) -> Policy:
        """The expert, on the device of the stage."""
        if self._teacher[0] is None:
            raise KitError(f"stage {self.name} needs an expert to learn from")
        return self._teacher[0]

    def open(self, data: MotionDataModule, device: torch.device | str = "cpu", rank: int = 0) -> None:
        if self._teacher[0] is not None:
            self.teacher.to(device)
        super().open(data, device, rank)

    def labelled_episode(self, groups: tuple[str, ...] = ()) -> TrackingConfig:
        """The episode to train in, which observes what student and expert read, and these groups."""
        read = dict.fromkeys((*self.policy.groups, *groups, *self.teacher.groups))
        return TrackingConfig.of(self.config.env, tuple(read), self.policy.control)

    def label(self, obs: Observation) -> torch.Tensor:
        """The student's action that asks for the target the expert would set: (N, 69)."""
        return self.env.label(self.teacher(obs), self.teacher.control)


def _quality(rollout: Rollout) -> tuple:
    """Orders rollouts from the worst to the best: lost ones first, by the share that was followed, then by error."""
    (score,) = score_clips([rollout])
    return (score.success, score.share, -score.tracking_mm)


def as_policy(policy: Policy | dict | None) -> Policy | None:
    """A policy, or a fresh one with the `Policy.spec` that a checkpoint holds."""
    return Policy(**policy) if isinstance(policy, dict) else policy
