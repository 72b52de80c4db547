"""Tables in LaTeX."""

from physhmr_kit.utils.latex import latex_table


def test_a_table_escapes_what_latex_would_read_and_keeps_its_rules():
    lines = latex_table(("clip", "mm²"), [("a_b & 5 %", 3.1)], "lr").split("\n")
    assert lines[0] == r"\begin{tabular}{lr}" and lines[1] == r"\toprule" and lines[-1] == r"\end{tabular}"
    assert r"clip & mm$^2$ \\" in lines and r"a\_b \& 5 \% & 3.1 \\" in lines
