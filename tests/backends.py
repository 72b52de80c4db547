"""The simulators that the tests run on, also on a machine without a GPU and without Isaac Gym."""

import atexit
import functools
import importlib.util
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from physhmr_kit.simulation import make_simulator

BACKENDS = ("mujoco_cpu", "mujoco_gpu", "isaac_gym")
"""Add the name of a new simulator here to run the conformance suite on it."""

STANDIN = Path(__file__).parent / "standin"
"""Folder of a package `isaacgym` that implements the used part of Isaac Gym's API over MuJoCo."""


def standin_python(folder: Path) -> Path:
    """An interpreter in which `import isaacgym` finds the stand-in. It sees no CUDA device and cannot import the kit."""
    environment = f"export PYTHONPATH={shlex.quote(str(STANDIN))} CUDA_VISIBLE_DEVICES="
    return _script(folder / "python-with-isaacgym", f'{environment}\nexec {_PYTHON} -s "$@"')


def quick_python(folder: Path) -> Path:
    """The same for the worker only, without the seconds that importing torch takes (see standin/quick_python.py)."""
    return _script(folder / "quick-python-with-isaacgym", f'exec {_PYTHON} -I -S {_QUICK} {_fork_server()} "$@"')


_PYTHON, _QUICK = shlex.quote(sys.executable), shlex.quote(str(STANDIN / "quick_python.py"))


def _script(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@functools.cache
def _fork_server() -> str:
    """Start the process that forks, once per test session; returns the name of its (abstract, Linux only) socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")  # Linux chooses a free name
        listening.listen()
        name = listening.getsockname()[1:].decode()
        server = subprocess.Popen(
            [sys.executable, "-su", STANDIN / "quick_python.py", "serve", str(listening.fileno())],
            stdin=subprocess.PIPE,  # closed when this process dies, which ends the server
            pass_fds=(listening.fileno(),),
            env={**os.environ, "PYTHONPATH": str(STANDIN), "CUDA_VISIBLE_DEVICES": ""},
        )
    atexit.register(server.kill)
    return name


def make_backend(name: str, num_envs: int = 1, **options):
    """A simulator by name: mujoco_gpu on Warp's CPU device where there is no card."""
    if name == "mujoco_gpu":
        if importlib.util.find_spec("mujoco_warp") is None:
            pytest.skip("mujoco_warp is not installed: pip install -e '.[gpu]'")
        options.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
    return make_simulator(name, num_envs=num_envs, **options)


def use_standin(monkeypatch, folder: Path) -> None:
    """Let `isaac_gym` start the stand-in, unless a real interpreter is named."""
    if "PHYSHMR_ISAACGYM_PYTHON" not in os.environ:
        monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(quick_python(folder)))
