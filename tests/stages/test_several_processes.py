"""Several processes: the Trainer's own DDP, with statistics and gradients shared between them (gloo on a CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent.parent


def launch(processes: int, **task) -> list[dict]:
    """Run distributed_worker.py in so many processes under torchrun; what each one returned."""
    port = 29_500 + os.getpid() % 1000
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    env |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": str(processes)}
    command = [sys.executable, str(TESTS / "stages" / "distributed_worker.py"), json.dumps(task)]
    running = [
        subprocess.Popen(command, env={**env, "RANK": str(r), "LOCAL_RANK": str(r)}, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for r in range(processes)
    ]  # fmt: skip
    results = []
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err[-3000:]
        results.append(json.loads(out.strip().splitlines()[-1]))
    return results


def test_two_processes_reach_the_gradient_of_one_with_all_environments():
    """One rollout of eight environments, learned from by one process, or half and half by two."""
    (alone,) = launch(1, job="gradient", environments=8)
    first, second = launch(2, job="gradient", environments=8)
    one, two, other = (torch.tensor(x["gradient"]) for x in (alone, first, second))
    assert torch.equal(two, other), "both processes take the same step"
    assert one.norm() > 0
    # sums in another order: single precision, relative to the gradient's own size
    assert (one - two).norm() < 1e-5 * one.norm()
    for name in ("norm_mean", "norm_var", "norm_count", "kl"):
        torch.testing.assert_close(torch.tensor(alone[name]), torch.tensor(first[name]), rtol=1e-4, atol=1e-6)
        assert first[name] == second[name]


@pytest.mark.parametrize("stage", ["expert", "finetune"])
def test_a_run_of_two_processes_that_was_killed_ends_with_the_weights_of_an_uncut_one(stage, tmp_path):
    whole = launch(2, job="run", stage=stage, folder=str(tmp_path / "whole"), sessions=[4])
    cut = launch(2, job="run", stage=stage, folder=str(tmp_path / "cut"), sessions=[2, 4])
    assert whole[0]["weights"] == whole[1]["weights"] == cut[0]["weights"] == cut[1]["weights"]
    assert whole[0]["samples"] == 4 * 2 * 16, "of both processes"
    assert whole[0]["frames"] != whole[1]["frames"], "each draws episodes of its own"
    assert [w["frames"] for w in whole] == [c["frames"] for c in cut], "each goes on where it was"
    assert whole[0]["clips"] == whole[1]["clips"] == ["rest", "waving"], "validation is shared out and gathered"


def test_a_run_of_two_processes_is_not_resumed_by_one(tmp_path):
    launch(2, job="run", stage="expert", folder=str(tmp_path), sessions=[2])
    (alone,) = launch(1, job="refused", stage="expert", folder=str(tmp_path))
    assert "trained by 2 processes" in alone["refusal"]
