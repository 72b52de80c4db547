"""The world model of `benchmarks/learned_dynamics.py` learns from a tiny data set."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import learned_dynamics as ld

from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.sources import load_clips


def tiny():
    words = ["--envs", "8", "--steps", "12", "--batch", "32", "--model", "64", "--warm", "0"]
    return ld.Learner(MotionLibrary(load_clips(["demo:squat"])), ld.arguments().parse_args(words))


def test_integrating_the_difference_of_two_states_leads_from_one_to_the_other():
    library = MotionLibrary(load_clips(["demo:walk_forward"]))
    columns = ld.coordinates(library.clip(0))
    here, there = columns[:, :-1].contiguous(), columns[:, 1:].contiguous()
    made = ld.integrate(here, ld.differences(here, there))
    assert torch.allclose(made, there, atol=1e-4)


def test_the_world_model_gets_better_and_the_policy_gets_a_gradient():
    learner = tiny()
    learner.collect()
    losses = [learner.model_step(2) for _ in range(40)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    before = learner.policy.net[-1].weight.clone()
    assert learner.policy_step(4) > 0
    assert not torch.equal(before, learner.policy.net[-1].weight)
