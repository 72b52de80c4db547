"""A recording opens in a real browser and shows the body."""

import shutil
import socket
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
WIDTH, HEIGHT = 800, 450
TIMEOUT = 240  # seconds; about eight on two idle cores


def shows_the_body(image: np.ndarray) -> bool:
    """Whether the 3-D view has our background and a body-sized patch in shades of the reference's colour."""
    height, width, _ = image.shape
    pixels = image[height // 10 : height * 9 // 10, : width * 6 // 10].astype(float)  # without bars and right column
    on_background = np.abs(pixels - BACKGROUND).max(-1) < 25
    # shading scales a colour and keeps its proportions
    brightness = pixels.max(-1)
    shade = pixels / np.maximum(brightness, 1)[..., None] * max(REFERENCE)
    of_the_body = (np.abs(shade - REFERENCE).max(-1) < 30) & (brightness > 60)
    return bool(on_background.mean() > 0.5 and of_the_body.mean() > 0.01 and pixels.std() > 5)


def test_blank_and_loading_pages_do_not_count_as_a_scene():
    shape = (HEIGHT, WIDTH, 3)
    blank, scene = np.full(shape, 255, np.uint8), np.broadcast_to(np.array(BACKGROUND, np.uint8), shape).copy()
    loading = np.full(shape, 28, np.uint8)
    loading[220:230, 350:450] = 230
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert not any(shows_the_body(page) for page in (blank, scene, loading, noise))
    scene[125:310, 190:250] = REFERENCE
    assert shows_the_body(scene)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium installed (Debian: apt-get install chromium)")
def test_a_motion_is_rendered_in_the_browser(tmp_path, clip):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is part of the dev extra")
    picture = tmp_path / "page.png"
    errors: list[str] = []
    with serve(record_clip(tmp_path / "clip.rrd", clip.cut(0, 2))) as page, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SOFTWARE_RENDERING))
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        # the page requests a font from the network but works without it
        tab.route(lambda url: not url.startswith("http://127.0.0.1"), lambda route: route.abort())
        tab.on("pageerror", lambda fault: errors.append(str(fault)))
        tab.goto(page.url)
        deadline, done = time.monotonic() + TIMEOUT, False
        while not done and time.monotonic() < deadline:
            tab.wait_for_timeout(500)
            tab.screenshot(path=picture, timeout=120_000)
            done = shows_the_body(np.asarray(Image.open(picture).convert("RGB")))
        browser.close()
    assert done, f"no body in the scene after {TIMEOUT} s, see {picture}; errors of the page: {errors[-3:]}"


def test_the_server_listens_on_this_machine_only_and_stops(tmp_path, clip):
    with serve(record_clip(tmp_path / "clip.rrd", clip.cut(0, 2))) as page:
        assert page.url.startswith("http://127.0.0.1:")
        addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in (a for a in addresses if not a.startswith("127.")):
            with socket.socket() as s:
                s.settimeout(2)
                assert s.connect_ex((address, page.ports[0])) != 0
    assert page.process.poll() is not None
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", page.ports[0])) != 0
