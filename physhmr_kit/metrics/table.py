"""The table of an evaluation: one row for each clip, two closing rows, and what the columns mean.

A rollout is scored up to the frame where its body lost its reference, and the table shows which frame that was: the errors
of a clip that failed early are those of its easy beginning. Hence the two closing rows, over everything that was
scored and over the clips that were tracked to the end (PHC's papers quote the latter).
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from torchmetrics import MetricCollection

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.metrics.accuracy import MPJPE, PAMPJPE, Accel
from physhmr_kit.metrics.followed import frames_followed
from physhmr_kit.metrics.physical import (
    Floating,
    FootSliding,
    HeightVariance,
    Jitter,
    LimitExcess,
    LimitViolation,
    Penetration,
    SkatingRatio,
)
from physhmr_kit.metrics.tracking import AccelError, GlobalMPJPE, RootMPJPE, VelError
from physhmr_kit.metrics.world import RTE, WAMPJPE, WMPJPE
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.utils.markdown import markdown_table

COLUMNS = {
    "clip": "clip", "frames": "frames", "outcome": "outcome", "tracking_mm": "tracking mm", "mpjpe_mm": "MPJPE mm",
    "pa_mpjpe_mm": "PA-MPJPE mm", "foot_sliding_mm_per_frame": "foot sliding mm/frame", "floating_mm": "floating mm",
    "penetration_mm": "penetration mm", "height_variance_mm2": "height var. mm²",
}  # fmt: skip
"""Columns of the printed table; the CSV holds every measure."""

NOTES = (
    "tracking: E_g-mpjpe (PHC), world, 24 bodies, no alignment. MPJPE: hips' midpoint aligned, PA-MPJPE: similarity per frame (WHAM family).",
    "Every figure covers the frames until the body was lost; outcome says how far that was. A clip that failed early shows its easy beginning.",
    "success: mean distance of 20 bodies never above 0.5 m (PHC) and played to the end. Foot figures are taken on sole corners, not SMPL vertices.",
    "Pooled over all frames, not a mean of clip means (height variance: mean over clips).",
)
"""What a reader needs to know to compare the figures."""


def measures(fps: float = 30.0) -> MetricCollection:
    """Every measure of the kit that compares a simulated body with its reference.

    `compute_groups` stays off: torchmetrics would merge measures whose first values happen to agree, e.g. two zeros.
    """
    return MetricCollection(
        {
            "tracking_mm": GlobalMPJPE(),
            "mpjpe_mm": MPJPE(),
            "pa_mpjpe_mm": PAMPJPE(),
            "foot_sliding_mm_per_frame": FootSliding(),
            "floating_mm": Floating(),
            "penetration_mm": Penetration(),
            "height_variance_mm2": HeightVariance(),
            "skating_percent": SkatingRatio(fps),
            "jitter_10_m_per_s3": Jitter(fps),
            "accel_m_per_s2": Accel(fps),
            "w_mpjpe_mm": WMPJPE(),
            "wa_mpjpe_mm": WAMPJPE(),
            "rte_percent": RTE(),
            "e_mpjpe_mm": RootMPJPE(),
            "e_acc_mm_per_frame2": AccelError(),
            "e_vel_mm_per_frame": VelError(),
            "limit_violation_percent": LimitViolation(),
            "limit_excess_deg": LimitExcess(),
        },
        compute_groups=False,
    )


def score_rollouts(rollouts: list, humanoid: Humanoid | None = None) -> list[dict[str, Any]]:
    """One row of figures for each rollout.

    Args:
        rollouts: `env.Rollout`s, or anything with their `name`, `reference` and `simulated` (BodyStates of T rows from
            frame 0), `length` (frames of the whole clip), `fail_frame` (int or None) and `fps`.
        humanoid: whose sole to use; the mean shape by default.

    Returns:
        Dicts with clip, frames (of the clip), scored (frames that enter the figures), success, outcome (a phrase), and
        every key of `measures()`; NaN where a measure has no values.
    """
    return [_row(r, measures(r.fps), humanoid) for r in rollouts]


def summarise(rollouts: list, humanoid: Humanoid | None = None) -> list[dict[str, Any]]:
    """The two closing rows: all clips until their failure, and the successful ones; the same keys as `score_rollouts`.

    `outcome` gives the success rate, or the share of all frames that the figures cover.
    """
    rows = score_rollouts(rollouts, humanoid)
    good = [i for i, row in enumerate(rows) if row["success"]]
    frames = sum(row["frames"] for row in rows)
    closing = []
    for name, chosen in (("all clips", range(len(rows))), ("successful clips", good)):
        pooled = measures()
        for i in chosen:
            pooled.update(**_inputs(rollouts[i], rows[i]["scored"], humanoid))
        scored = sum(rows[i]["scored"] for i in chosen)
        outcome = f"{len(good)}/{len(rows)} success, {_percent(scored, frames)} of frames"
        if name != "all clips":
            outcome = f"{_percent(scored, frames)} of frames"
        closing.append(
            {
                "clip": name,
                "frames": sum(rows[i]["frames"] for i in chosen),
                "scored": scored,
                "success": 100 * len(good) / len(rows) if rows else math.nan,
                "outcome": outcome,
                **_values(pooled, bool(chosen)),
            }
        )
    return closing


def _row(rollout, metrics: MetricCollection, humanoid: Humanoid | None) -> dict[str, Any]:
    frames = rollout.length
    scored, success = frames_followed(rollout)
    metrics.update(**_inputs(rollout, scored, humanoid))
    outcome = "tracked" if success else f"lost at {scored / rollout.fps:.1f} s ({_percent(scored, frames)})"
    base = {"clip": rollout.name, "frames": frames, "scored": scored, "success": success, "outcome": outcome}
    return {**base, **_values(metrics, True)}


def _inputs(rollout, scored: int, humanoid: Humanoid | None) -> dict[str, Any]:
    pred, target = rollout.simulated[slice(0, scored)], rollout.reference[slice(0, scored)]
    return {
        "pred_joints": pred.body_pos,
        "target_joints": target.body_pos,
        "pred_soles": sole_corners(pred.body_pos, pred.body_rot, humanoid).flatten(-3, -2),
        "target_soles": sole_corners(target.body_pos, target.body_rot, humanoid).flatten(-3, -2),
        "pred_dof": pred.dof_pos,
    }


def _values(metrics: MetricCollection, any_clip: bool) -> dict[str, float]:
    if not any_clip:  # computing a metric without values makes torchmetrics warn
        return {str(name): math.nan for name in metrics}
    return {name: float(value) for name, value in metrics.compute().items()}


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


# Printing


def cells(row: dict[str, Any]) -> list[str]:
    """A row as the cells of the printed table; NaN becomes a dash."""
    return [_cell(row[key]) for key in COLUMNS]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.1f}"
    return str(value)


def to_markdown(rows: list[dict[str, Any]], closing: list[dict[str, Any]] | None = None, title: str = "") -> str:
    """A Markdown table of clip rows and closing rows, with `NOTES` under it."""
    body = [cells(row) for row in rows] + [[f"**{row['clip']}**", *cells(row)[1:]] for row in closing or []]
    lines = [f"# {title}", ""] if title else []
    return "\n".join([*lines, markdown_table(list(COLUMNS.values()), body, "lrlr"), "", *(f"- {n}" for n in NOTES), ""])


def to_csv(rows: list[dict[str, Any]], closing: list[dict[str, Any]] | None = None) -> str:
    """Every measure as CSV, closing rows last; an empty cell where a measure has no values."""
    lines = [*rows, *(closing or [])]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(lines[0]) if lines else list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in lines:
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})
    return out.getvalue()


def rich_table(rows: list[dict[str, Any]], closing: list[dict[str, Any]] | None = None, title: str = ""):
    """The same table for a terminal (a `rich.table.Table`)."""
    from rich.table import Table

    table = Table(title=title or None, header_style="bold")
    for key, head in COLUMNS.items():
        table.add_column(head, justify="left" if key in ("clip", "outcome") else "right")
    for row in rows:
        table.add_row(*cells(row), style=None if row["success"] else "yellow")
    if closing:
        table.add_section()
    for row in closing or []:
        table.add_row(*cells(row), style="bold")
    return table
