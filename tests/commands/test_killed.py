"""A run that is killed and resumed ends with the weights of an undisturbed one (benchmarks/resume.py, shortened)."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_a_run_killed_twice_and_resumed_ends_with_the_same_weights():
    command = [sys.executable, Path(__file__).with_name("sessions.py"), "--kills", "2", "--longest_delay", "0.1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "2/2 kills, the weights are the same\n"


def test_a_bit_of_difference_between_two_weights_files_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import resume

    weights = {"a": torch.ones(2), "b": torch.ones(2)}
    save_file(weights, tmp_path / "one")
    save_file(weights | {"b": weights["b"].nextafter(torch.zeros(2)), "c": torch.ones(1)}, tmp_path / "other")
    assert resume.differing(tmp_path / "one", tmp_path / "one") == []
    assert resume.differing(tmp_path / "one", tmp_path / "other") == ["b", "c"]
