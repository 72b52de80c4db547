"""Every page of the built site: links, anchors and images exist, and nothing is loaded from the network.

`make site-test` builds the site first; without it these tests are skipped. A few pages are opened in a browser by
test_site_in_browser.py.
"""

import functools
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("PHYSHMR_SITE", ROOT / "build" / "site")).resolve()
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html")) if SITE.is_dir() else []
URL = re.compile(r"""url\(\s*["']?(.*?)["']?\s*\)|@import\s+["'](.*?)["']""")
"""Addresses in CSS."""

pytestmark = pytest.mark.skipif(not PAGES, reason="no built site; run `make site`")


class Page(HTMLParser):
    """Links, anchors, headings and loaded files of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.headings = 0
        self.in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.headings += tag == "h1"
        self.in_style = tag == "style"
        self.loaded += [found[name] for name in ("src", "srcset", "poster", "data") if name in found]
        self.loaded += css_urls(found.get("style", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("link", "use", "image"):
            self.loaded += [found[name] for name in ("href", "xlink:href") if name in found]

    def handle_data(self, data):
        if self.in_style:
            self.loaded += css_urls(data)

    def handle_endtag(self, tag):
        self.in_style = False


@functools.cache
def parsed(file: Path) -> Page:
    return Page(file.read_text("utf-8"))


def css_urls(text: str) -> list[str]:
    return [a or b for a, b in URL.findall(text)]


def local_file(address: str, base: Path) -> Path:
    """The file of the site that an address means, seen from `base`."""
    path = unquote(urlsplit(address).path)
    file = (SITE / path.lstrip("/") if path.startswith("/") else base.parent / path) if path else base
    return file / "index.html" if file.is_dir() else file


def check_loaded(address: str, base: Path) -> None:
    """Fail unless a file that is loaded with a page is in the site and not damaged."""
    if address.startswith(("data:", "#")):
        return
    assert not urlsplit(address).netloc, f"{base}: {address} is on the network"
    file = local_file(address, base)
    assert file.is_file() and file.stat().st_size, f"{base}: no {address}"
    if file.suffix in (".png", ".webp", ".gif", ".jpg"):
        check_image(file)


@functools.cache
def check_image(file: Path) -> None:
    with Image.open(file) as image:
        image.verify()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_complete_without_a_network(name):
    file = SITE / name
    page = parsed(file)
    assert page.headings
    for address in page.loaded:
        check_loaded(address, file)
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = local_file(link, file)
        assert target.is_file(), f"{name} links to {link}"
        if parts.fragment and target.suffix == ".html" and not parts.fragment.startswith("__"):
            assert unquote(parts.fragment) in parsed(target).anchors, f"{name} links to {link}"


def test_style_sheets_load_nothing_from_the_network():
    sheets = sorted(SITE.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        for address in css_urls(sheet.read_text("utf-8")):
            check_loaded(address, sheet)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://fonts.example/a.woff", "on the network"),
        ("//fonts.example/a.woff", "on the network"),
        ("nowhere.png", "no nowhere.png"),
    ],
)
def test_foreign_and_missing_files_are_noticed(address, words):
    for html in (
        f'<img src="{address}">',
        f'<link rel="stylesheet" href="{address}">',
        f"<style>url({address})</style>",
    ):
        (loaded,) = Page(html).loaded
        with pytest.raises(AssertionError, match=words):
            check_loaded(loaded, SITE / "index.html")
