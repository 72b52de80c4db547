"""Plausibility of motion files from any tool, without ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterable

from data_prep.as_read import AsRead
from physhmr_kit.benchmark.tables import cells
from physhmr_kit.metrics.plausibility import COLUMNS, plausibility
from physhmr_kit.metrics.protocols import ClipFigures, Protocol, pool
from physhmr_kit.metrics.table import to_csv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.markdown import markdown_table

_POOLED = Protocol("plausibility", plausibility, COLUMNS)
NOTES = (
    "Mean-shape humanoid, 30 fps; rules in docs/metrics.md. Read the columns together: a floating body neither slides nor sinks. "
    "A dash: nothing to measure, e.g. no foot in stance.",
    "floor: height of the floor found in the file, cm; 0 if the body rests on z = 0. All motions: one mean over all frames, "
    "stance feet or hinges (height variance: mean over motions).",
)


def judge(motions: Iterable[AsRead], found_floor: bool = False) -> tuple[list[dict], list[AsRead]]:
    """A row of metrics for each motion, a last row for all of them, and the motions that could not be read.

    Args:
        found_floor: shift every motion to its detected floor; otherwise only those of tools whose world has no floor.
    """
    rows, figures, refused = list[dict](), list[ClipFigures](), list[AsRead]()
    for motion in motions:
        if motion.clip is None:
            refused.append(motion)
            continue
        clip = motion.on_floor() if found_floor or not motion.known_floor else motion.clip
        states = MotionLibrary([clip]).clip(0)
        one = ClipFigures.of(motion.name, len(states), len(states), True, plausibility(states))
        figures.append(one)
        rows.append({"motion": motion.name, "frames": len(states), "floor": 100 * motion.floor, **_means([one])})
    if figures:
        rows.append(
            {"motion": "all motions", "frames": sum(f.frames for f in figures), "floor": math.nan, **_means(figures)}
        )
    return rows, refused


def plausibility_report(rows: list[dict], refused: list[AsRead], title: str, found_floor: bool) -> tuple[str, str]:
    """The table as Markdown and CSV."""
    floor = "the floor found" if found_floor else "z = 0 (for tools without a floor: above the floor found)"
    notes = [*NOTES, f"Heights are above {floor}.", *(f"not read: {one.path}: {one.refusal}" for one in refused)]
    table = markdown_table(("motion", "frames", "floor cm", *COLUMNS.values()), map(cells, rows), "lr")
    return "\n".join([f"# {title}", "", table, "", *(f"- {note}" for note in notes), ""]), to_csv(rows)


def _means(figures: list[ClipFigures]) -> dict[str, float]:
    return pool(figures, _POOLED).means
