"""The parent's side of Isaac Gym's worker process: start it, share arrays with it, send requests, and report why it failed.

Arrays lie in a file that both sides map and that is unlinked once both have it; requests and answers are lines of JSON on a
socket of their own, because Isaac Gym prints to standard output.
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
    """The program that `ISAAC_PYTHON` names.

    Raises:
        KitError: the variable is not set, or there is no such program.
    """
    python = os.environ.get(ISAAC_PYTHON)
    if not python:
        raise KitError(
            f"isaac_gym: {ISAAC_PYTHON} is not set; export {ISAAC_PYTHON}=/path/to/python3.8-with-isaacgym, "
            "or take --simulator mujoco_cpu"
        )
    if sys.platform != "linux":
        raise KitError("isaac_gym: Isaac Gym runs on Linux only; take --simulator mujoco_cpu")
    if shutil.which(python) is None:
        raise KitError(f"isaac_gym: {ISAAC_PYTHON}={python}: no such program; point it to Isaac Gym's interpreter")
    return python


class WorkerProcess:
    """A worker with its shared arrays.

    Args:
        python: the interpreter.
        setup: arguments of the worker's start, JSON.
        layout: name -> (dtype, shape) of the shared arrays.
        timeout: seconds that each request of the start may take.

    Attributes:
        arrays: name -> array, the same memory as the worker's.
        started: whether the run has begun; errors then mention its checkpoints.
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
            # the kernel ties a child to the thread that made it; a helper thread may end long before the run does
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
        """One request and its answer.

        Args:
            name: the worker's method; see `worker.py`.
            timeout: seconds to wait for the answer.

        Raises:
            SimulatorError: the worker died, hangs, or reported a failure. It is closed then.
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
            raise self._failure(f"the worker has not answered '{name}' for {timeout:g} s and was ended") from None
        except ConnectionError:
            raise self._failure(f"the worker stopped with {self._exit()}") from None
        except (
            BaseException
        ):  # interrupted from the keyboard: the pending answer would be taken for that of the next request
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
            return "its process still there"
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
    """A file with room for the arrays, where each lies, and our views of it."""
    places, size = {}, 0
    for name, (kind, shape) in layout.items():
        places[name] = [kind, list(shape), size]
        size += -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64
    # shared memory where there is enough of it (containers often have little), else a temporary file
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
    views = {}
    for key, (kind, shape, offset) in places.items():
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        views[key] = memory[offset : offset + count].view(kind).reshape(shape)
        assert views[key].base is not None, "a view, not a copy"
    return Path(name), places, views


def _terminate(process: subprocess.Popen, channel: socket.socket, reader: threading.Thread) -> None:
    """Ask the worker to exit, and kill it if it does not. Also runs when the simulator is garbage-collected or Python exits."""
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
