"""One thread for torch: the networks here are small, and the machines that run the tests have few cores."""

import os
from pathlib import Path

# for torch in this process and in those that tests start
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import pytest

SLOW = (
    "commands/test_fit.py", "commands/test_fit_simulators.py", "commands/test_reconstruct.py", "simulation/test_isaac_gym.py",
    "conformance/test_conformance.py", "benchmarks/test_ablations.py", "stages/test_several_processes.py",
    "commands/test_killed.py", "viewer/test_browser.py", "stages/test_learning.py", "runs/test_callbacks.py",
    "simulation/test_mujoco_gpu.py", "stages/test_resume.py", "stages/test_adaptation.py",
)  # fmt: skip
"""The slowest files, which run first, so that parallel workers finish at about the same time (`make test`)."""


def pytest_collection_modifyitems(items):
    place = {Path(__file__).parent / file: number for number, file in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path, len(SLOW)))


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Imported motions are cached in a temporary folder, and no body models of the user are found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PHYSHMR_BODY_MODELS", raising=False)
        patch.setenv("PHYSHMR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
