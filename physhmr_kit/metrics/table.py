"""The evaluation table: one row per clip, two closing rows, and notes on the columns.

A rollout is scored up to the frame where the body lost its reference, and the table shows that time, because the errors
of a clip that failed early cover only its easy beginning. Hence the two closing rows: over all scored frames, and over
the clips tracked to the end (which PHC's papers quote).
"""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from torchmetrics import MetricCollection

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.metrics.accuracy import MPJPE, PAMPJPE, RTE, WAMPJPE, WMPJPE, Accel
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
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.utils.markdown import markdown_table

COLUMNS = {
    "clip": "clip", "frames": "frames", "outcome": "outcome", "tracking_mm": "tracking mm", "mpjpe_mm": "MPJPE mm",
    "pa_mpjpe_mm": "PA-MPJPE mm", "foot_sliding_mm_per_frame": "foot sliding mm/frame", "floating_mm": "floating mm",
    "penetration_mm": "penetration mm", "height_variance_mm2": "height var. mm²",
}  # fmt: skip
"""Columns of the printed table; the CSV holds every measure."""

NOTES = (
    "tracking: E_g-mpjpe (PHC), world, 24 bodies, no alignment. MPJPE: hip midpoints aligned, PA-MPJPE: similarity per frame (WHAM family).",
    "All values cover the frames until the body was lost (see outcome); for a clip that failed early that is its easy beginning.",
    "success: mean distance of 20 bodies never above 0.5 m (PHC) and played to the end. Foot measures use sole corners, not SMPL vertices.",
    "Pooled over all frames, not a mean of clip means (height variance: mean over clips).",
)
"""What a reader needs to know to compare the numbers."""


def measures(fps: float = 30.0) -> MetricCollection:
    """All metrics that compare a simulated body with its reference.

    `compute_groups` is off because torchmetrics would merge metrics whose first values happen to agree, e.g. two zeros.
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
    """One row of results per rollout.

    Args:
        rollouts: `env.Rollout`s, or anything with their `name`, `reference` and `simulated` (BodyStates of T frames
            from frame 0), `length` (frames of the whole clip), `fail_frame` (int or None) and `fps`.
        humanoid: whose soles to use; the mean shape by default.

    Returns:
        Dicts with clip, frames (of the clip), scored (frames scored), success, outcome (text), and every key of
        `measures()`; NaN where a measure has no values.
    """
    rows = []
    for r in rollouts:
        metrics = measures(r.fps)
        scored, success = frames_followed(r)
        metrics.update(**_inputs(r, scored, humanoid))
        outcome = "tracked" if success else f"lost at {scored / r.fps:.1f} s ({_percent(scored, r.length)})"
        row = {"clip": r.name, "frames": r.length, "scored": scored, "success": success, "outcome": outcome}
        rows.append(row | _values(metrics))
    return rows


def summarise(rollouts: list, humanoid: Humanoid | None = None) -> list[dict[str, Any]]:
    """The two closing rows, with the keys of `score_rollouts`: all clips until they fail, and the successful ones.

    `outcome` gives the share of all frames that were scored, in the first row after the success rate.
    """
    rows = score_rollouts(rollouts, humanoid)
    good = [i for i, row in enumerate(rows) if row["success"]]
    frames = sum(row["frames"] for row in rows)
    rate = f"{len(good)}/{len(rows)} success, "
    closing = []
    for name, chosen, prefix in (("all clips", range(len(rows)), rate), ("successful clips", good, "")):
        pooled = measures()
        for i in chosen:
            pooled.update(**_inputs(rollouts[i], rows[i]["scored"], humanoid))
        scored = sum(rows[i]["scored"] for i in chosen)
        closing.append(
            {
                "clip": name,
                "frames": sum(rows[i]["frames"] for i in chosen),
                "scored": scored,
                "success": 100 * len(good) / len(rows) if rows else math.nan,
                "outcome": f"{prefix}{_percent(scored, frames)} of frames",
                **_values(pooled),
            }
        )
    return closing


def _inputs(rollout, scored: int, humanoid: Humanoid | None) -> dict[str, Any]:
    pred, target = rollout.simulated[:scored], rollout.reference[:scored]
    return {
        "pred_joints": pred.body_pos,
        "target_joints": target.body_pos,
        "pred_soles": sole_corners(pred.body_pos, pred.body_rot, humanoid).flatten(-3, -2),
        "target_soles": sole_corners(target.body_pos, target.body_rot, humanoid).flatten(-3, -2),
        "pred_dof": pred.dof_pos,
    }


def _values(metrics: MetricCollection) -> dict[str, float]:
    # computing a metric that was never updated gives a warning
    return {str(name): float(m.compute()) if m.update_called else math.nan for name, m in metrics.items()}


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


# Printing


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row of the printed table; NaN becomes a dash."""
    values = (row[key] for key in COLUMNS)
    return [str(v) if not isinstance(v, float) else "-" if math.isnan(v) else f"{v:.1f}" for v in values]


def to_markdown(rows: list[dict[str, Any]], closing: list[dict[str, Any]] | None = None, title: str = "") -> str:
    """A Markdown table of clip rows and closing rows, followed by `NOTES`."""
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
    """The same table as a `rich.table.Table` for the terminal."""
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
