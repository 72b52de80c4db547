"""Files written by an evaluation during training: `clips.md`, `curves.png` and `worst.rrd`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from physhmr_kit.env.rollout import Rollout
from physhmr_kit.metrics.followed import ClipScore, worst_first
from physhmr_kit.runs.history import Milestone, best_of
from physhmr_kit.utils.files import write_text
from physhmr_kit.utils.markdown import markdown_table

_NOTES = (
    "Worst first: lost clips, those lost earliest (as a share of the clip) at the top, then the others by error. "
    "`worst.rrd` shows the first one.",
    "tracking: E_g-mpjpe, world, 24 bodies, no alignment, over the frames until the body was lost (as in `evaluate`).",
)


def write_clip_report(
    folder: Path,
    milestones: Sequence[Milestone],
    scores: Sequence[ClipScore],
    before: Sequence[ClipScore],
    worst: Rollout | None,
) -> None:
    """Write the three files, replacing those of the last evaluation.

    Args:
        milestones: every evaluation of the run so far.
        scores, before: clip scores of this evaluation and of the previous one (may be empty).
        worst: the rollout to record.
    """
    from physhmr_kit.viewer import record_rollout
    from physhmr_kit.viewer.curves import training_curves

    write_text(folder / "clips.md", clip_table(milestones, scores, before))
    training_curves(milestones, folder / "curves.png", f"{folder.name}, {milestones[-1].totals.clips} clips")
    if worst is not None:
        record_rollout(folder / "worst.rrd", worst)


def clip_table(milestones: Sequence[Milestone], scores: Sequence[ClipScore], before: Sequence[ClipScore]) -> str:
    """The last evaluation clip by clip, as Markdown, with the change since the previous one (`before`, may be empty)."""
    now, best, was = milestones[-1], best_of(milestones), {s.clip: s for s in before}
    since = f"since iteration {milestones[-2].iteration}" if len(milestones) > 1 else "change"
    lines = [
        f"# Clips at iteration {now.iteration}",
        "",
        f"{now.samples / 1e6:.2f} M samples, {now.minutes:.1f} min: {now.totals.words()} "
        f"({_mm(now.totals.success_mm)} mm over the successful clips). "
        f"Best so far: {best.totals.words()} at iteration {best.iteration}.",
        "",
    ]
    rows = []
    for s in (scores[i] for i in worst_first(scores)):
        outcome = s.moment if s.success else f"{s.moment} ({100 * s.share:.0f} %)"
        rows.append((s.clip, s.frames, outcome, _mm(s.tracking_mm), _change(s, was.get(s.clip))))
    table = markdown_table(("clip", "frames", "outcome", "tracking mm", since), rows, "lrlrl")
    return "\n".join([*lines, table, "", *(f"- {note}" for note in _NOTES), ""])


def _change(now: ClipScore, was: ClipScore | None) -> str:
    """How the result of a clip changed between two evaluations."""
    if was is None:
        return "-"
    if now.success != was.success:
        return f"was {was.moment}"
    if now.success:
        return f"{now.tracking_mm - was.tracking_mm:+.1f} mm"
    return f"{(now.followed - was.followed) / now.fps:+.1f} s"


def _mm(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"
