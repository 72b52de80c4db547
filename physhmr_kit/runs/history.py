"""History of a run: its evaluations, detection of a collapse, `evaluations.csv` and logged metrics."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from physhmr_kit.metrics.followed import ClipScore, Totals
from physhmr_kit.utils.files import write_text

POINTS = 0.10
"""Smallest drop in success or in frames followed, as a share, that is more than noise."""
CLIPS = 3
"""Smallest drop in successful clips that is more than noise: of a dozen clips, one or two vary by chance."""

COLUMNS = ("iteration", "samples", "minutes", "clip", "success", "followed", "tracking_mm")
"""Columns of evaluations.csv: success is 0 or 1, followed the share of the clip's frames, tracking_mm E_g-mpjpe over them."""


@dataclass(frozen=True)
class Milestone:
    """One evaluation of a run.

    Attributes:
        iteration, samples: of training so far. minutes: wall clock, evaluations and earlier sessions included.
        reward: mean over the iteration's training rollout.
        totals: scores over all clips.
    """

    iteration: int
    samples: int
    minutes: float
    reward: float
    totals: Totals

    def to_dict(self) -> dict:
        """Plain numbers, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Milestone:
        """Inverse of `to_dict`."""
        return cls(**{**values, "totals": Totals(**values["totals"])})


def best_of(milestones: Sequence[Milestone]) -> Milestone:
    """The best of one or more evaluations; the first of equals."""
    return max(milestones, key=lambda m: m.totals.score)


def collapsed(milestones: Sequence[Milestone], patience: int) -> bool:
    """Whether a run has lost what it had learned and is not recovering.

    True when the last `patience` evaluations are all far below the best one and the last of them is no better than the
    first, so that a run that recovers from a dip continues. Far below means one of

    - success more than 10 points lower, and at least 3 clips fewer: success over 78 clips varies by about 4 points from one
      evaluation to the next, over a dozen clips by 8 or 16;
    - more than 10 points fewer frames followed, a smoother measure, which also works for few clips;
    - success lower, and the training reward less than half of that at the best evaluation, or not a number.

    Args:
        patience: evaluations in a row; 0 always returns False.
    """
    if patience <= 0 or len(milestones) < patience:
        return False
    best, last = best_of(milestones), milestones[-patience:]
    return all(_far_below(m, best) for m in last) and last[-1].totals.score <= last[0].totals.score


def _far_below(now: Milestone, best: Milestone) -> bool:
    was, is_ = best.totals, now.totals
    fewer = was.tracked - is_.tracked >= CLIPS and was.success - is_.success > POINTS
    shorter = was.covered - is_.covered > POINTS
    poorer = not math.isfinite(now.reward) or (best.reward > 0 and now.reward < best.reward / 2)
    return fewer or shorter or (poorer and is_.success < was.success)


def append_evaluation(path: Path, milestone: Milestone, scores: Sequence[ClipScore]) -> None:
    """Add an evaluation to evaluations.csv, one row for each clip; the file is replaced atomically."""
    head = [milestone.iteration, milestone.samples, f"{milestone.minutes:.3f}"]
    rows = [[*head, s.clip, int(s.success), f"{s.share:.4f}", _cell(s.tracking_mm)] for s in scores]
    _write(path, [*_read(path), *rows])


def cut_evaluations(path: Path, iteration: int) -> None:
    """Drop evaluations after `iteration`, the checkpoint of an interrupted session: the resumed one repeats them."""
    if path.is_file():
        _write(path, [row for row in _read(path) if int(row[0]) <= iteration])


def _read(path: Path) -> list[list]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.reader(f))[1:]


def _write(path: Path, rows: list[list]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([COLUMNS, *rows])
    write_text(path, out.getvalue())


def _cell(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """The logged metrics of a run, one dict for each iteration, in order.

    Every session of a run writes its own file (`metrics/version_0/metrics.csv`, then `version_1`, ...); where a resumed
    session repeats iterations of a killed one, the later file counts.

    Args:
        run: the run folder.
    """
    files = sorted(Path(run).glob("metrics/version_*/metrics.csv"), key=lambda f: int(f.parent.name.split("_")[1]))
    rows: dict[int, dict[str, float]] = {}
    for file in files:
        session: dict[int, dict[str, float]] = {}
        with open(file, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                iteration = int(row["epoch"]) + 1
                numbers = {k: float(v) for k, v in row.items() if v != ""}
                session.setdefault(iteration, {}).update(numbers | {"iteration": iteration})
        rows = {i: row for i, row in rows.items() if i < min(session, default=0)} | session if session else rows
    return [rows[i] for i in sorted(rows)]
