"""What success, error and reward a healthy expert run shows after some minutes, beside what a run of one's own shows.

A reference is measured, not wished for: train with `--evaluate_every`, and copy the rows and the clip set from the
section "Is this run healthy?" of that run's table.md.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from physhmr_kit.stages.history import Milestone

MINUTES = (1, 5, 20, 60, 180)
"""On the wall clock of training, evaluations included."""


@dataclass(frozen=True)
class Expected:
    """What the last evaluation before a moment gave.

    Attributes:
        minutes: the moment. samples: at that evaluation.
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
class Healthy:
    """A run on record.

    Attributes:
        clip_set: as `clip_set` names it. clips: the same for people.
        command: that trained it. machine: on which. rows: in order of time. simulator: whose speed the minutes are of.
    """

    clip_set: str
    clips: str
    command: str
    machine: str
    rows: tuple[Expected, ...]
    simulator: str = "mujoco_cpu"


EXPERT: tuple[Healthy, ...] = (
    Healthy(
        "78-d0f77d98",
        "12 demo motions and 66 clips of CMU",
        "fit --stage expert --clips demo ../shared/data/cmu --matmul medium --learning_rate 5e-5 --epochs 3 "
        "--push_force 120 --push_every 200 --reward.feet 0.2 --retry_share 0.3 --evaluate_every 50",
        "one of 2 cores, the other one busy, seed 0, commit da63c7b, 26 November 2026, stopped after 60 minutes; before the dancer's arms "
        "were mended; with the reward on feet a perfect reward is 1.2",
        (
            Expected(5, 409_600, 0.27, 0.56, 50, 1.00),
            Expected(20, 1_638_400, 0.33, 0.62, 55, 0.98),
            Expected(60, 5_324_800, 0.53, 0.63, 54, 0.99),
        ),
    ),
    Healthy(
        "78-d0f77d98",
        "12 demo motions and 66 clips of CMU",
        "fit --stage expert --clips demo ../shared/data/cmu --simulator mujoco_gpu --num_envs 8192 --horizon 16 --minibatch 16384 "
        "--hidden 1024 512 --gamma 0.98 --kl 0.1 --kl_end 0.02 --average 0.99 --matmul high --push_force 200 --push_every 200 "
        "--reward.feet 0.2 --iterations 627, as a script that evaluated beside the training",
        "one H100, seed 0, commit da63c7b, 26 November 2026; before the dancer's arms were mended; a perfect reward is 1.2",
        (
            Expected(1, 6_160_000, 0.24, 0.48, 52, 1.03),
            Expected(5, 38_300_000, 0.77, 0.85, 34, 1.06),
            Expected(10, 79_300_000, 0.82, 0.87, 33, 1.05),
        ),
        "mujoco_gpu",
    ),
    Healthy(
        "78-d0f77d98",
        "12 demo motions and 66 clips of CMU",
        "fit --stage expert --clips demo ../shared/data/cmu --control residual --matmul medium --learning_rate 5e-5 --epochs 3 "
        "--push_force 120 --push_every 200 --evaluate_every 50",
        "2 cores (AMD EPYC), for the first 36 minutes beside two other trainings, seed 0, 25 November 2026, "
        "on the references of before the feet stayed apart",
        (
            Expected(20, 1_228_800, 0.24, 0.53, 71, 0.83),
            Expected(60, 6_144_000, 0.51, 0.60, 63, 0.82),
            Expected(80, 9_830_400, 0.56, 0.60, 63, 0.82),
        ),
    ),
)
"""Runs of the expert on record; a run is laid beside the first one of its own clips on its own simulator, or else of one of the two,
or else beside the first."""


def clip_set(names: Sequence[str]) -> str:
    """A short name of a set of clips: how many, and a checksum of their names whatever the order."""
    return f"{len(names)}-{zlib.crc32(chr(10).join(sorted(names)).encode()):08x}"


def reached(milestones: Sequence[Milestone], minutes: float) -> Expected | None:
    """What a run had reached by a moment: its last evaluation before it, or None where there was none."""
    past = [m for m in milestones if m.minutes <= minutes]
    if not past:
        return None
    m = past[-1]
    return Expected(m.minutes, m.samples, m.totals.success, m.totals.covered, m.totals.followed_mm, m.reward)


def healthy_section(
    milestones: Sequence[Milestone],
    names: Sequence[str],
    minutes: float,
    references: Sequence[Healthy] = EXPERT,
    simulator: str = "mujoco_cpu",
) -> str:
    """The section of table.md that lets a reader judge a run, as Markdown.

    Args:
        milestones: the run's evaluations. names: of its clips. minutes: how long it trained.
        references: runs on record. simulator: that the run trained on.
    """
    own_set = clip_set(names)
    nearest = lambda r: (r.clip_set == own_set, r.simulator == simulator)  # noqa: E731
    reference = max(references, key=nearest, default=None)
    same = reference is not None and reference.clip_set == own_set
    lines = ["## Is this run healthy?", "", *_about(reference, same), ""]
    head = ("minutes", "", "samples", "success", "frames followed", "error mm", "reward")
    lines += ["| " + " | ".join(head) + " |", "|---:|---|" + "---:|" * 5]
    expected = {} if reference is None else {row.minutes: row for row in reference.rows}
    for moment in sorted({*MINUTES, *expected}):
        if reference is not None:
            lines.append(_row(f"{moment:g}", "healthy", expected.get(moment)))
        own = reached(milestones, moment) if minutes >= moment else None
        lines.append(_row(f"{moment:g}", "this run" + (f" (at {own.minutes:.1f})" if own else ""), own))
    if milestones:
        end = reached(milestones, math.inf)
        lines.append(_row(f"{minutes:.1f}", f"this run, its last evaluation (at {end.minutes:.1f})", end))
    notes = [
        "Each row is the last evaluation before that minute of training; error: E_g-mpjpe over the frames followed. "
        "Minutes depend on the machine and on what else it does: if they differ, compare by samples.",
        f"clip set of this run: {own_set}",
    ]
    if not milestones:
        notes.insert(0, "this run was not evaluated on the way; train with --evaluate_every N to fill its rows")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def _about(reference: Healthy | None, same: bool) -> list[str]:
    if reference is None:
        return ["No healthy run is on record yet; these are this run's own figures."]
    other = "" if same else " **These are other clips than this run's: expect the same course, not the same figures.**"
    return [f"Healthy: {reference.clips}, {reference.machine}, `{reference.command}`.{other}"]


def _row(minutes: str, who: str, e: Expected | None) -> str:
    if e is None:
        return f"| {minutes} | {who} | - | - | - | - | - |"
    error, reward = (f"{v:.{d}f}" if math.isfinite(v) else "-" for v, d in ((e.error_mm, 0), (e.reward, 2)))
    return (
        f"| {minutes} | {who} | {e.samples / 1e6:.2f} M | {100 * e.success:.0f} % | {100 * e.covered:.0f} % "
        f"| {error} | {reward} |"
    )
