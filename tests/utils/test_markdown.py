"""Tables in Markdown."""

from physhmr_kit.utils.markdown import markdown_table


def test_a_table_has_a_rule_that_aligns_its_columns_and_escapes_bars():
    lines = markdown_table(("clip", "mm", "m/s"), [("a|b", 1, 2.5)], "lr").split("\n")
    assert lines == ["| clip | mm | m/s |", "|---|---:|---:|", "| a\\|b | 1 | 2.5 |"]
