"""Starts Isaac Gym's worker process, shares arrays with it, sends requests and reports failures.

Both sides map the arrays from a file, which is then unlinked. Requests and answers are lines of JSON on a socket, because
Isaac Gym prints to standard output.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np

from physhmr_kit.simulation.contract import SimulatorError
from physhmr_kit.simulation.registry import ISAAC_PYTHON
from physhmr_kit.utils.errors import KitError

WORKER = Path(__file__).with_name("worker.py")
CHECKPOINTS_KEPT = "the checkpoints written so far are kept"


def isaac_interpreter() -> str:
    """The interpreter set in the environment variable `ISAAC_PYTHON`.

    Raises:
        KitError: the variable is not set, or there is no such program.
    """
    python = os.environ.get(ISAAC_PYTHON)
    if not python:
        raise KitError(
            f"isaac_gym: {ISAAC_PYTHON} is not set; export {ISAAC_PYTHON}=/path/to/python3.8-with-isaacgym, "
            "or use --simulator mujoco_cpu"
        )
    if sys.platform != "linux":
        raise KitError("isaac_gym: Isaac Gym runs on Linux only; use --simulator mujoco_cpu")
    if shutil.which(python) is None:
        raise KitError(f"isaac_gym: {ISAAC_PYTHON}={python}: no such program; set it to Isaac Gym's interpreter")
    return python


class WorkerProcess:
    """A worker process and its shared arrays.

    Args:
        python: the interpreter.
        setup: arguments for the start of the worker, JSON.
        layout: name -> (dtype, shape) of the shared arrays.
        timeout: seconds to wait for the start.

    Attributes:
        arrays: name -> array in memory shared with the worker.
        started: whether the run has begun; error messages then mention its checkpoints.
    """

    started = False

    def __init__(self, python: str, setup: dict, layout: dict[str, tuple[str, tuple[int, ...]]], timeout: float):
        self._python = python
        self._output: collections.deque[str] = collections.deque(maxlen=20)
        path, places, self.arrays = _share(layout)
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [python, str(WORKER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(theirs.fileno(),),
                text=True, errors="replace", env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            theirs.close()
            reader = threading.Thread(target=self._output.extend, args=(self._process.stdout,), daemon=True)
            reader.start()
            self._socket, self._reader = ours, reader
            self.close = weakref.finalize(self, _terminate, self._process, ours, reader)
            # "parent death" means the death of the thread that started the process; a helper thread may end before the run
            tied = threading.current_thread() is threading.main_thread()
            self.ask("start", timeout, tied=tied, memory=str(path), arrays=places, **setup)
        except OSError as fault:
            ours.close()
            theirs.close()
            raise KitError(f"isaac_gym: {ISAAC_PYTHON}={python} cannot be run: {fault}") from None
        finally:
            path.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def ask(self, name: str, timeout: float, **arguments) -> dict:
        """Send a request and return the answer.

        Args:
            name: a method of the worker, see `worker.py`.
            timeout: seconds to wait for the answer.

        Raises:
            SimulatorError: the worker died, does not answer, or reported a failure. The worker is then closed.
        """
        if not self.close.alive:
            raise SimulatorError(f"isaac_gym: the worker has been closed; {CHECKPOINTS_KEPT}")
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall((json.dumps({"do": name, **arguments}) + "\n").encode())
            line = b""
            while not line.endswith(b"\n"):
                if not (part := self._socket.recv(1 << 16)):
                    raise ConnectionResetError
                line += part
        except TimeoutError:
            raise self._failure(f"the worker did not answer '{name}' within {timeout:g} s and was stopped") from None
        except ConnectionError:
            raise self._failure(f"the worker stopped with {self._exit()}") from None
        except BaseException:  # e.g. Ctrl-C: the pending answer would be read as the answer to the next request
            self.close()
            raise
        answer = json.loads(line)
        if "error" in answer:
            raise self._failure(f"the worker failed in '{name}': {answer['error']}")
        return answer

    def _exit(self) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "its process still running"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _failure(self, what: str) -> SimulatorError:
        self.close()
        output = " | ".join(line.strip() for line in list(self._output)[-4:] if line.strip())
        parts = [
            f"isaac_gym: {what}",
            CHECKPOINTS_KEPT if self.started else "",
            f"its last output: {output[-600:]}" if output else "",
        ]
        return SimulatorError("; ".join(p for p in parts if p))


def _share(layout) -> tuple[Path, dict, dict[str, np.ndarray]]:
    """Create a file for the arrays; returns its path, (dtype, shape, offset) of each array, and the arrays mapped from it."""
    places, size = {}, 0
    for name, (kind, shape) in layout.items():
        places[name] = [kind, list(shape), size]
        size += -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64
    # in shared memory if it is large enough (containers often have little), else a temporary file
    for folder in ("/dev/shm", None):
        if folder and not os.access(folder, os.W_OK):
            continue
        handle, name = tempfile.mkstemp(prefix="physhmr_isaac_", dir=folder)
        try:
            os.posix_fallocate(handle, 0, size)
            break
        except OSError:
            os.unlink(name)
            if folder is None:
                raise
        finally:
            os.close(handle)
    memory = np.memmap(name, dtype=np.uint8, mode="r+")
    arrays = {k: np.ndarray(shape, kind, memory, offset) for k, (kind, shape, offset) in places.items()}
    return Path(name), places, arrays


def _terminate(process: subprocess.Popen, channel: socket.socket, reader: threading.Thread) -> None:
    """Ask the worker to exit and kill it if it does not. Also runs at garbage collection of the simulator and at exit of Python."""
    try:
        channel.settimeout(1)
        channel.sendall(b'{"do": "exit"}\n')
    except OSError:
        pass
    channel.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join(1)
