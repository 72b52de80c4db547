"""Base classes of the stages: one epoch is one iteration, clips are the validation set, runs resume bit-exactly.

An iteration is a rollout and its updates. `minibatches` collects the rollout and yields the minibatch of each optimiser
step, so `trainer.current_epoch` counts iterations and `trainer.global_step` counts updates.
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

    Lightning's checkpoints hold weights, optimisers and loop counters. Added here: the sample count, and for every process
    the random generator of the stage and its `extra_state`.

    Args:
        config: settings of the stage.
    """

    name: str
    """Name of the stage: 'encoder', 'expert', 'distill' or 'finetune'."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.samples = 0
        """Training samples so far, over all processes: control steps of one body, or frames given to the encoder."""
        self.generator = torch.Generator().manual_seed(config.seed)
        self._resume: dict | None = None

    # ---- implemented by each stage

    @property
    @abstractmethod
    def num_minibatches(self) -> int:
        """Optimiser steps in an iteration."""

    @abstractmethod
    def minibatches(self) -> Iterator[Any]:
        """Collect the data of one iteration and yield its `num_minibatches` minibatches."""

    def extra_state(self) -> dict:
        """Further state to save in a checkpoint: tensors, numbers, strings, and dicts and lists of them."""
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
        if self._trainer is None:  # load_from_checkpoint needs only the weights
            return
        before, now = len(saved["processes"]), self.trainer.world_size
        if before != now:
            raise KitError(f"the run was trained by {before} processes; resume it with {before}, not {now}")
        self._resume = saved["processes"][self.global_rank]

    @property
    def root_device(self) -> torch.device:
        """Device of this process of the Trainer."""
        return self.trainer.strategy.root_device

    @property
    def datamodule(self) -> Any:
        """The Trainer's data module."""
        return self.trainer.datamodule  # type: ignore[attr-defined] # set by the Trainer's fit, declared nowhere

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions included, by the Trainer's `Timer`; 0 without one."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined] # set by the Trainer, declared nowhere
        timer = next((c for c in callbacks if isinstance(c, Timer)), None)
        return 0.0 if timer is None else timer.time_elapsed("train")

    def log_iteration(self, values: dict[str, float], progress_bar: tuple[str, ...] = ()) -> None:
        """Log metrics of an iteration, averaged over all processes."""
        shared = self.trainer.world_size > 1
        for key, value in values.items():
            self.log(key, value, prog_bar=key in progress_bar, sync_dist=shared)
        self.log_dict({"samples": float(self.samples), "minutes": self.seconds / 60}, sync_dist=shared)


class PolicyStage(Stage):
    """A stage that trains a policy: environments, rollouts, evaluation of all clips.

    Clips (and, for a student, their views) come from the Trainer's datamodule. The training environment is built at the
    start of a fit, on the Trainer's device; the evaluation environment at the first validation. Both are closed in `teardown`.

    Args:
        config: settings with `sim` and `env` groups.
        policy: the network to train.
    """

    collector: Collector
    """Steps the training environment; built in `open`."""

    def __init__(self, config: Any, policy: Policy):
        super().__init__(config)
        self.policy = policy
        self.save_hyperparameters({"config": to_plain(config), "policy": policy.spec})
        self._env: TrackingEnv | None = None
        self.evaluation: TrackingEnv | None = None
        self.scores: list[ClipScore] = []
        """Score of each clip in the last validation."""
        self.worst: Rollout | None = None
        """The worst rollout of the last validation: the one lost first, else the one with the largest error."""

    # ---- environments

    @property
    def env(self) -> TrackingEnv:
        """The training environment, available between `open` and `teardown`."""
        if self._env is None:
            raise RuntimeError("there is no training environment; a Trainer builds it, or `PolicyStage.open`")
        return self._env

    @property
    def tracking(self) -> TrackingConfig:
        """Episode settings with the observation groups and the control of the policy."""
        return TrackingConfig.of(self.config.env, self.policy.groups, self.policy.control)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.open(self.datamodule, self.root_device, self.global_rank)

    def open(self, data: MotionDataModule, device: torch.device | str = "cpu", rank: int = 0) -> None:
        """Build the training environment and its collector. A Trainer does this in `setup`; call it to use a stage without one.

        Args:
            data: clips and views.
            device: of simulator and networks.
            rank: of this process; each has its own random numbers.
        """
        sim, seed = self.config.sim, self.config.seed + _SEED_STRIDE * rank
        self.generator = torch.Generator(device).manual_seed(seed)
        simulator = make_simulator(sim.simulator, None, sim.num_envs, device, sim.substeps)
        self._env = TrackingEnv(
            data.library, simulator, self.training_episode, data.visual, seed, estimates=data.estimates
        )
        self.make_collector()

    @property
    def training_groups(self) -> tuple[str, ...]:
        """Observation groups of the training environment: those of the policy, of a critic and of a teacher."""
        return self.policy.groups

    @property
    def training_episode(self) -> TrackingConfig:
        """Episode settings of the training environment."""
        return TrackingConfig.of(self.config.env, tuple(dict.fromkeys(self.training_groups)), self.policy.control)

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
        """Further metrics of a stage to log after an iteration."""
        return {}

    def extra_state(self) -> dict:
        return {"env": self.env.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.collector.obs = self.env.load_state_dict(state["env"])

    # ---- validation: one rollout of every clip from its first frame

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
    """A policy stage whose student gets labels from an expert that observes the reference."""

    def teach(self, teacher: Policy | None) -> None:
        """Set the expert and freeze it; None if no labels are needed, e.g. when a checkpoint is loaded for evaluation."""
        # in a tuple, so that it is not a submodule, which would be averaged and saved
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

    def label(self, obs: Observation) -> torch.Tensor:
        """The student action (N, 69) that results in the PD targets of the expert."""
        return self.env.label(self.teacher(obs), self.teacher.control)


def _quality(rollout: Rollout) -> tuple:
    """Sort key of rollouts, worst first: lost ones by the share that was followed, then the others by error."""
    (score,) = score_clips([rollout])
    return (score.success, score.share, -score.tracking_mm)


def as_policy(policy: Policy | dict | None) -> Policy | None:
    """A policy as it is; a new one for the `Policy.spec` in a checkpoint."""
    return Policy(**policy) if isinstance(policy, dict) else policy
