"""Converts links, formulas and diagrams of the repository's Markdown for a site that works offline."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from diagram import to_svg

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\w\\$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_MERMAID = re.compile(r"^```mermaid\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the parts of a Markdown text that are neither fenced nor inline code."""
    for pattern in (_FENCE, _CODE):
        if pattern.search(text):
            parts, at = [], 0
            for code in pattern.finditer(text):
                parts += [outside_code(text[at : code.start()], change), code[0]]
                at = code.end()
            return "".join(parts) + outside_code(text[at:], change)
    return change(text)


def with_diagrams(text: str) -> str:
    """Replace Mermaid blocks by SVG."""
    return _MERMAID.sub(lambda block: f'\n<div class="diagram">{to_svg(block[1])}</div>\n', text)


def with_formulas(text: str) -> str:
    """Replace LaTeX between dollar signs by MathML, which browsers render without a script."""
    from latex2mathml.converter import convert

    def change(part: str) -> str:
        part = _DISPLAY.sub(lambda m: "\n" + _one_line(convert(m[1].strip(), display="block")) + "\n", part)
        return _INLINE.sub(lambda m: _one_line(convert(m[1])), part)

    return outside_code(text, change)


def _one_line(markup: str) -> str:
    # Markdown would interpret these characters between tags
    return " ".join(markup.split()).replace("*", "&#42;").replace("_", "&#95;")


def with_links(text: str, page: str, pages: Collection[str], moved: dict[str, str]) -> str:
    """Convert links within the repository to links within the site; links to files that are not pages become plain text.

    Args:
        page: path of the text in the repository, e.g. 'docs/vision.md'.
        pages: paths in the repository that are part of the site.
        moved: path in the repository -> path in the site, if it differs.
    """
    here = PurePosixPath(page).parent
    home = PurePosixPath(moved.get(page, page)).parent

    def change(link: re.Match) -> str:
        target, _, anchor = link[3].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = os.path.normpath(here / target).replace(os.sep, "/")
        if path not in pages:
            return link[2]
        there = os.path.relpath(moved.get(path, path), home).replace(os.sep, "/")
        return f"{link[1]}[{link[2]}]({there}{'#' + anchor if anchor else ''})"

    return outside_links(text, change)


def outside_links(text: str, change: Callable[[re.Match], str]) -> str:
    """Apply `change` to every link outside fenced blocks; the text of a link may contain code."""
    parts, at = [], 0
    for code in _FENCE.finditer(text):
        parts += [_LINK.sub(change, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join(parts) + _LINK.sub(change, text[at:])
