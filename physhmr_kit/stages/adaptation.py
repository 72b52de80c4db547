"""Stage `finetune` on one video without ground truth: a policy is adapted to the visual track of one person.

Rewards come from the rays and from the refined estimate: its pose relative to the root, velocities and contacts. Episodes end by the
`relative` distance, so that a body at another place than the estimate does not fail. An assistive force at the pelvis is annealed to
zero over the first half of the run (as in PTM, arXiv 2412.17377). Validation follows the video from its first frame without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.learning.networks import Policy
from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import accelerator_of
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import ADAPTATION_CONFIG, FinetuneConfig
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.refinement import refined_clip
from physhmr_kit.vision.track import VisualTrack

ASSIST = 300.0
"""Limit of the assistive force at the start, N; less than half of the body's weight."""

GOOD_MM = 50.0
"""Mean distance of the joints from their rays, mm, below which training stops once the whole video is followed."""

_ASSISTED = 0.5  # share of a run over which the assistive force falls to 0


class VideoDataModule(MotionDataModule):
    """One person in one video; the clip to imitate is the refined estimate.

    Args:
        track: the person's visual track.
    """

    def __init__(self, track: VisualTrack):
        super().__init__(MotionLibrary([refined_clip(track)]))
        self.visual = self.validation_visual = VisualLibrary([[track]], self.library.lengths)
        self.track, self.tracks = track, [track]

    @classmethod
    def read(cls, config: FinetuneConfig) -> VideoDataModule:
        """Read the keypoints of `config.video` and the camera of `config.camera`; the person's size is estimated.

        Raises:
            KitError: files that cannot be read or do not belong together, or no camera.
        """
        if config.video is None or config.camera is None:
            raise KitError("adapting to a video needs --video KEYPOINTS.npz and --camera CAMERA.json")
        keypoints, camera = KeypointTrack.load(config.video), Camera.load(Path(config.camera))
        return cls(track_from_keypoints(keypoints, camera, load_encoder(config.cameras.encoder), None))


class AdaptationModule(FinetuneModule):
    """PPO on one video.

    Args:
        config: the settings; `ppo.imitation_coef` must be 0.
        policy: the initial student.
        minutes: length of the run, if it is limited by time instead of iterations.
    """

    def __init__(
        self,
        config: FinetuneConfig | dict | None = None,
        policy: Policy | dict | None = None,
        minutes: float | None = None,
    ):
        super().__init__(config or ADAPTATION_CONFIG, None, policy)
        self.minutes = minutes

    @property
    def share_done(self) -> float:
        """Completed share of the run, 0 to 1."""
        return self.seconds / 60 / self.minutes if self.minutes else self.current_epoch / self.config.iterations

    @property
    def assist(self) -> float:
        """Current limit of the assistive force, N."""
        return ASSIST * max(0.0, 1 - self.share_done / _ASSISTED)

    def on_train_epoch_start(self) -> None:
        self.env.assist = self.assist

    def iteration_values(self) -> dict[str, float]:
        return super().iteration_values() | {"assist": self.assist}

    def validation_step(self, clips: list[int], batch_idx: int) -> None:
        """Follow the video from its first frame until the body is lost."""
        super().validation_step(clips, batch_idx)
        rollout = self.worst  # there is only one
        assert rollout is not None
        seen = self.datamodule.track[: len(rollout)]
        off = ray_distance(rollout.simulated.body_pos, seen.centre, seen.ray_point, seen.ray_confidence)
        self.followed, self.off_mm = len(rollout) / len(self.datamodule.track), float(off.nanmean())
        self.good = rollout.success and self.off_mm < GOOD_MM

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("val/good", float(self.good))
        self.log("val/rays_mm", self.off_mm)


@dataclass(frozen=True)
class Adaptation:
    """A policy adapted to a video.

    Attributes:
        policy: the best of all validations.
        followed: share of the video that it follows before it is lost, 0 to 1.
        off_mm: mean distance of its joints from their rays until then, mm.
        samples, minutes: control steps and time of training.
    """

    policy: Policy
    followed: float
    off_mm: float
    samples: int
    minutes: float


class _Best(pl.Callback):
    """Keeps the best policy of all validations and reports its progress."""

    def __init__(self, report: Callable[[float, float, float], None] | None):
        self.report, self.score, self.followed, self.off_mm = report, float("-inf"), 0.0, float("nan")
        self.policy: Policy | None = None

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, AdaptationModule)
        score = float(trainer.callback_metrics["val/score"])
        if score > self.score:
            self.score, self.followed, self.off_mm = score, module.followed, module.off_mm
            self.policy = copy.deepcopy(module.policy)
        self.tell(module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, AdaptationModule)
        self.tell(module)

    def tell(self, module: AdaptationModule) -> None:
        if self.report:
            self.report(module.share_done, self.followed, self.off_mm)


def adapt(
    policy: Policy,
    track: VisualTrack,
    minutes: float,
    config: FinetuneConfig = ADAPTATION_CONFIG,
    device: str | None = None,
    progress: Callable[[float, float, float], None] | None = None,
) -> Adaptation:
    """Train a policy on a video until it follows all of it closely (`GOOD_MM`), time is up, or Ctrl-C is pressed.

    Args:
        policy: initial policy; it is not changed.
        track: the person's visual track.
        minutes: time limit of training.
        config: settings; `iterations` is not used.
        device: of simulator and networks; the simulator's by default.
        progress: called with (used share of the time, followed share of the video, mean distance from the rays in mm).
    """
    if policy.control == "absolute":  # an action of 1 is much more than the half radian of other controls
        config = replace(config, policy=replace(config.policy, std=0.02))
    data, best = VideoDataModule(track), _Best(progress)
    module = AdaptationModule(replace(config, iterations=10**6), copy.deepcopy(policy), minutes)
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
        if not isinstance(stop.__context__, KeyboardInterrupt):  # Lightning exits with 1 on Ctrl-C
            raise
    finally:
        module.teardown("fit")
    chosen = (best.policy or policy).cpu().eval().requires_grad_(False)
    return Adaptation(chosen, best.followed, best.off_mm, module.samples, module.seconds / 60)
