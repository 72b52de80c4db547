"""Reference curves: success, error and reward of recorded runs over time, to compare a run with.

`reference_runs.json` holds the records. To add one, train with `--validate_every` and copy the rows and the clip set from
the section "Beside a reference run" of that run's table.md.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physhmr_kit.runs.history import Milestone
from physhmr_kit.utils.markdown import markdown_table

MINUTES = (1, 5, 20, 60, 180)
"""Rows of the comparison: wall-clock minutes of training, evaluations included."""


@dataclass(frozen=True)
class Expected:
    """Result of the last evaluation before a point in time.

    Attributes:
        minutes: the point in time. samples: at that evaluation.
        success, covered: shares of clips and of frames, 0..1. error_mm: E_g-mpjpe over the frames followed.
        reward: of training, mean over an iteration.
    """

    minutes: float
    samples: int
    success: float
    covered: float
    error_mm: float
    reward: float


@dataclass(frozen=True)
class ReferenceRun:
    """A recorded run.

    Attributes:
        clip_set: name of its clips by `clip_set`. clips: description of its clips.
        command, machine, simulator: with which it was trained. rows: in order of time.
    """

    clip_set: str
    clips: str
    command: str
    machine: str
    rows: tuple[Expected, ...]
    simulator: str = "mujoco_cpu"


def reference_runs(stage: str = "expert") -> tuple[ReferenceRun, ...]:
    """The recorded runs of a stage."""
    text = Path(__file__).with_name("reference_runs.json").read_text(encoding="utf-8")
    return tuple(
        ReferenceRun(**{**run, "rows": tuple(Expected(**row) for row in run["rows"])})
        for run in json.loads(text).get(stage, ())
    )


def clip_set(names: Sequence[str]) -> str:
    """A short name of a set of clips: their number and a checksum of their names, in any order."""
    return f"{len(names)}-{zlib.crc32(chr(10).join(sorted(names)).encode()):08x}"


def reached(milestones: Sequence[Milestone], minutes: float) -> Expected | None:
    """Result of a run's last evaluation in its first `minutes`, or None if there was none."""
    past = [m for m in milestones if m.minutes <= minutes]
    if not past:
        return None
    m = past[-1]
    return Expected(m.minutes, m.samples, m.totals.success, m.totals.covered, m.totals.followed_mm, m.reward)


def reference_section(
    milestones: Sequence[Milestone],
    names: Sequence[str],
    minutes: float,
    references: Sequence[ReferenceRun] | None = None,
    simulator: str = "mujoco_cpu",
) -> str:
    """The section of table.md that compares a run with a recorded one, as Markdown.

    The reference is the first recorded run with the same clips and simulator, else with the same clips, else with the same
    simulator, else the first one.

    Args:
        milestones: the run's evaluations. names: of its clips. minutes: its training time.
        references: recorded runs; those of `reference_runs` by default. simulator: of the run.
    """
    references, own_set = reference_runs() if references is None else references, clip_set(names)
    nearest = lambda r: (r.clip_set == own_set, r.simulator == simulator)  # noqa: E731
    reference = max(references, key=nearest, default=None)
    same = reference is not None and reference.clip_set == own_set
    rows, expected = [], {} if reference is None else {row.minutes: row for row in reference.rows}
    for moment in sorted({*MINUTES, *expected}):
        if reference is not None:
            rows.append(_row(f"{moment:g}", "reference", expected.get(moment)))
        own = reached(milestones, moment) if minutes >= moment else None
        rows.append(_row(f"{moment:g}", "this run" + (f" (at {own.minutes:.1f})" if own else ""), own))
    if (end := reached(milestones, math.inf)) is not None:
        rows.append(_row(f"{minutes:.1f}", f"this run, its last evaluation (at {end.minutes:.1f})", end))
    head = ("minutes", "", "samples", "success", "frames followed", "error mm", "reward")
    lines = ["## Beside a reference run", "", *_about(reference, same), "", markdown_table(head, rows, "rlr")]
    notes = [
        "Each row is the last evaluation before that minute of training; error: E_g-mpjpe over the frames followed. "
        "Minutes depend on the machine and its load: on another machine, compare by samples.",
        f"clip set of this run: {own_set}",
    ]
    if not milestones:
        notes.insert(0, "this run was not evaluated during training; train with --validate_every N to fill its rows")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def _about(reference: ReferenceRun | None, same: bool) -> list[str]:
    if reference is None:
        return ["There is no reference run; these are the figures of this run only."]
    other = "" if same else " **It has other clips than this run: expect similar curves, not the same figures.**"
    return [f"Reference run: {reference.clips}, {reference.machine}, `{reference.command}`.{other}"]


def _row(minutes: str, who: str, e: Expected | None) -> tuple[str, ...]:
    if e is None:
        return (minutes, who, "-", "-", "-", "-", "-")
    error, reward = (f"{v:.{d}f}" if math.isfinite(v) else "-" for v, d in ((e.error_mm, 0), (e.reward, 2)))
    shares = (f"{100 * e.success:.0f} %", f"{100 * e.covered:.0f} %")
    return (minutes, who, f"{e.samples / 1e6:.2f} M", *shares, error, reward)
