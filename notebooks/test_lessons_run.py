"""Every lesson runs without errors, and every cell that should show a picture does.

    make notebooks-run

A cell should show a picture if it calls `plt.show()` or ends with `filmstrip(...)`. The executed notebooks are stored in
build/lessons for the site.
"""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
EXECUTED = FOLDER.parent / "build" / "lessons"
TIMEOUT = 600  # seconds per cell
LONG = ("05", "06", "07")  # lessons that take several minutes


def should_show_picture(source: str) -> bool:
    """Whether a code cell should show a picture."""
    tree = ast.parse(source)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    last = tree.body[-1] if tree.body else None
    return "plt.show" in calls or (isinstance(last, ast.Expr) and ast.unparse(last).startswith("filmstrip("))


def pictures(cell) -> int:
    """Number of pictures in the outputs of a cell."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def lessons() -> list[Path]:
    """Long and short lessons alternate: pytest-xdist deals them to its processes in pairs, and the long ones start first."""
    long, short = [], []
    for path in sorted(FOLDER.glob("*.ipynb")):
        (long if path.name.startswith(LONG) else short).append(path)
    pairs = zip(long, short, strict=False)
    return [path for pair in pairs for path in pair] + long[len(short) :] + short[len(long) :]


@pytest.mark.parametrize("path", lessons(), ids=lambda p: p.stem)
def test_a_lesson_runs_and_shows_its_pictures(path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # parallel lessons must not spin on each other's cores
    monkeypatch.delenv("MPLBACKEND", raising=False)  # so that the kernel draws as for a reader
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": FOLDER}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    drawing = [cell for cell in code if should_show_picture(cell.source)]
    assert drawing, "a lesson without a picture"
    missing = [cell.source for cell in drawing if not pictures(cell)]
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)
    assert not missing, "no picture under this cell:\n" + "\n\n".join(missing)
