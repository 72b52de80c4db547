"""The built site in a real browser: pages of each kind open without a network, images load, search and themes work.

`make site-test` builds the site first. Without it, or without Chromium, these tests are skipped. All pages are checked, without
a browser, by test_built_site.py.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("PHYSHMR_SITE", ROOT / "build" / "site"))
CHROMIUM = os.environ.get("PHYSHMR_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
SOFTWARE_RENDERING = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update",
)  # fmt: skip
TIMEOUT = 60_000  # milliseconds
LESSON = next((p.relative_to(SITE).as_posix() for p in SITE.glob("lessons/*pixel_as_ray*.html")), "")
PAGES = ("index.html", LESSON, "architecture.html", "results.html", "api/viewer.html")
"""One of each kind: landing page, lesson with formulas and outputs, diagrams, tables and pictures, generated reference."""

pytestmark = [
    pytest.mark.skipif(not LESSON, reason="no built site; run `make site`"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium installed (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def address():
    """A local server of the site."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(SITE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        yield f"http://127.0.0.1:{port}/"
        server.terminate()


@pytest.fixture(scope="module")
def tab(address):
    """A browser tab that can reach only the site; other requests are collected in `tab.requests`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is part of the dev extra")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SOFTWARE_RENDERING))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(TIMEOUT)
        page.requests, page.errors = [], []

        def allow(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                page.requests.append(route.request.url)
                route.abort()

        page.route("**/*", allow)
        page.on("pageerror", lambda fault: page.errors.append(str(fault)))
        yield page
        browser.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_a_network(tab, address, name):
    tab.requests.clear()
    tab.errors.clear()
    tab.goto(address + name, wait_until="load")
    assert tab.requests == [] and tab.errors == []
    assert tab.locator("h1").count() >= 1
    broken = tab.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.src)")
    assert broken == []


def test_search_finds_pages(tab, address):
    tab.goto(address + "index.html")
    tab.fill("input.md-search__input", "foot sliding")
    tab.wait_for_selector("a.md-search-result__link", state="attached")
    found = tab.evaluate("[...document.querySelectorAll('a.md-search-result__link')].map(a => a.getAttribute('href'))")
    assert any("metrics" in link for link in found), found


def test_light_and_dark_can_be_switched(tab, address):
    tab.goto(address + "index.html")
    colours = []
    for _ in range(2):
        colours.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.locator("label[for^=__palette]:visible").first.click()
        tab.wait_for_function("c => getComputedStyle(document.body).backgroundColor != c", arg=colours[-1])
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
    assert max(brightness) > 600 > 300 > min(brightness), colours


def test_formulas_and_diagrams_are_drawn(tab, address):
    tab.goto(address + LESSON)
    boxes = tab.evaluate("[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().width)")
    assert len(boxes) > 20 and all(width > 3 for width in boxes)
    tab.goto(address + "architecture.html")
    assert tab.evaluate("document.querySelector('.diagram svg').getBoundingClientRect().height") > 100
