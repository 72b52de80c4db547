"""What keeps an eye on a run: `ClipEvaluation` follows every clip every so often, `Finite` stops where numbers end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch

from physhmr_kit.env.rollout import Rollout, track_clips
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.metrics.followed import ClipScore, score_clips, total, worst_first
from physhmr_kit.stages.base import _random_state, _set_random_state
from physhmr_kit.stages.history import Milestone, append_evaluation, best_of, collapsed, cut_evaluations
from physhmr_kit.utils.errors import KitError

Report = Callable[[Path, Sequence[Milestone], Sequence[ClipScore], Sequence[ClipScore], Sequence[Rollout]], None]
"""Told after each evaluation: the run folder, all milestones, this evaluation's scores, the last one's, the rollouts."""


class ClipEvaluation(pl.Callback):
    """Follows all clips, prints one line, adds to `evaluations.csv`, and writes `best.safetensors` when they go better.

    Better means more clips tracked to the end, then more frames tracked, then a smaller error. Training is not disturbed:
    with and without evaluations a run draws the same random numbers. A run that collapses (see `history.collapsed`) is
    stopped at the next checkpoint; resumed, it goes on until an evaluation says so again.

    Args:
        every: iterations between two evaluations.
        folder: the run's.
        patience: evaluations in a row that make a collapse; 0 never stops.
        report: writes whatever else is to be seen.
    """

    state_key = "ClipEvaluation"  # in checkpoints; Lightning would take the class's name, whatever it becomes

    def __init__(self, every: int, folder: str | Path, patience: int = 0, report: Report | None = None):
        self.every, self.folder, self.patience, self.report = every, Path(folder), patience, report
        self.milestones: list[Milestone] = []
        self.scores: list[ClipScore] = []
        self.stopped: str | None = None
        self._fresh = False  # something was evaluated in this session

    @property
    def best(self) -> Milestone | None:
        """The best evaluation, whose weights are in `best.safetensors`."""
        return best_of(self.milestones)

    def on_train_start(self, trainer, module) -> None:
        cut_evaluations(self.folder / "evaluations.csv", _iterations(trainer))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if _iterations(trainer) % self.every:
            return
        with _undisturbed():
            milestone, scores, rollouts = self._evaluate(trainer, module)
            append_evaluation(self.folder / "evaluations.csv", milestone, scores)
            before, self.scores = self.scores, scores
            self.milestones.append(milestone)
            self._fresh = True
            if self.best is milestone:
                self._keep(module, milestone)
            if self.report is not None:
                self.report(self.folder, self.milestones, scores, before, rollouts)
        totals = milestone.totals
        module.log_dict(
            {
                "clips/success": totals.success,
                "clips/covered": totals.covered,
                "clips/error_mm": totals.success_mm,
                "clips/followed_mm": totals.followed_mm,
            }
        )
        trainer.print(_line(milestone, self.best, scores))

    def on_train_epoch_end(self, trainer, module) -> None:
        """Stop here and not within an epoch, where there would be no checkpoint to go on from."""
        if not (self._fresh and collapsed(self.milestones, self.patience)):
            return
        best, last = self.best, self.milestones[-1]
        self.stopped = (
            f"collapsed: {last.totals.words()} at iteration {last.iteration}, the {_nth(self.patience)} evaluation in a "
            f"row far below the best ({best.totals.words()} at iteration {best.iteration})"
        )
        trainer.print(f"\n!!! {self.stopped}; training stops, the weights of iteration {best.iteration} are kept\n")
        trainer.should_stop = True

    def state_dict(self) -> dict:
        return {"milestones": [m.to_dict() for m in self.milestones], "scores": [vars(s) for s in self.scores]}

    def load_state_dict(self, state: dict) -> None:
        self.milestones = [Milestone.from_dict(m) for m in state.get("milestones", [])]
        self.scores = [ClipScore(**s) for s in state.get("scores", [])]

    def _evaluate(self, trainer, module) -> tuple[Milestone, list[ClipScore], list[Rollout]]:
        minutes = module.seconds / 60
        rollouts = track_clips(
            module.final_policy,
            module.library,
            module.env.config,
            module.env.visual,
            module.config.simulator,
            module.config.substeps,
            device=module.config.device or None,
        )
        scores = score_clips(rollouts)
        reward = float(trainer.callback_metrics.get("reward", torch.nan))
        return Milestone(_iterations(trainer), module.samples, minutes, reward, total(scores)), scores, rollouts

    def _keep(self, module, milestone: Milestone) -> None:
        save_policy(
            module.final_policy,
            self.folder / "best.safetensors",
            module.weights_of,
            samples=module.samples,
            iteration=milestone.iteration,
            substeps=module.config.substeps,
        )


class Finite(pl.Callback):
    """Ends a run in one line when a loss, the reward, a weight or a normaliser is no longer a number.

    Checkpoints are written between epochs, so the last one is from before it happened.

    Args:
        folder: the run's.
        go_on: the command that takes the run up again.
    """

    def __init__(self, folder: str | Path, go_on: str = ""):
        self.folder, self.go_on = Path(folder), go_on

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        watched = {k: v for k, v in trainer.callback_metrics.items() if k == "reward" or k.split("/")[0] == "loss"}
        bad = [name for name, value in watched.items() if not torch.isfinite(torch.as_tensor(value))]
        bad += [] if bad else _not_finite(module)
        if not bad:
            return
        last = self.folder / "checkpoints" / "last.ckpt"
        remedy = "there is no checkpoint yet; begin again with a smaller --max_grad_norm or --learning_rate"
        if last.is_file():
            remedy = f"last checkpoint: {last}; go on from it in smaller steps: {self.go_on} --max_grad_norm 0.1"
        raise KitError(f"{bad[0]} is not a finite number at iteration {_iterations(trainer)}; {remedy}")


@contextlib.contextmanager
def _undisturbed():
    """Whatever draws from the global generators (Python's, NumPy's, torch's) in here leaves them as they were."""
    before = _random_state()
    try:
        yield
    finally:
        _set_random_state(before)


def _not_finite(module) -> list[str]:
    """The first weight or floating-point buffer that holds NaN or infinity; one synchronisation when there is none."""
    named = [*module.named_parameters(), *((n, b) for n, b in module.named_buffers() if b.is_floating_point())]
    if torch.stack([t.detach().sum().double() for _, t in named]).isfinite().all():
        return []
    return [name for name, t in named if not t.detach().isfinite().all()][:1]


def _iterations(trainer) -> int:
    """Iterations done, earlier sessions included (`trainer.global_step` counts optimiser steps instead)."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


def _line(now: Milestone, best: Milestone, scores: Sequence[ClipScore]) -> str:
    worst = scores[worst_first(scores)[0]]
    how = f"at {worst.tracking_mm:.0f} mm" if worst.success else worst.moment
    return (
        f"iteration {now.iteration}, {now.samples / 1e6:.2f} M samples, {now.minutes:.1f} min: {now.totals.words()}; "
        f"worst {worst.clip} {how}; best so far {best.totals.tracked}/{best.totals.clips}"
    )


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
