"""The simulators the tests run on, and how each is had on a machine without a GPU and without Isaac Gym."""

import importlib.util
import os
import shlex
import sys
from pathlib import Path

import pytest
import torch

from physhmr_kit.simulation import make_simulator

BACKENDS = ("mujoco_cpu", "mujoco_gpu", "isaac_gym")
"""A new simulator joins the conformance suite by adding its name here."""

STANDIN = Path(__file__).parent / "standin"
"""Folder of a package `isaacgym` that implements the used part of Isaac Gym's API over MuJoCo."""


def standin_python(folder: Path) -> Path:
    """An 'interpreter' in which `import isaacgym` finds the stand-in, which knows no CUDA and shuts the kit out."""
    script = folder / "python-with-isaacgym"
    script.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(STANDIN))} CUDA_VISIBLE_DEVICES=\n"
        f'exec {shlex.quote(sys.executable)} -s "$@"\n'
    )
    script.chmod(0o755)
    return script


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
        monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(standin_python(folder)))
