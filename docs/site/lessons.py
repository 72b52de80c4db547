"""The lessons as pages: notebooks to Markdown, with what their cells print and draw if they are executed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def lesson_pages(notebooks: Path, out: Path, kept: Path, execute: bool) -> dict[str, str]:
    """Write a page for each notebook.

    Args:
        notebooks: folder of the .ipynb. out: folder for the pages and their pictures.
        kept: folder of executed notebooks; one whose cells are those of the lesson is taken from there. execute: run the others.

    Returns:
        title -> name of the page, in the order of the lessons.
    """
    out.mkdir(parents=True, exist_ok=True)
    titles = {}
    for source in sorted(notebooks.glob("[0-9]*.ipynb")):
        notebook = _executed(source, kept, execute)
        text, pictures = _markdown(notebook)
        if notebook is None or not any(cell.get("outputs") for cell in notebook["cells"]):
            text += "\n\n!!! note\n    This page was built without running the lesson. `make site` runs it and shows pictures and tables.\n"
        for name, data in pictures.items():
            (out / f"{source.stem}_{name}").write_bytes(data)
            text = text.replace(f"]({name})", f"]({source.stem}_{name})")
        text += f"\n\nRun it: `make lab`, then open `notebooks/{source.name}`.\n"
        (out / f"{source.stem}.md").write_text(text, encoding="utf-8")
        titles[_title(text, source.stem)] = f"{source.stem}.md"
    return titles


def _executed(source: Path, kept: Path, execute: bool):
    """The notebook, with outputs where there are any."""
    import nbformat

    notebook, before = nbformat.read(source, as_version=4), kept / source.name
    if before.is_file():
        old = nbformat.read(before, as_version=4)
        if [cell.source for cell in old.cells] == [cell.source for cell in notebook.cells]:
            return old
    if execute:
        from nbclient import NotebookClient

        print(f"running {source.name}", file=sys.stderr, flush=True)
        # pictures in place of the interactive viewer, and plots under the cells that draw them
        environment = {**os.environ, "CI": "true", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        place = {"metadata": {"path": str(source.parent)}}
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=place).execute(env=environment)
        kept.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, before)
    return notebook


def _markdown(notebook) -> tuple[str, dict[str, bytes]]:
    from nbconvert import MarkdownExporter

    notebook.metadata.setdefault("language_info", {"name": "python"})  # of the fences; jupytext leaves it to the kernel
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    return text, resources.get("outputs", {})


def _title(text: str, fallback: str) -> str:
    return next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("# ")), fallback)
