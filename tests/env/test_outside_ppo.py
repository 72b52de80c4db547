"""PPO of another library trains on our environment through gymnasium (docs/examples/ppo_from_elsewhere.py)."""

import copy
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import rest_clip

from physhmr_kit.env.registration import NumpyTracking
from physhmr_kit.motion.library import MotionLibrary

pytest.importorskip("torchrl", reason="TorchRL is not installed: pip install torchrl")


@pytest.fixture(scope="module")
def example():
    file = Path(__file__).parents[2] / "docs" / "examples" / "ppo_from_elsewhere.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clips() -> MotionLibrary:
    """One that every policy tracks to its end, and one that none does."""
    return MotionLibrary([rest_clip(12), rest_clip(30, "lift", lift_off=2.0)])


def test_two_updates_move_the_weights_and_returns_are_finite(example, clips):
    small = {"num_envs": 4, "horizon": 16, "epochs": 2, "minibatches": 2, "clips": clips, "on_update": lambda row: None}
    once, _ = example.train(updates=1, **small)
    again, _ = example.train(updates=1, **small)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    twice, history = example.train(updates=2, **small)
    assert len(history) == 2
    for row in history:
        assert row["episodes"] > 0 and all(math.isfinite(v) for v in row.values()), row
        assert 0 < row["failed"] < 1
    # same seed: only the second update makes a difference
    pairs = list(zip(once.parameters(), twice.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for pair in pairs for p in pair)
    assert not any(torch.equal(a, b) for a, b in pairs)


def test_the_final_observation_reaches_the_bootstrap(example, clips, monkeypatch):
    seen = []  # what the environment said of each step
    step = NumpyTracking.step

    def remember(self, actions):
        result = step(self, actions)
        seen.append(copy.deepcopy(result))  # TorchRL may write into what it is given
        return result

    env = example.make_env(4, clips)
    policy, value = example.make_networks(env, hidden=16)
    monkeypatch.setattr(NumpyTracking, "step", remember)
    with torch.no_grad():
        batch = env.rollout(40, policy, break_when_any_done=False)
        example.GAE(gamma=0.9, lmbda=0.95, value_network=value)(batch)
        ended = batch["next"]
        truncated, terminated = ended["truncated"].squeeze(-1), ended["terminated"].squeeze(-1)
        assert truncated.any() and terminated.any()
        for t, (obs, _, failed, cut, _) in enumerate(seen):
            assert truncated[:, t].tolist() == cut.tolist() and terminated[:, t].tolist() == failed.tolist()
            final = torch.from_numpy(np.concatenate([obs["proprioception"], obs["reference"]], axis=1))
            assert torch.equal(ended["observation"][:, t], final)
            if t + 1 < len(seen):  # the next step begins there, or with the first observation of a new episode
                goes_on = (batch["observation"][:, t + 1] == final).all(1)
                assert goes_on.tolist() == (~(failed | cut)).tolist()
        follow = value(ended.select("observation").clone())["state_value"].squeeze(-1)
        target, reward = batch["value_target"].squeeze(-1), ended["reward"].squeeze(-1)
        torch.testing.assert_close(target[terminated], reward[terminated])
        torch.testing.assert_close(target[truncated], (reward + 0.9 * follow)[truncated])
    env.close()
