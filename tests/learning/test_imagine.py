"""Imagination starts from what happened and differs from it only where the policy would."""

import pytest
import torch
from motions import waving_clip

from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.learning import Policy
from physhmr_kit.learning.imagine import Imagination, tracking_distance
from physhmr_kit.learning.transitions import TransitionMemory
from physhmr_kit.learning.world_model import WorldModel
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

GROUPS = ("proprioception", "reference", "preview")


@pytest.fixture(scope="module")
def scene():
    """A policy, two rollouts it made, and a model that knows only the linear part of the physics."""
    torch.manual_seed(0)
    library, simulator = MotionLibrary([waving_clip(90)]), make_simulator("mujoco_cpu", num_envs=16)
    env = TrackingEnv(library, simulator, TrackingConfig(groups=GROUPS, moment_share=0.5))
    memory, draw, policy = TransitionMemory(2, 24, 16), torch.Generator().manual_seed(0), Policy(GROUPS, (16,), std=0.1)
    obs, _ = env.reset(seed=0)
    for _ in range(2):
        obs, _, told = memory.collect(env, policy, obs, draw)
    assert 0 < told["reward"] < 1 and 0 <= told["failed"] <= 1
    model = WorldModel(simulator.humanoid.offsets, (16,))
    single = memory.whole(400, 1, draw)
    model.fit_linear(single.states[0], single.targets[0], single.states[1])
    yield policy, model, memory, Imagination(library, library_targets(library, simulator.humanoid), simulator.humanoid)
    env.close()


def real_distance(imagination, model, happened) -> torch.Tensor:
    """Of the motion that happened, by the windows' own states."""
    total = 0.0
    for k in range(len(happened.targets)):
        rows = imagination.library.rows(happened.clip, happened.frame + k + 1)
        cost = tracking_distance(model.bodies(happened.states[k + 1]), imagination.library.at(rows))
        total += cost[happened.left > k].sum()
    return total / happened.left.sum()


def test_for_the_policy_that_acted_imagination_is_what_happened(scene):
    policy, model, memory, imagination = scene
    happened = memory.latest(64, 8, 2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        imagined = imagination.follow(policy, model, happened)
        torch.testing.assert_close(imagined, real_distance(imagination, model, happened), atol=2e-4, rtol=1e-3)


def test_the_policy_s_gradient_points_to_a_smaller_distance(scene):
    policy, model, memory, imagination = scene
    happened = memory.latest(64, 8, 2, torch.Generator().manual_seed(1))
    before = imagination.follow(policy, model, happened)
    grads = torch.autograd.grad(before, list(policy.net.parameters()))
    assert all(g.isfinite().all() for g in grads)
    old = [p.detach().clone() for p in policy.net.parameters()]
    size = torch.cat([g.flatten() for g in grads]).norm()
    with torch.no_grad():
        for parameter, g in zip(policy.net.parameters(), grads, strict=True):
            parameter -= 0.01 * g / size
        after = imagination.follow(policy, model, happened)
        for parameter, value in zip(policy.net.parameters(), old, strict=True):
            parameter.copy_(value)
    assert after < before.detach()


def test_what_comes_after_the_end_of_an_episode_does_not_count(scene):
    from dataclasses import replace

    policy, model, memory, imagination = scene
    happened = memory.latest(32, 6, 2, torch.Generator().manual_seed(2))
    happened = replace(happened, left=happened.left.clamp(max=3))
    nonsense = happened.states.clone()
    nonsense[4:] = float("nan")
    with torch.no_grad():
        whole, cut = (imagination.follow(policy, model, h) for h in (happened, replace(happened, states=nonsense)))
    assert torch.isfinite(cut) and torch.equal(whole, cut)


def test_a_body_on_its_reference_has_no_distance():
    library = MotionLibrary([waving_clip(30)])
    state = library.clip(0)
    assert tracking_distance(state, state).abs().max() == 0
    assert (tracking_distance(state[:-5], state[5:]) >= 0).all()
