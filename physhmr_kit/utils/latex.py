"""Tables in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "²": "$^2$", "³": "$^3$", "±": r"$\pm$"}


def latex_table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "l") -> str:
    """A `tabular` with the rules of booktabs.

    Args:
        align: 'l' or 'r' for each column; the last letter also holds for the columns after it.

    Example:
        >>> print(latex_table(("clip", "mm²"), [("a_b", 3.1)], "lr"))
        \\begin{tabular}{lr}
        \\toprule
        clip & mm$^2$ \\\\
        \\midrule
        a\\_b & 3.1 \\\\
        \\bottomrule
        \\end{tabular}
    """
    columns = align + align[-1] * (len(header) - len(align))
    lines = [_line(header), r"\midrule", *map(_line, rows)]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])


def _line(cells: Sequence[object]) -> str:
    return " & ".join("".join(_SPECIAL.get(c, c) for c in str(cell)) for cell in cells) + r" \\"
