"""The lessons as a reader meets them: whole, in the promised order, and importing only what the kit has.

Running them is `make notebooks-run`; this file is quick.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "tutorials").glob("*.py"))


def _cells(lesson: Path) -> list[tuple[str, str]]:
    """(kind, text) of every cell of a percent script."""
    parts = re.split(r"^# %%(.*)$", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        ("markdown" if "markdown" in kind else "code", text) for kind, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def test_there_are_eleven_lessons_numbered_from_zero():
    assert [int(lesson.name[:2]) for lesson in LESSONS] == list(range(11))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_says_how_long_it_takes_and_ends_with_failure_exercises_and_a_summary(lesson):
    kinds, texts = zip(*_cells(lesson), strict=True)
    assert kinds[0] == "markdown"
    assert f"# # Lesson {int(lesson.name[:2])} · " in texts[0]
    assert "**Time:** " in texts[0] and "Afterwards you will be able to" in texts[0]
    prose = "".join(text for kind, text in zip(kinds, texts, strict=True) if kind == "markdown")
    places = [
        re.search(rf"^# ## {head}", prose, re.MULTILINE) for head in ("What failure looks like", "Exercise", "Summary")
    ]
    assert all(places), "a section is missing"
    assert [p.start() for p in places] == sorted(p.start() for p in places)
    assert "*Expect*" in prose, "an exercise without a number to expect"
    assert "**Next:** " in texts[-1]


@pytest.mark.parametrize("lesson", LESSONS[:-1], ids=lambda p: p.stem)
def test_the_next_lesson_is_the_following_one(lesson):
    number = int(lesson.name[:2]) + 1
    assert f"esson {number}" in _cells(lesson)[-1][1].split("**Next:**")[1]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_solution_is_folded_away_and_checks_its_answer(lesson):
    parts = re.split(r"^# %%(.*)$", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if "solution" in kind:
            assert '"source_hidden": true' in kind
            assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_checks_what_it_claims(lesson):
    tree = ast.parse(lesson.read_text(encoding="utf-8"))
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 5


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_everything_a_lesson_imports_exists(lesson):
    for node in ast.walk(ast.parse(lesson.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for name in node.names:
                found = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
                assert found, f"{node.module} has no {name.name}"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_notebook_holds_its_lesson_without_outputs(lesson):
    notebook = json.loads((ROOT / "notebooks" / f"{lesson.stem}.ipynb").read_text(encoding="utf-8"))
    cells, wanted = notebook["cells"], _cells(lesson)
    assert [cell["cell_type"] for cell in cells] == [kind for kind, _ in wanted]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert ["".join(cell["source"]).strip() for cell in code] == [
        text.strip() for kind, text in wanted if kind == "code"
    ]
