"""Benchmark tables: one with a row per method, and one with a row per sequence and method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from physhmr_kit.benchmark.sequences import Results
from physhmr_kit.metrics.protocols import PHC, ClipFigures, Protocol, pool
from physhmr_kit.metrics.table import to_csv
from physhmr_kit.utils.files import write_text
from physhmr_kit.utils.latex import latex_table
from physhmr_kit.utils.markdown import markdown_table

_FIRST = ("clips", "success %", "coverage %")


def write_tables(results: Results, protocol: Protocol, world: bool, out: Path, title: str, notes: Sequence[str]) -> str:
    """Write table.md, table.csv and table.tex into a folder and return the Markdown.

    Args:
        world: include the metrics that need ground truth without drift in the world frame.
        notes: in addition to the protocol's, a sentence each.
    """
    found = {m for by_name in results.values() for clips in by_name.values() for c in clips for m in c.counts}
    heads = protocol.headings(world, found)
    whole = [row for method, by_name in results.items() for row in _whole(method, by_name, protocol, heads)]
    each = [
        _row({"sequence": name, "method": method}, by_name[name], protocol, heads)
        for name in next(iter(results.values()))
        for method, by_name in results.items()
    ]
    words = [*protocol.notes, _success_note(protocol), *notes]
    header = ["method", *_FIRST, *heads.values()]
    tables = ((header, whole, "lr"), (["sequence", *header], each, "llr"))
    markdown = [markdown_table(head, map(cells, rows), align) for head, rows, align in tables]
    text = "\n".join(
        [f"# {title}", "", markdown[0], "", *(f"- {w}" for w in words), "", "## Each sequence", "", markdown[1], ""]
    )
    write_text(out / "table.md", text)
    closing = [{"sequence": "all", **row} for row in whole]
    write_text(out / "table.csv", to_csv([*each, *closing]))
    latex = [f"% {word}" for word in (title, *words)] + [latex_table(h, map(cells, g), a) for h, g, a in tables]
    write_text(out / "table.tex", "\n".join([*latex, ""]))
    return text


def _whole(method: str, by_name: dict[str, list[ClipFigures]], protocol: Protocol, heads: dict[str, str]) -> list[dict]:
    every = [clip for clips in by_name.values() for clip in clips]
    rows = [_row({"method": method}, every, protocol, heads)]
    if protocol is PHC:
        good = [clip for clip in every if clip.success]
        rows.append(_row({"method": f"{method}, successful"}, good, protocol, heads))
    return rows


def _row(first: dict, clips: list[ClipFigures], protocol: Protocol, heads: dict[str, str]) -> dict:
    found = pool(clips, protocol)
    counted = str(found.kept) if found.kept == found.clips else f"{found.kept} of {found.clips}"
    return {
        **first, "clips": counted, "success": found.success, "coverage": found.coverage,
        **{measure: found.means[measure] for measure in heads},
    }  # fmt: skip


def cells(row: dict) -> list[str]:
    """The values of a row as text, floats to one decimal, '-' for NaN."""
    return [("-" if math.isnan(v) else f"{v:.1f}") if isinstance(v, float) else str(v) for v in row.values()]


def _success_note(protocol: Protocol) -> str:
    counted = "clips of those that enter the means" if protocol.left_out else "sequences"
    return (
        f"clips: {counted}. success: mean distance from the truth never above 0.5 m (PHC's criterion) and never reset to the "
        "estimate. coverage: share of all frames that enter the means."
    )
