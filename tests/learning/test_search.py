"""Copies of a body that vary what a policy does, and the ones that go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.learning import Policy
from physhmr_kit.learning.search import LOST, Search, distance
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator

GROUPS = ("proprioception", "reference")


@pytest.fixture
def search():
    """Makes a search around a policy that does nothing: search(clips, bodies, copies, **settings)."""
    made = []

    def make(clips, bodies, copies, seed=0, **settings):
        config = TrackingConfig(groups=GROUPS, control="residual", termination="none", episode_length=0)
        simulator = make_simulator("mujoco_cpu", num_envs=bodies * copies)
        env = TrackingEnv(MotionLibrary(clips), simulator, config, autoreset="disabled")
        made.append(env)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            policy = Policy(GROUPS, (16,))
        return Search(env, policy, copies, torch.Generator().manual_seed(seed), **settings)

    yield make
    for env in made:
        env.close()


def test_the_distance_is_nothing_on_the_reference_and_grows_with_place_turn_and_speed(search):
    env = search([rest_clip(24)], 2, 4).env
    env.reset(options={"clip": torch.zeros(8, dtype=torch.long), "frame": torch.zeros(8, dtype=torch.long)})
    state, ref = env.simulator.state, env.reference_state
    near = distance(state, state)
    assert torch.equal(near, torch.zeros(8))
    moved = replace(state, body_pos=ref.body_pos + torch.tensor([0.1, 0.0, 0.0]))
    still = replace(state, body_pos=ref.body_pos, body_rot=ref.body_rot, body_lin_vel=ref.body_lin_vel)
    assert torch.allclose(distance(moved, still), torch.tensor(50 * 0.01), atol=0.01)
    faster = replace(still, body_lin_vel=still.body_lin_vel + torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(distance(faster, still), torch.tensor(0.2 + 1.0), atol=1e-4)
    gone = replace(still, diverged=torch.ones(8, dtype=torch.bool))
    assert (distance(gone, still) > distance(moved, still)).all()


def test_copies_of_one_body_never_become_another(search):
    found = search([rest_clip(40), waving_clip(40)], 2, 8)
    env, clip = found.env, torch.tensor([0, 1])
    place, bodies = found._replace, []
    found._replace = lambda rows: bodies.append(rows // 8) or place(rows)
    found.run(clip, torch.tensor([0, 5]), windows=3, lead=1)
    assert len(bodies) == 4 and all(torch.equal(b, torch.tensor([0, 1]).repeat_interleave(8)) for b in bodies)
    assert torch.equal(env.clip_ids, clip.repeat_interleave(8))
    assert torch.equal(env.frame_ids, torch.tensor([13, 18]).repeat_interleave(8))


def test_who_goes_on_is_among_the_best(search):
    """After one window every copy stands where one of the elite stood: the spread of the cost has shrunk to theirs."""
    one = search([waving_clip(40)], 1, 16, elite=0.25)
    place = one._replace
    costs = []

    def watched(rows):
        env = one.env
        before = distance(env.last_state, env.reference_state)
        obs = place(rows)
        costs.append((before, distance(env.simulator.state, env.reference_state), rows))
        return obs

    one._replace = watched
    one.run(torch.tensor([0]), torch.tensor([0]), windows=1)
    before, after, rows = costs[0]
    assert len(rows.unique()) == 4
    assert torch.allclose(after, before[rows], atol=1e-5)
    assert after.mean() < before.mean()


def test_what_is_found_is_what_survivors_saw_and_did(search):
    one = search([waving_clip(40)], 2, 8, keep=3, lookahead=1)
    found = one.run(torch.tensor([0, 0]), torch.tensor([0, 3]), windows=4, lead=2)
    assert found.survived.tolist() == [True, True]
    assert len(found.seen) == len(found.action) <= 2 * 16 * 3
    assert found.seen.dtype == found.action.dtype == torch.half
    said = one.policy.mean(found.seen.float())
    apart = (found.action.float() - said).abs().amax(1)
    assert (apart > 0.001).all(), "survivors did something else than the policy"
    assert apart.max() < 6 * one.spread
    assert torch.allclose(one.policy.mean(found.met.float()), found.answer.float(), atol=2e-3)


def test_nothing_is_found_beyond_the_end_of_a_clip(search):
    one = search([waving_clip(16)], 1, 8)
    found = one.run(torch.tensor([0]), torch.tensor([12]), windows=4)
    assert len(found.seen) == 0


def test_all_copies_of_a_body_are_pushed_alike_and_only_for_a_moment(search):
    one = search([rest_clip(60)], 2, 4, spread=0.0)
    speeds = []
    step = one.env.step

    def watched(actions, push=None):
        out = step(actions, push)
        speeds.append(one.env.last_state.body_lin_vel[:, 9, 0].clone())
        return out

    one.env.step = watched
    force = torch.tensor([[300.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    one.run(torch.tensor([0, 0]), torch.tensor([0, 0]), windows=2, force=force)
    first, after = speeds[0].view(2, 4), speeds[3].view(2, 4)
    assert (first[0] > first[1] + 0.05).all()
    assert torch.allclose(first[0], first[0, :1].expand(4), atol=1e-5)
    assert (after[0] < speeds[2].view(2, 4)[0]).all(), "nobody pushes any more"


def test_the_seed_decides(search):
    runs = [
        search([waving_clip(30)], 1, 8, seed).run(torch.tensor([0]), torch.tensor([0]), windows=3) for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0].action, runs[1].action)
    assert not torch.equal(runs[0].action, runs[2].action)


def test_a_search_keeps_to_a_walk_that_the_policy_alone_loses(search):
    """The untrained policy falls in the demo walk; the best of 48 copies does not."""
    walk = [demo_clip("walk_forward")]
    alone, many = search(walk, 1, 1, spread=0.0), search(walk, 1, 48)
    start = torch.tensor([0]), torch.tensor([60])
    alone.run(*start, windows=24)
    lost = (alone.env.last_state.body_pos - alone.env.reference_state.body_pos).norm(dim=-1).mean()
    assert lost > LOST
    assert many.run(*start, windows=24).survived.all()
