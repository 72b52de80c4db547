"""Rerun's own programs, for a recording on disk: a window, or a page served on this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from physhmr_kit.utils.errors import KitError

LOCALHOST = "127.0.0.1"


@dataclass
class Page:
    """A running server of one recording. Stop it with `close`, or use it in a `with` statement.

    Attributes:
        url: what to open in a browser.
        ports: of the page and of its data.
    """

    url: str
    ports: tuple[int, int]
    process: subprocess.Popen

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serve(path: Path, wait: float = 30.0) -> Page:
    """Serve a recording on two free ports of 127.0.0.1; never reachable from another machine.

    Args:
        path: an .rrd.
        wait: seconds to give the server to start.

    Raises:
        KitError: the server did not start.
    """
    page, data = _free_ports(2)
    command = [
        _program(),
        "--serve-web",
        "--bind",
        LOCALHOST,
        "--web-viewer-port",
        str(page),
        "--port",
        str(data),
        str(path),
    ]
    process = subprocess.Popen(command, env=_quietly(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    served = Page(f"http://{LOCALHOST}:{page}/?url=rerun%2Bhttp://{LOCALHOST}:{data}/proxy", (page, data), process)
    until = time.monotonic() + wait
    while process.poll() is None and time.monotonic() < until:
        if _answers(page) and _answers(data):
            return served
        time.sleep(0.1)
    served.close()
    raise KitError(f"{path}: Rerun's server did not start; try: rerun --serve-web --bind {LOCALHOST} {path}")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Leave the block through its `finally` clauses when the process is told to end or its terminal closes.

    Without this, Python ends at once on SIGTERM and SIGHUP and what it serves lives on.
    """

    def leave(number: int, _) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_window(path: Path) -> int:
    """Open a recording in Rerun's window and wait until it is closed; the exit code."""
    return subprocess.call([_program(), str(path)], env=_quietly())


def has_display() -> bool:
    """Whether a window could appear: on Linux, an X or Wayland display; elsewhere always."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _program() -> str:
    """Rerun's executable itself: its Python wrapper would leave it running when it is stopped."""
    import rerun_cli

    folder = Path(rerun_cli.__file__).parent
    for name in ("rerun", "rerun.exe", "Rerun.app/Contents/MacOS/Rerun"):
        if (folder / name).is_file():
            return str(folder / name)
    raise KitError(f"{folder}: no rerun executable; pip install --force-reinstall rerun-sdk==0.41.0")


def _quietly() -> dict[str, str]:
    return {**os.environ, "RUST_LOG": os.environ.get("RUST_LOG", "error")}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind((LOCALHOST, 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _answers(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(1.0)
        return s.connect_ex((LOCALHOST, port)) == 0
