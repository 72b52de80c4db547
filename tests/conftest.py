"""One thread for torch: the networks here are small, and the machines that run the tests have few cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(1)


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
