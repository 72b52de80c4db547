"""Links, diagrams and formulas are converted for the site; functions and files that pages mention exist."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs" / "site"))

from diagram import flowchart, layers, to_svg
from markup import outside_code, with_diagrams, with_formulas, with_links

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NAMED = sorted(
    {
        n
        for page in PAGES
        for n in re.findall(r"`((?:physhmr_kit|data_prep)/[\w/]+\.py:[\w.]+)`", page.read_text("utf-8"))
    }
)


def test_the_method_page_names_a_function_for_every_symbol():
    rows = [line for line in (ROOT / "docs/method.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) > 25 and len(NAMED) > 30
    assert all(re.search(r"\.py:\w", row) for row in rows[1:])


@pytest.mark.parametrize("name", NAMED)
def test_functions_named_on_pages_exist(name):
    file, _, dotted = name.partition(":")
    body = ast.parse((ROOT / file).read_text("utf-8")).body
    for part in dotted.split("."):
        found = [n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == part]
        assert found, f"{file} has no {dotted}"
        body = found[0].body


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_link_targets_exist_in_the_repository(page):
    for target in re.findall(r"\]\(([^)#\s]+)", outside_code(page.read_text("utf-8"), str)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_links_to_pages_are_rewritten_and_others_become_text():
    pages = {"docs/a.md", "docs/b.md", "CONTRIBUTING.md"}
    text = "[b](b.md#here), [code](../setup.py), [far](https://example.org), ![p](b.md)\n```\n[b](c.md)\n```\n"
    changed = with_links(text, "docs/a.md", pages, {"CONTRIBUTING.md": "docs/contributing.md"})
    assert changed == "[b](b.md#here), code, [far](https://example.org), ![p](b.md)\n```\n[b](c.md)\n```\n"
    assert (
        with_links("[c](../CONTRIBUTING.md)", "docs/a.md", pages, {"CONTRIBUTING.md": "docs/contributing.md"})
        == "[c](contributing.md)"
    )


def test_code_is_unchanged():
    assert outside_code("a `a` a\n```\na\n```\na", lambda part: part.replace("a", "b")) == "b `a` b\n```\na\n```\nb"


def test_a_flowchart_is_parsed_and_layered_along_its_edges():
    direction, texts, edges = flowchart(
        'flowchart LR\n  A["one<br>two"] -->|x| B[three] --> C\n  C <--> B\n  subgraph s\n  end'
    )
    assert direction == "LR" and texts == {"A": "one<br>two", "B": "three", "C": "C"}
    assert edges == [("A", "B", "x", False), ("B", "C", "", False), ("C", "B", "", True)]
    assert layers(texts, edges) == {"A": 0, "B": 1, "C": 2}
    with pytest.raises(ValueError, match="unsupported line"):
        flowchart("flowchart TD\n A ==> B")


@pytest.mark.parametrize("page", [p for p in PAGES if "```mermaid" in p.read_text("utf-8")], ids=lambda p: p.name)
def test_every_diagram_of_the_pages_becomes_svg(page):
    text = with_diagrams(page.read_text("utf-8"))
    assert "```mermaid" not in text
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        boxes = ElementTree.fromstring(drawn).findall("{http://www.w3.org/2000/svg}rect")
        boxes = [box for box in boxes if box.get("stroke")]
        assert len(boxes) >= 6
        spans = [tuple(float(b.get(k)) for k in ("x", "y", "width", "height")) for b in boxes]
        for k, (x, y, w, h) in enumerate(spans):
            for u, v, s, t in spans[:k]:
                assert x + w <= u or u + s <= x or y + h <= v or v + t <= y, "boxes overlap"


def test_to_svg_escapes_text():
    assert "&lt;b&gt;" in to_svg("flowchart TD\n A[a <b>] --> B")


def test_formulas_become_mathml_and_prices_do_not():
    pytest.importorskip("latex2mathml", reason="part of the site extra")
    text = with_formulas("$p = c$ costs 5$ or $6, `$x$`\n\n$$\ne = r\n$$\n")
    assert text.count("<math") == 2 and 'display="block"' in text and "`$x$`" in text and "5$ or $6" in text
