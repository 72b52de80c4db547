"""Build notebooks/*.ipynb from the lessons in tutorials/*.py (jupytext percent scripts), or check that they match.

    python notebooks/build.py            write
    python notebooks/build.py --check    exit 1 and say which notebook is stale, missing or left over

Cells have numbered instead of random ids and no outputs, so that a lesson always gives the same bytes.
"""

import sys
from pathlib import Path

import jupytext
import nbformat

from physhmr_kit.utils.files import write_text

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(lesson: Path) -> str:
    """The notebook of a lesson as the text of an .ipynb file."""
    notebook = jupytext.read(lesson, fmt="py:percent")
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def stale(tutorials: Path, notebooks: Path) -> dict[Path, str | None]:
    """Notebooks that do not match their lesson: path -> the right text, or None if the lesson is gone."""
    wanted = {notebooks / f"{p.stem}.ipynb": build(p) for p in sorted(tutorials.glob("*.py"))}
    found = {p: p.read_text(encoding="utf-8") for p in notebooks.glob("*.ipynb")}
    changed = {p: text for p, text in wanted.items() if found.get(p) != text}
    return changed | {p: None for p in found if p not in wanted}


def main(arguments: list[str]) -> int:
    """Write the stale notebooks, or list them with --check."""
    changes = stale(ROOT / "tutorials", ROOT / "notebooks")
    if arguments == ["--check"]:
        for path in changes:
            print(f"{path.relative_to(ROOT)}: does not match its lesson; run `make notebooks`", file=sys.stderr)
        return 1 if changes else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for path, text in changes.items():
        if text is None:
            path.unlink()
        else:
            write_text(path, text)
        print(f"{'removed' if text is None else 'wrote'} {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
