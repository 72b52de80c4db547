"""Opens a recording in Rerun's viewer: in a window, or in a browser through a server on 127.0.0.1."""

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
_START_SECONDS = 30.0  # for the server to start


@dataclass
class Page:
    """A running web viewer of one recording. Stop it with `close`, or use it in a `with` statement.

    Attributes:
        url: to open in a browser.
        ports: of the page and of the data.
        process: the server.
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


def serve(path: Path) -> Page:
    """Serve an .rrd on two free ports of 127.0.0.1, which other machines cannot reach.

    Raises:
        KitError: the server did not start within 30 s.
    """
    page, data = _free_ports(2)
    command = [_program(), "--serve-web", "--bind", LOCALHOST, "--web-viewer-port", str(page), "--port", str(data)]
    command.append(str(path))
    process = subprocess.Popen(command, env=_quiet_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    served = Page(f"http://{LOCALHOST}:{page}/?url=rerun%2Bhttp://{LOCALHOST}:{data}/proxy", (page, data), process)
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _answers(page) and _answers(data):
            return served
        time.sleep(0.1)
    served.close()
    raise KitError(f"{path}: Rerun's server did not start; try: rerun --serve-web --bind {LOCALHOST} {path}")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that `finally` clauses run and no server process is left behind."""

    def exit_on(number: int, _) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, exit_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_window(path: Path) -> int:
    """Open a recording in Rerun's window, wait until it is closed, and return the exit code."""
    return subprocess.call([_program(), str(path)], env=_quiet_env())


def has_display() -> bool:
    """Whether windows can be opened: on Linux, with an X or Wayland display; elsewhere always."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _program() -> str:
    """Rerun's executable, without the Python wrapper, which would leave it running when stopped."""
    import rerun_cli

    folder = Path(rerun_cli.__file__).parent
    for name in ("rerun", "rerun.exe", "Rerun.app/Contents/MacOS/Rerun"):
        if (folder / name).is_file():
            return str(folder / name)
    raise KitError(f"{folder}: no rerun executable; pip install --force-reinstall rerun-sdk==0.41.0")


def _quiet_env() -> dict[str, str]:
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
