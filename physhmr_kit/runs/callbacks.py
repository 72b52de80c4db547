"""Lightning callbacks of a run: checkpoints, evaluation of all clips, a guard against NaN, progress bars."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.seed import isolate_rng

from physhmr_kit.metrics.followed import ClipScore, total, worst_first
from physhmr_kit.runs.clip_report import write_clip_report
from physhmr_kit.runs.history import Milestone, append_evaluation, best_of, collapsed, cut_evaluations
from physhmr_kit.stages.base import PolicyStage
from physhmr_kit.utils.errors import KitError


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint to resume from, written every so many iterations and after the last one.

    The file is replaced atomically, so a run killed at any moment leaves a complete checkpoint.

    Args:
        path: of the checkpoint.
        every: iterations between two checkpoints.
    """

    def __init__(self, path: str | os.PathLike, every: int):
        self.path, self.every = Path(path), every

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Whether to write the checkpoint after this iteration."""
        done = trainer.current_epoch + 1
        return done % self.every == 0 or done == trainer.max_epochs or trainer.should_stop

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.is_due(trainer):
            return
        part = self.path.with_name("part.ckpt")  # every process must name the same file
        trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            os.replace(part, self.path)


class BestCheckpoint(LastCheckpoint):
    """Keeps the checkpoint of the best validation; place it before the `LastCheckpoint`, whose file stores its score.

    Lightning's `ModelCheckpoint` does not replace its file atomically, and warns when its folder holds another checkpoint.

    Args:
        path: of the checkpoint.
        monitor: name of the logged validation metric.
        mode: 'max' or 'min', which values of the metric are better.
        every: iterations between two validations.
    """

    def __init__(self, path: str | os.PathLike, monitor: str, mode: str, every: int):
        super().__init__(path, every)
        self.monitor, self.sign = monitor, {"max": 1, "min": -1}[mode]
        self.best = -math.inf

    def is_due(self, trainer: pl.Trainer) -> bool:
        if (trainer.current_epoch + 1) % self.every:
            return False
        score = self.sign * float(trainer.callback_metrics[self.monitor])
        better = trainer.strategy.reduce_boolean_decision(score > self.best)  # processes must agree on whether to save
        if better:
            self.best = score
        return better

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state: dict) -> None:
        if self.path.is_file():  # not in a new run that starts from a checkpoint of another one
            self.best = state["best"]


class ClipEvaluation(pl.Callback):
    """Records every validation of a policy stage and stops a run that has collapsed.

    Prints a line, appends to `evaluations.csv`, and rewrites `clips.md`, `curves.png` and `worst.rrd`.

    Args:
        folder: the run folder.
        patience: bad evaluations in a row that count as a collapse (see `history.collapsed`); 0 never stops the run.
    """

    def __init__(self, folder: str | os.PathLike, patience: int = 0):
        self.folder, self.patience = Path(folder), patience
        self.milestones: list[Milestone] = []
        self.scores: list[ClipScore] = []
        self.stopped: str | None = None
        """Why the run was stopped early, if it was."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            cut_evaluations(self.folder / "evaluations.csv", trainer.current_epoch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:  # called by Trainer.validate
            return
        assert isinstance(pl_module, PolicyStage)
        reward = float(pl_module.collector.batch.reward.mean())
        minutes, totals = pl_module.seconds / 60, total(pl_module.scores)
        milestone = Milestone(trainer.current_epoch + 1, pl_module.samples, minutes, reward, totals)
        before, self.scores = self.scores, pl_module.scores
        self.milestones.append(milestone)
        if trainer.is_global_zero:
            with isolate_rng():
                append_evaluation(self.folder / "evaluations.csv", milestone, self.scores)
                write_clip_report(self.folder, self.milestones, self.scores, before, pl_module.worst)
            print(_line(milestone, best_of(self.milestones), self.scores))
        if collapsed(self.milestones, self.patience):
            best = best_of(self.milestones)
            self.stopped = (
                f"collapsed: {totals.words()} at iteration {milestone.iteration}, evaluation {self.patience} in a row far "
                f"below the best ({best.totals.words()} at iteration {best.iteration})"
            )
            trainer.should_stop = True

    def state_dict(self) -> dict:
        return {"milestones": [m.to_dict() for m in self.milestones], "scores": [vars(s) for s in self.scores]}

    def load_state_dict(self, state: dict) -> None:
        self.milestones = [Milestone.from_dict(m) for m in state["milestones"]]
        self.scores = [ClipScore(**s) for s in state["scores"]]


class NanGuard(pl.Callback):
    """Stops a run with a one-line error when a loss, a weight or a normaliser is no longer finite.

    Args:
        checkpoint: the last one, if it exists.
        resume: the command that resumes the run.
    """

    def __init__(self, checkpoint: str | os.PathLike, resume: str = ""):
        self.checkpoint, self.resume = Path(checkpoint), resume

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {k: v for k, v in trainer.callback_metrics.items() if k.split("/")[0] == "loss"}
        bad = [name for name, value in losses.items() if not torch.isfinite(torch.as_tensor(value))]
        bad += [] if bad else _not_finite(pl_module)
        if not bad:
            return
        remedy = "there is no checkpoint yet; restart with a smaller --max_grad_norm or --learning_rate"
        if self.checkpoint.is_file():
            remedy = f"last checkpoint: {self.checkpoint}; resume from it with smaller steps: {self.resume} --max_grad_norm 0.1"
        raise KitError(f"{bad[0]} is not finite at iteration {trainer.current_epoch + 1}; {remedy}")


def progress_bar(name: str) -> list[pl.Callback]:
    """Lightning's 'rich' or 'tqdm' progress bar without the version number, or none for 'none'."""
    bars: dict[str, list[pl.Callback]] = {"rich": [_RichBar()], "tqdm": [_TqdmBar()], "none": []}
    return bars[name]


class _NoVersion:
    """Leaves Lightning's version number out of a progress bar."""

    def get_metrics(self, trainer, pl_module):
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}  # type: ignore[misc]


class _RichBar(_NoVersion, RichProgressBar):
    pass


class _TqdmBar(_NoVersion, TQDMProgressBar):
    pass


def _not_finite(module: pl.LightningModule) -> list[str]:
    """The first weight or floating-point buffer that holds NaN or infinity; one device synchronisation if there is none."""
    named = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if b.is_floating_point())]
    if torch.stack([t.detach().sum().double() for _, t in named]).isfinite().all():
        return []
    return [name for name, t in named if not t.detach().isfinite().all()][:1]


def _line(now: Milestone, best: Milestone, scores: Sequence[ClipScore]) -> str:
    worst = scores[worst_first(scores)[0]]
    how = f"at {worst.tracking_mm:.0f} mm" if worst.success else worst.moment
    return (
        f"iteration {now.iteration}, {now.samples / 1e6:.2f} M samples, {now.minutes:.1f} min: {now.totals.words()}; "
        f"worst {worst.clip} {how}; best so far {best.totals.tracked}/{best.totals.clips}"
    )
