"""A lesson becomes a page, with the outputs of its cells if it has been executed."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs" / "site"))

from lessons import lesson_pages

nbformat = pytest.importorskip("nbformat", reason="part of the dev and site extras")
pytest.importorskip("nbconvert", reason="part of the dev and site extras")

DRAWING = "from IPython.display import Image, display\nimport os\nprint(6 * 7, os.environ['CI'])\ndisplay(Image(data=DOT, format='png'))"
DOT = "import base64\nDOT = base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')\n"


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks", DOT + DRAWING)
    return tmp_path / "notebooks", tmp_path / "pages", tmp_path / "kept"


def write(folder, code):
    cells = [nbformat.v4.new_markdown_cell("# Lesson 0 · Dots"), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "00_dots.ipynb")


def test_a_page_without_outputs_says_so(folders):
    notebooks, pages, kept = folders
    assert lesson_pages(notebooks, pages, kept, execute=False) == {"Lesson 0 · Dots": "00_dots.md"}
    text = (pages / "00_dots.md").read_text("utf-8")
    assert "```python" in text and "without running the lesson" in text and not kept.exists()


def test_a_lesson_is_executed_once_and_its_outputs_are_kept(folders):
    pytest.importorskip("ipykernel", reason="part of the dev and site extras")
    notebooks, pages, kept = folders
    lesson_pages(notebooks, pages, kept, execute=True)
    text = (pages / "00_dots.md").read_text("utf-8")
    (picture,) = pages.glob("*.png")
    assert "42 true" in text and f"]({picture.name})" in text and "without running" not in text
    again = pages.with_name("again")
    lesson_pages(notebooks, again, kept, execute=False)
    assert "42 true" in (again / "00_dots.md").read_text("utf-8")
    write(notebooks, "print(1)")
    lesson_pages(notebooks, again, kept, execute=False)
    assert "without running the lesson" in (again / "00_dots.md").read_text("utf-8"), (
        "outputs of changed cells are dropped"
    )
