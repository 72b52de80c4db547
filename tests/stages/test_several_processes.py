"""Several processes: the Trainer's own DDP, with statistics and gradients shared between them (gloo on a CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent.parent


def launch(processes: int, *tasks: dict) -> list[list[dict]]:
    """Run distributed_worker.py in so many processes under torchrun; what each one returned for each task."""
    port = 29_500 + os.getpid() % 1000
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    env |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": str(processes)}
    command = [sys.executable, str(TESTS / "stages" / "distributed_worker.py"), json.dumps(tasks)]
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


STAGES = ("expert", "finetune")
GRADIENT = {"job": "gradient", "environments": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def of_two(folder):
    """What two processes make of all that is asked below, one after the other: a process takes seconds to start."""
    runs = {(stage, name): sessions for stage in STAGES for name, sessions in (("whole", [4]), ("cut", [2, 4]))}
    tasks = [
        {"job": "run", "stage": stage, "folder": str(folder / stage / name), "sessions": sessions}
        for (stage, name), sessions in runs.items()
    ]
    names = ["gradient", *runs]
    return [dict(zip(names, results, strict=True)) for results in launch(2, GRADIENT, *tasks)]


@pytest.fixture(scope="module")
def of_one(folder, of_two):
    """What one process makes of the same rollout, and of the run of two."""
    ((gradient, refused),) = launch(
        1, GRADIENT, {"job": "refused", "stage": "expert", "folder": str(folder / "expert" / "whole")}
    )
    return gradient | refused


def test_two_processes_reach_the_gradient_of_one_with_all_environments(of_one, of_two):
    """One rollout of eight environments, learned from by one process, or half and half by two."""
    alone, (first, second) = of_one, (each["gradient"] for each in of_two)
    one, two, other = (torch.tensor(x["gradient"]) for x in (alone, first, second))
    assert torch.equal(two, other), "both processes take the same step"
    assert one.norm() > 0
    # sums in another order: single precision, relative to the gradient's own size
    assert (one - two).norm() < 1e-5 * one.norm()
    for name in ("norm_mean", "norm_var", "norm_count", "kl"):
        torch.testing.assert_close(torch.tensor(alone[name]), torch.tensor(first[name]), rtol=1e-4, atol=1e-6)
        assert first[name] == second[name]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_of_two_processes_that_was_killed_ends_with_the_weights_of_an_uncut_one(stage, of_two):
    whole, cut = ([each[stage, name] for each in of_two] for name in ("whole", "cut"))
    assert whole[0]["weights"] == whole[1]["weights"] == cut[0]["weights"] == cut[1]["weights"]
    assert whole[0]["samples"] == 4 * 2 * 16, "of both processes"
    assert whole[0]["frames"] != whole[1]["frames"], "each draws episodes of its own"
    assert [w["frames"] for w in whole] == [c["frames"] for c in cut], "each goes on where it was"
    assert whole[0]["clips"] == whole[1]["clips"] == ["rest", "waving"], "validation is shared out and gathered"


def test_a_run_of_two_processes_is_not_resumed_by_one(of_one):
    assert "trained by 2 processes" in of_one["refusal"]
