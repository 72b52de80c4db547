"""A recording opens in a real browser and is not an empty page."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from physhmr_kit.viewer import record_clip
from physhmr_kit.viewer.palette import BACKGROUND, REFERENCE
from physhmr_kit.viewer.serve import serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_RENDERING = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update",
)  # fmt: skip
SIZE = {"width": 1280, "height": 720}
PATIENCE = 240  # seconds; about fifteen on two idle cores


def scene(image: np.ndarray) -> np.ndarray:
    """The 3-D view of our layout: without the bars above and below and the column at the right."""
    height, width, _ = image.shape
    return image[height // 10 : height * 9 // 10, : width * 6 // 10]


def shows_the_body(image: np.ndarray) -> bool:
    """Whether the 3-D view has our background and, on it, a body-sized patch in the shades of the reference's colour."""
    pixels = scene(image).astype(float)
    on_background = np.abs(pixels - BACKGROUND).max(-1) < 25
    # light and shade scale a colour; its proportions stay
    brightness = pixels.max(-1)
    shade = pixels / np.maximum(brightness, 1)[..., None] * max(REFERENCE)
    of_the_body = (np.abs(shade - REFERENCE).max(-1) < 30) & (brightness > 60)
    return bool(on_background.mean() > 0.5 and of_the_body.mean() > 0.01 and pixels.std() > 5)


def test_blank_loading_and_foreign_pages_are_told_from_a_scene():
    blank = np.full((720, 1280, 3), 255, np.uint8)
    ours = np.broadcast_to(np.array(BACKGROUND, np.uint8), (720, 1280, 3)).copy()
    loading = np.full((720, 1280, 3), 28, np.uint8)
    loading[350:370, 560:720] = 230
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    assert not any(shows_the_body(page) for page in (blank, ours, loading, noise))
    ours[200:500, 300:400] = REFERENCE
    assert shows_the_body(ours)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium installed (Debian: apt-get install chromium)")
def test_a_demo_motion_is_rendered_in_the_browser(tmp_path, clip):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is part of the dev extra")
    picture = tmp_path / "page.png"
    said: list[str] = []
    with serve(record_clip(tmp_path / "clip.rrd", clip)) as page, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SOFTWARE_RENDERING))
        tab = browser.new_page(viewport=SIZE)
        # the page asks for a font from the network; it does without
        tab.route(lambda url: not url.startswith("http://127.0.0.1"), lambda route: route.abort())
        tab.on("pageerror", lambda fault: said.append(str(fault)))
        tab.goto(page.url)
        until = time.monotonic() + PATIENCE
        done = False
        while not done and time.monotonic() < until:
            tab.wait_for_timeout(2000)
            tab.screenshot(path=picture, timeout=120_000)
            done = shows_the_body(np.asarray(Image.open(picture).convert("RGB")))
        browser.close()
    assert done, f"no body in the scene after {PATIENCE} s, see {picture}; the page said: {said[-3:]}"


def test_the_server_listens_on_this_machine_only_and_stops(tmp_path, clip):
    import socket

    with serve(record_clip(tmp_path / "clip.rrd", clip)) as page:
        assert page.url.startswith("http://127.0.0.1:")
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
        for address in others - {a for a in others if a.startswith("127.")}:
            with socket.socket() as s:
                s.settimeout(2)
                assert s.connect_ex((address, page.ports[0])) != 0
    assert page.process.poll() is not None
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", page.ports[0])) != 0
