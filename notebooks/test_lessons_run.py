"""Every lesson runs from top to bottom, and every cell that promises a picture leaves one.

    make notebooks-run

What they print and draw is kept in build/lessons, where the site finds it. A cell promises a picture when it calls `plt.show()` or when its last line is a `filmstrip(...)`.
"""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
KEPT = FOLDER.parent / "build" / "lessons"
"""Executed notebooks, for the site."""
SECONDS = 600
"""Longest time of a cell."""
LONG = ("05", "06", "07")
"""Lessons of several minutes."""


def promises_picture(source: str) -> bool:
    """Whether a code cell promises a picture."""
    tree = ast.parse(source)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    last = tree.body[-1] if tree.body else None
    return "plt.show" in calls or (isinstance(last, ast.Expr) and ast.unparse(last).startswith("filmstrip("))


def pictures(cell) -> int:
    """How many pictures a cell left."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def lessons() -> list[Path]:
    """The long ones first, a short one after each: processes that share them out begin with two each."""
    long, short = [], []
    for path in sorted(FOLDER.glob("*.ipynb")):
        (long if path.name.startswith(LONG) else short).append(path)
    pairs = zip(long, short, strict=False)
    return [path for pair in pairs for path in pair] + long[len(short) :] + short[len(long) :]


@pytest.mark.parametrize("path", lessons(), ids=lambda p: p.stem)
def test_a_lesson_runs_and_shows_the_pictures_it_promises(path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # lessons that run side by side do not burn each other's cores
    monkeypatch.delenv("MPLBACKEND", raising=False)  # so that the kernel draws as it does for a reader
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": FOLDER}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    promised = [cell for cell in code if promises_picture(cell.source)]
    assert promised, "a lesson without a picture"
    missing = [cell.source for cell in promised if not pictures(cell)]
    KEPT.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, KEPT / path.name)
    assert not missing, "no picture under this cell:\n" + "\n\n".join(missing)
