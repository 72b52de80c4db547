"""One thread for torch: the networks here are small, and the machines that run the tests have few cores."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(1)

SLOW = (
    "commands/test_fit.py", "commands/test_fit_simulators.py", "commands/test_reconstruct.py", "simulation/test_isaac_gym.py",
    "conformance/test_conformance.py", "benchmarks/test_ablations.py", "stages/test_several_processes.py",
    "commands/test_killed.py", "viewer/test_browser.py", "stages/test_learning.py", "runs/test_callbacks.py",
    "simulation/test_mujoco_gpu.py", "stages/test_resume.py", "stages/test_adaptation.py",
)  # fmt: skip
"""The slowest files, which are begun first: then processes that share the files out end together (`make test`)."""


def pytest_collection_modifyitems(items):
    place = {Path(__file__).parent / file: number for number, file in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path, len(SLOW)))


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """What tests import is kept, but not where the user keeps what he imports."""
    before = os.environ.get("PHYSHMR_CACHE")
    os.environ.pop("PHYSHMR_BODY_MODELS", None)  # what a test gives has no other body than the test says
    os.environ["PHYSHMR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("PHYSHMR_CACHE")
    if before is not None:
        os.environ["PHYSHMR_CACHE"] = before


@pytest.fixture(autouse=True)
def one_thread():
    """A command that was called in this process takes all cores; the next test does not."""
    yield
    torch.set_num_threads(1)
