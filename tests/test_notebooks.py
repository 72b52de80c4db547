"""The notebooks are built from the lessons, with the same bytes every time."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("jupytext", reason="jupytext is part of the dev extra")
ROOT = Path(__file__).resolve().parents[1]
LESSON = "# %% [markdown]\n# # A lesson\n\n# %%\nprint(1 + 1)\n"


@pytest.fixture
def build():
    spec = importlib.util.spec_from_file_location("build", ROOT / "notebooks" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folders(tmp_path):
    for name in ("tutorials", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "tutorials" / "00_lesson.py").write_text(LESSON)
    return tmp_path / "tutorials", tmp_path / "notebooks"


def test_a_lesson_becomes_a_notebook_without_outputs(build, folders):
    import nbformat

    (text,) = build.stale(*folders).values()
    notebook = nbformat.reads(text, as_version=4)
    assert [c.cell_type for c in notebook.cells] == ["markdown", "code"]
    assert notebook.cells[1].source == "print(1 + 1)" and notebook.cells[1].outputs == []


def test_building_twice_gives_the_same_bytes(build, folders):
    assert build.stale(*folders) == build.stale(*folders)


def test_stale_missing_and_left_over_notebooks_are_all_noticed(build, folders):
    tutorials, notebooks = folders
    assert list(build.stale(tutorials, notebooks)) == [notebooks / "00_lesson.ipynb"]
    for path, text in build.stale(tutorials, notebooks).items():
        path.write_text(text)
    assert build.stale(tutorials, notebooks) == {}
    (tutorials / "00_lesson.py").write_text(LESSON.replace("1 + 1", "1 + 2"))
    (notebooks / "09_gone.ipynb").write_text("{}")
    assert set(build.stale(tutorials, notebooks)) == {notebooks / "00_lesson.ipynb", notebooks / "09_gone.ipynb"}
    (tutorials / "00_lesson.py").unlink()
    assert build.stale(tutorials, notebooks)[notebooks / "00_lesson.ipynb"] is None
