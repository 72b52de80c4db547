"""Our calls of Isaac Gym against `isaacgym-stubs`, an independent description of its interface."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from physhmr_kit.simulation import isaac

WORKER = Path(isaac.__file__).with_name("worker.py")
CONFIG = """
[mypy]
check_untyped_defs = True
ignore_missing_imports = True
[mypy-torch.*,numpy.*]
follow_imports = skip
follow_imports_for_stubs = True
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """A function that runs mypy on the text of a worker and returns its output."""
    tmp_path = tmp_path_factory.mktemp("stubs")
    pytest.importorskip("mypy")
    try:
        files = importlib.metadata.files("isaacgym-stubs") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("isaacgym-stubs is not installed")
    (gymapi,) = [file for file in files if file.name == "gymapi.pyi"]
    # the published file does not parse (two properties are named `lambda`), and its types have many errors
    text = gymapi.read_text().replace("def lambda(", "def lambda_(")
    package = tmp_path / "isaacgym"
    package.mkdir()
    (package / "__init__.pyi").write_text("from . import gymapi as gymapi, gymtorch as gymtorch\n")
    (package / "gymapi.pyi").write_text("# mypy: ignore-errors\n" + text)
    (package / "gymtorch.pyi").write_text("def __getattr__(name: str): ...\n")  # the stubs leave it out
    (tmp_path / "mypy.ini").write_text(CONFIG)

    def check(source: str) -> str:
        (tmp_path / "worker.py").write_text(source)
        command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--cache-dir=cache", "worker.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    return check


def test_the_worker_s_calls_match_the_stubs(complaints):
    assert complaints(WORKER.read_text()).startswith("Success")


def test_wrong_calls_are_detected(complaints):
    breaks = {
        "add_ground(self.sim, plane)": "add_ground(plane, self.sim)",
        "gym.prepare_sim(": "gym.prepare_simulation(",
        "params.substeps = 1 ": "params.substep = 1 ",
        "actor, gymapi.DOMAIN_SIM)": "actor, gymapi.ENV_SPACE)",
        "gym.fetch_results(self.sim, True)": "gym.fetch_results(self.sim)",
        "len(self.placed))": "str(self.placed))",
        "span.start + span.count": "span.start + span.length",
    }
    source = WORKER.read_text()
    for right, wrong in breaks.items():
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    lines = {int(n) for n in re.findall(r"^worker.py:(\d+): error", complaints(source), re.M)}
    assert {n for n, line in enumerate(source.splitlines(), 1) if any(w in line for w in breaks.values())} <= lines
