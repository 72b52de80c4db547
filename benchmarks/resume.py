"""Kills a training run repeatedly, resumes it, and compares its final weights with those of an undisturbed run.

    python benchmarks/resume.py                 20 kills
    python benchmarks/resume.py --kills 2       under a minute on an idle machine

Two tiny runs of the expert stage (`python -m physhmr_kit.fit`) have the same settings and seed. One runs undisturbed; the other
is killed with SIGKILL at a random time after the first checkpoint of each session, and resumed with `--resume`. The final
`weights.safetensors` must be equal bit by bit; the exit code is 1 if they differ.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

FIT = [sys.executable, "-m", "physhmr_kit.fit"]
ITERATIONS = 10
"""Per kill: enough that the run makes progress between kills and does not end before the last one."""


def new_run(folder: Path, iterations: int, seed: int) -> list[str]:
    """The command that trains a run in `folder` (runs/expert/NAME): four environments, a checkpoint every other iteration."""
    options = {
        "stage": "expert", "runs": folder.parent.parent, "name": folder.name, "iterations": iterations, "seed": seed,
        "clips": "[demo:squat]", "simulator": "mujoco_cpu", "num_envs": 4, "horizon": 8, "minibatch_size": 16,
        "epochs": 2, "policy.hidden": "[16]", "checkpoint_every": 2, "progress": "none", "logger": "[csv]",
        "trainer.accelerator": "cpu",
    }  # fmt: skip
    return [*FIT, *(f"--{key}={value}" for key, value in options.items())]


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    """Wait for a session and check that it succeeded."""
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"error: a session failed with code {process.returncode}:\n{errors}")


def kill_while_training(command: list[str], checkpoint: Path, longest_delay: float) -> bool:
    """Start a session and kill it a random time after its first checkpoint; False if it ended before."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    process = start(command)
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        if process.poll() is not None:
            finish(process)
            return False
        time.sleep(0.01)
    time.sleep(random.uniform(0, longest_delay))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def differing(one: Path, other: Path) -> list[str]:
    """Names of tensors that differ between two weights files."""
    a, b = load_file(one), load_file(other)
    same = lambda k: k in a and k in b and a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k])  # noqa: E731
    return [name for name in sorted(a.keys() | b.keys()) if not same(name)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--longest_delay", type=float, default=0.5, help="seconds after the first checkpoint of a session"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the training and the delays")
    options = parser.parse_args(argv)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = (Path(folder) / "expert" / name for name in ("undisturbed", "killed"))
        iterations = ITERATIONS * (options.kills + 1)
        alone = start(new_run(undisturbed, iterations, options.seed))
        command, kills = new_run(killed, iterations, options.seed), 0
        while kills < options.kills:
            if not kill_while_training(command, killed / "checkpoints" / "last.ckpt", options.longest_delay):
                alone.kill()
                raise SystemExit(f"error: the run ended after {kills} kills; try a smaller --longest_delay")
            kills += 1
            command = [*FIT, "--resume", str(killed), "--progress=none"]
        finish(start(command))
        finish(alone)
        different = differing(undisturbed / "weights.safetensors", killed / "weights.safetensors")
    if different:
        print(f"{kills}/{options.kills} kills, these weights differ: {', '.join(different)}")
        return 1
    print(f"{kills}/{options.kills} kills, the weights are the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
