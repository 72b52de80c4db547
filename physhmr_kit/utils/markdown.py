"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "l") -> str:
    """A Markdown table, a line for each row.

    Args:
        align: 'l' or 'r' for each column; the last letter also holds for the columns after it.

    Example:
        >>> print(markdown_table(("clip", "mm"), [("walk", 3.1)], "lr"))
        | clip | mm |
        |---|---:|
        | walk | 3.1 |
    """
    align = align + align[-1] * (len(header) - len(align))
    rule = "|" + "".join("---:|" if side == "r" else "---|" for side in align)
    return "\n".join([_line(header), rule, *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
