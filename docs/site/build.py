"""Build the site: `python docs/site/build.py [--execute] [--out build/site]`. `make site` installs what it needs and runs it.

Pages are the Markdown files of docs/, the lessons, and those that `reference.py` generates from the code. They are collected in
build/site-pages and built by MkDocs. The site makes no network requests and needs a file server only for its search:
`python -m http.server --directory build/site`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from lessons import lesson_pages
from markup import with_diagrams, with_formulas, with_links
from reference import commands_page, package_pages, settings_page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAV = [
    ("Start", ["index", "install", "quickstart", "data", "lessons"]),
    ("Method", ["method", "stage_encoder", "stage_expert", "stage_distill", "stage_finetune", "architecture"]),
    ("Your own data", ["own_video", "own_mocap", "importing", "blender"]),
    ("Guides", ["training", "run_folder", "environment", "isaac_gym", "vision", "expert", "mocap"]),
    ("Results", ["results", "benchmarks", "metrics", "performance"]),
    ("Reference", ["commands", "settings", "glossary", "contributing", "lab_notes"]),
]
"""Sections and their pages, in order; missing pages are skipped, unlisted ones are appended to the guides."""


def gather(pages: Path, execute: bool) -> list:
    """Write every page to a folder and return the navigation for MkDocs."""
    texts = {f"docs/{file.name}": file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md"))}
    texts["docs/contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")
    texts |= {"docs/commands.md": commands_page(), "docs/settings.md": settings_page()}
    assets = {
        file.relative_to(ROOT).as_posix()
        for folder in (ROOT / "docs", ROOT / "docs" / "results")
        for file in folder.iterdir()
        if file.suffix in (".png", ".webp", ".gif", ".svg", ".csv")
    }
    known = set(texts) | assets
    lessons = lesson_pages(ROOT / "notebooks", pages / "lessons", ROOT / "build" / "lessons", execute)
    moved = {"CONTRIBUTING.md": "docs/contributing.md"}
    moved |= {f"notebooks/{Path(name).stem}.ipynb": f"docs/lessons/{name}" for name in lessons.values()}
    pictures = {f"notebooks/{file.name}": f"docs/lessons/{file.name}" for file in (pages / "lessons").glob("*.png")}
    for name in lessons.values():
        file, path = pages / "lessons" / name, f"notebooks/{Path(name).stem}.ipynb"
        text = with_links(file.read_text(encoding="utf-8"), path, known | set(moved) | set(pictures), moved | pictures)
        file.write_text(with_formulas(text), encoding="utf-8")
    for path, text in texts.items():
        text = with_links(text, path, known | set(moved), moved)
        (pages / Path(path).name).write_text(with_formulas(with_diagrams(text)), encoding="utf-8")
    for path in assets:
        copy = pages / Path(path).relative_to("docs")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
    shutil.copyfile(HERE / "extra.css", pages / "extra.css")
    (pages / "api").mkdir()
    packages = package_pages(ROOT / "physhmr_kit")
    for folder, text in packages.items():
        (pages / "api" / f"{folder}.md").write_text(text, encoding="utf-8")
    return navigation({Path(path).stem for path in texts}, lessons, list(packages))


def navigation(stems: set[str], lessons: dict[str, str], packages: list[str]) -> list:
    """The navigation for MkDocs, of the pages that exist."""
    listed = {stem for _, section in NAV for stem in section}
    nav: list = []
    for title, section in NAV:
        wanted = section + (sorted(stems - listed) if title == "Guides" else [])
        entries: list = []
        for stem in wanted:
            if stem == "lessons":
                entries.append({"Lessons": [{name: f"lessons/{page}"} for name, page in lessons.items()]})
            elif stem in stems:
                entries.append(f"{stem}.md")
        nav.append({title: entries})
    nav[-1]["Reference"].insert(2, {"Functions": [{folder: f"api/{folder}.md"} for folder in packages]})
    return nav


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true", help="run the lessons whose outputs are not in build/lessons")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="output folder")
    options = parser.parse_args()
    pages = ROOT / "build" / "site-pages"
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    config = yaml.safe_load((HERE / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"nav": gather(pages, options.execute), "docs_dir": str(pages), "site_dir": str(options.out.absolute())}
    written = ROOT / "build" / "mkdocs.yml"
    written.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--config-file", str(written)]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # material announces its successor, which --strict counts as a warning
    return subprocess.call(command, env={**os.environ, **quiet})


if __name__ == "__main__":
    sys.exit(main())
