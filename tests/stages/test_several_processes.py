"""Several processes: the Trainer's own DDP, with statistics and gradients shared between them (gloo on a CPU)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent.parent


STAGES = ("expert", "finetune")
GRADIENT = {"job": "gradient", "environments": 8}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Results of all jobs of two processes, and then of one, in a single start of distributed_worker.py, which takes seconds."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {(stage, name): sessions for stage in STAGES for name, sessions in (("whole", [2]), ("cut", [1, 2]))}
    tasks = [
        {"job": "run", "stage": stage, "folder": str(folder / stage / name), "sessions": sessions}
        for (stage, name), sessions in runs.items()
    ]
    refused = {"job": "refused", "stage": "expert", "folder": str(folder / "expert" / "whole")}
    launches = json.dumps([[2, [GRADIENT, *tasks]], [1, [GRADIENT, refused]]])

    port = 29_500 + os.getpid() % 1000
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    env |= {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, str(TESTS / "stages" / "distributed_worker.py"), launches]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    both, (alone,) = json.loads(done.stdout.strip().splitlines()[-1])
    names = ["gradient", *runs]
    return [dict(zip(names, each, strict=True)) for each in both], dict(
        zip(("gradient", "refused"), alone, strict=True)
    )


@pytest.fixture(scope="module")
def of_two(told):
    return told[0]


@pytest.fixture(scope="module")
def of_one(told):
    return told[1]


def test_two_processes_reach_the_gradient_of_one_with_all_environments(of_one, of_two):
    """One rollout of eight environments, learned from by one process, or half and half by two."""
    alone, first, second = (each["gradient"] for each in (of_one, *of_two))
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
    assert whole[0]["samples"] == 2 * 2 * 16, "of both processes"
    assert whole[0]["frames"] != whole[1]["frames"], "each draws its own episodes"
    assert [w["frames"] for w in whole] == [c["frames"] for c in cut], "each continues its own episodes"
    assert whole[0]["clips"] == whole[1]["clips"] == ["rest", "waving"], "clips are distributed, scores gathered"


def test_a_run_of_two_processes_is_not_resumed_by_one(of_one):
    assert "trained by 2 processes" in of_one["refused"]["refusal"]
