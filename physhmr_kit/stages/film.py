"""Stage `finetune` on one film, where no ground truth exists: a policy is adapted to what the camera saw of one person.

Rewards come from the rays and from the refined estimate: its pose relative to the root, velocities and contacts. Episodes end by the
`relative` distance, so that a body in another place than the estimate does not fail. An assistive force at the pelvis is annealed to
zero over the first half of the run (in the manner of PTM, arXiv 2412.17377). Validation follows the film from its first frame without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from physhmr_kit.env.rollout import evaluation_env, follow_clips
from physhmr_kit.env.settings import FILM_REWARD, EpisodeConfig
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.learning.networks import Policy
from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import accelerator_of
from physhmr_kit.stages.data import Batches, MotionDataModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import FinetuneConfig, FinetunePPO, Simulation, StudentPolicy
from physhmr_kit.vision.refinement import refined_clip
from physhmr_kit.vision.track import VisualTrack

FILM_CONFIG = FinetuneConfig(
    iterations=200,
    validate_every=5,
    sim=Simulation(num_envs=256),
    env=EpisodeConfig(
        termination="relative", termination_distance=0.3, pre_failure_prob=0.5, first_frame_prob=0.2,
        reward=FILM_REWARD,
    ),
    policy=StudentPolicy(std=0.05),
    ppo=FinetunePPO(
        horizon=32, minibatch_size=2048, gamma=0.97, learning_rate=1e-4, desired_kl=0.04, critic_warmup=3,
        imitation_coef=0.0, ema_decay=0.8,
    ),
)  # fmt: skip
"""Settings of the adaptation to a film."""

ASSIST = 300.0
"""Largest assistive force at the beginning, N; less than half of the body's weight."""

GOOD_MM = 50.0
"""Mean distance of the joints from their rays, mm, below which a film that is followed to its end needs no more training."""

_ASSISTED = 0.5  # share of a run over which the assistive force falls to zero


class FilmDataModule(MotionDataModule):
    """One person in one film. The clip to follow is the refined estimate.

    Args:
        track: what the camera saw.
    """

    def __init__(self, track: VisualTrack):
        super().__init__(MotionLibrary([refined_clip(track)]))
        self.visual = self.validation_visual = VisualLibrary([[track]], self.library.lengths)
        self.track, self.tracks = track, [track]

    def val_dataloader(self) -> Batches:
        return Batches([[0]])


class FilmModule(FinetuneModule):
    """PPO on one film.

    Args:
        config: the settings; nothing is imitated.
        policy: the student to begin with.
        minutes: length of the run, where it is limited by time instead of by iterations.
    """

    def __init__(
        self,
        config: FinetuneConfig | dict | None = None,
        policy: Policy | dict | None = None,
        minutes: float | None = None,
    ):
        super().__init__(config or FILM_CONFIG, None, policy)
        self.minutes = minutes

    @property
    def share_done(self) -> float:
        """Share of the run that is over, 0 to 1."""
        return self.seconds / 60 / self.minutes if self.minutes else self.current_epoch / self.config.iterations

    @property
    def assist(self) -> float:
        """Largest assistive force now, N."""
        return ASSIST * max(0.0, 1 - self.share_done / _ASSISTED)

    def on_train_epoch_start(self) -> None:
        self.env.assist = self.assist

    def iteration_values(self) -> dict[str, float]:
        return super().iteration_values() | {"assist": self.assist}

    def validation_step(self, clips: list[int], batch_idx: int) -> None:
        """Follow the film from its first frame until the body is lost."""
        data, sim = self.trainer.datamodule, self.config.sim
        if self.evaluation is None:
            self.evaluation = evaluation_env(
                data.library, self.tracking, data.visual, sim.simulator, sim.substeps, 1, self.root_device
            )
        (rollout,) = follow_clips(self.policy, self.evaluation, clips)
        seen = data.track[: len(rollout)]
        off = ray_distance(rollout.simulated.body_pos, seen.centre, seen.ray_point, seen.ray_confidence)
        self.followed, self.off_mm = len(rollout) / len(data.track), float(off.nanmean())
        self.whole = rollout.success
        self.good = self.whole and self.off_mm < GOOD_MM

    def on_validation_epoch_end(self) -> None:
        self.log("val/success", float(self.whole), prog_bar=True)
        self.log("val/good", float(self.good))
        self.log("val/frames_followed", self.followed)
        self.log("val/rays_mm", self.off_mm)
        self.log("val/score", self.whole + self.followed - self.off_mm / 1e6)


@dataclass(frozen=True)
class Adaptation:
    """A policy adapted to a film.

    Attributes:
        policy: the best of all validations.
        followed: share of the film that it follows before it is lost, 0 to 1.
        samples: control steps of training.
        minutes: of training.
    """

    policy: Policy
    followed: float
    samples: int
    minutes: float


class _Best(pl.Callback):
    """Keeps the best policy of all validations and reports how much of the film it follows."""

    def __init__(self, told: Callable[[float, float], None] | None):
        self.told, self.score, self.policy, self.followed = told, float("-inf"), None, 0.0

    def on_validation_end(self, trainer: pl.Trainer, module: FilmModule) -> None:
        score = float(trainer.callback_metrics["val/score"])
        if score > self.score:
            self.score, self.followed, self.policy = score, module.followed, copy.deepcopy(module.policy)
        if self.told:
            self.told(module.share_done, self.followed)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: FilmModule) -> None:
        if self.told:
            self.told(module.share_done, self.followed)


def adapt(
    policy: Policy,
    track: VisualTrack,
    minutes: float,
    config: FinetuneConfig = FILM_CONFIG,
    device: str | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> Adaptation:
    """Train a policy on a film until it follows the whole of it closely (`GOOD_MM`), or the time is over, or Ctrl-C is pressed.

    Args:
        policy: to begin with; it is left as it is.
        track: what the camera saw.
        minutes: longest time of training.
        config: settings; `iterations` is not used.
        device: where simulator and networks live; where the simulator computes by default.
        progress: called with (share of the time that is over, share of the film that is followed).
    """
    if policy.control == "absolute":  # an action of 1 is much more than half a radian
        config = replace(config, policy=replace(config.policy, std=0.02))
    data, best = FilmDataModule(track), _Best(progress)
    module = FilmModule(replace(config, iterations=10**6), copy.deepcopy(policy), minutes)
    good_enough = EarlyStopping(
        "val/good", mode="max", stopping_threshold=0.5, patience=10**6, check_on_train_epoch_end=False
    )
    accelerator = accelerator_of(config.sim.simulator)
    if device:
        accelerator = "gpu" if device.startswith("cuda") else "cpu"
    trainer = pl.Trainer(
        accelerator=accelerator, devices=1, max_epochs=-1,
        max_time=timedelta(minutes=minutes), logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=-1, check_val_every_n_epoch=config.validate_every,
        callbacks=[best, good_enough],
    )  # fmt: skip
    try:
        trainer.fit(module, datamodule=data)
        trainer.validate(module, datamodule=data, verbose=False)
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to Ctrl-C is exit(1)
            raise
    finally:
        module.teardown("fit")
    chosen = (best.policy or policy).cpu().eval().requires_grad_(False)
    return Adaptation(chosen, best.followed, module.samples, module.seconds / 60)
