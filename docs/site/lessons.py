"""Converts the lesson notebooks to Markdown pages, with outputs if they have been executed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def lesson_pages(notebooks: Path, out: Path, kept: Path, execute: bool) -> dict[str, str]:
    """Write a page for each notebook.

    Args:
        notebooks: folder of the .ipynb files. out: folder for the pages and their pictures.
        kept: folder of executed notebooks, which are used if their cells match the lesson. execute: run the others.

    Returns:
        title -> file name of the page, in the order of the lessons.
    """
    from nbconvert import MarkdownExporter

    out.mkdir(parents=True, exist_ok=True)
    exporter, titles = MarkdownExporter(), {}
    for source in sorted(notebooks.glob("[0-9]*.ipynb")):
        notebook = _executed(source, kept, execute)
        notebook.metadata.setdefault(
            "language_info", {"name": "python"}
        )  # of code fences; jupytext leaves it to the kernel
        text, resources = exporter.from_notebook_node(notebook)
        if not any(cell.get("outputs") for cell in notebook["cells"]):
            text += "\n\n!!! note\n    This page was built without running the lesson. `make site` runs it and includes its outputs.\n"
        for name, data in resources.get("outputs", {}).items():
            (out / f"{source.stem}_{name}").write_bytes(data)
            text = text.replace(f"]({name})", f"]({source.stem}_{name})")
        text += f"\n\nRun it: `make lab`, then open `notebooks/{source.name}`.\n"
        (out / f"{source.stem}.md").write_text(text, encoding="utf-8")
        titles[_title(text, source.stem)] = f"{source.stem}.md"
    return titles


def _executed(source: Path, kept: Path, execute: bool):
    """The notebook, with outputs if it has been executed."""
    import nbformat

    notebook, before = nbformat.read(source, as_version=4), kept / source.name
    if before.is_file():
        old = nbformat.read(before, as_version=4)
        if [cell.source for cell in old.cells] == [cell.source for cell in notebook.cells]:
            return old
    if execute:
        from nbclient import NotebookClient

        print(f"running {source.name}", file=sys.stderr, flush=True)
        # pictures instead of the interactive viewer, and plots inline
        environment = {**os.environ, "CI": "true", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        place = {"metadata": {"path": str(source.parent)}}
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=place).execute(env=environment)
        kept.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, before)
    return notebook


def _title(text: str, fallback: str) -> str:
    return next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("# ")), fallback)
