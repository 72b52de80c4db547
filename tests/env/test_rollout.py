"""Tracking whole clips, and rollouts on disk."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env import Rollout, TrackingConfig, track_clips
from physhmr_kit.env.rollout import evaluation_env, follow_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError


def nothing(obs):
    return torch.zeros(len(obs["proprioception"]), 69)


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(12), rest_clip(40, "lift", lift_off=2.0), waving_clip(25)])


@pytest.fixture(scope="module")
def rollouts(library) -> list[Rollout]:
    return track_clips(nothing, library, TrackingConfig())


def test_every_clip_is_tracked_to_its_end_or_its_failure(rollouts, library):
    rest, lift, waving = rollouts
    assert [r.name for r in rollouts] == ["rest", "lift", "waving"]
    assert rest.success and rest.fail_frame is None and len(rest) == rest.length == 12
    assert waving.success and len(waving) == 25
    assert not lift.success and lift.length == 40 and len(lift) == lift.fail_frame + 1 < 40


def test_more_clips_than_environments_are_tracked_in_chunks(rollouts, library):
    told, pushes = [], []

    def push(frame):
        pushes.append(frame)
        force = torch.zeros(4, 24, 3)
        force[3, 9, 0] = 2000.0 if frame < 5 else 0.0  # the last one alone
        return force

    env = evaluation_env(library, TrackingConfig(), num_envs=3)
    found = follow_clips(nothing, env, [2, 0, 1, 0], lambda done, of: told.append((done, of)), push)
    env.close()
    assert [r.name for r in found] == ["waving", "rest", "lift", "rest"]
    assert torch.equal(found[0].simulated.body_pos, rollouts[2].simulated.body_pos)
    assert (found[1].simulated.body_pos - rollouts[0].simulated.body_pos).abs().max() < 1e-4
    assert found[1].success and not found[3].success, "the pushed one fell"
    assert {of for _, of in told} == {40 + 12} and [done for done, _ in told] == sorted(done for done, _ in told)
    assert max(pushes) > 15


def test_an_evaluation_tracks_whole_clips_with_the_evaluation_rule(library):
    training = TrackingConfig(termination="any", episode_length=5, push_force=100.0, failure_weighted_prob=0.7)
    env = evaluation_env(library, training)
    env.close()
    assert (env.config.termination, env.config.termination_distance) == ("mean", 0.5)
    assert env.config.episode_length is None and env.config.push_force == 0 and env.config.start == "first"
    assert env.num_envs == 3


def test_a_clip_fails_at_a_mean_body_distance_of_half_a_metre(rollouts):
    off = (rollouts[1].simulated.body_pos - rollouts[1].reference.body_pos).norm(dim=-1).mean(1)
    assert off[-1] > 0.5 > off[-2]


def test_a_rollout_contains_reference_and_simulation(rollouts, library):
    for c, rollout in enumerate(rollouts):
        assert torch.equal(rollout.reference.body_pos, library.clip(c).body_pos[: len(rollout)])
        torch.testing.assert_close(rollout.simulated.body_pos[0], rollout.reference.body_pos[0], atol=1e-4, rtol=0)
        assert all(v.shape == (len(rollout),) for v in rollout.rewards.values())
        assert rollout.rewards["position"][0] == 0, "no reward before the first step"
        assert rollout.contact_force.shape == (len(rollout), 24, 3)


def test_progress_is_reported(library):
    told = []
    track_clips(nothing, library, TrackingConfig(), progress=lambda *frames: told.append(frames))
    assert told[0] == (2, 40) and told[-1][0] >= 25


def test_actions_in_one_clip_do_not_affect_the_others(library, rollouts):
    def tremble(obs):
        actions = nothing(obs)
        actions[1] = 3.0
        return actions

    other = track_clips(tremble, library, TrackingConfig())
    assert torch.equal(other[2].simulated.body_pos, rollouts[2].simulated.body_pos)


def test_a_rollout_survives_saving_and_loading(rollouts, tmp_path):
    for rollout in rollouts[:2]:
        path = rollout.save(tmp_path / "deep" / f"{rollout.name}.npz")
        back = Rollout.load(path)
        for side in ("reference", "simulated"):
            assert all(
                torch.equal(getattr(getattr(back, side), f.name), getattr(getattr(rollout, side), f.name))
                for f in fields(BodyState)
            )
        assert back.rewards.keys() == rollout.rewards.keys()
        assert all(torch.equal(back.rewards[k], rollout.rewards[k]) for k in rollout.rewards)
        assert torch.equal(back.contact_force, rollout.contact_force) and torch.equal(
            back.dof_torque, rollout.dof_torque
        )
        for key in ("name", "length", "success", "fail_frame", "fps"):
            assert getattr(back, key) == getattr(rollout, key)
    assert [p.name for p in (tmp_path / "deep").iterdir() if p.suffix != ".npz"] == [], "no temporary file is left"


def test_a_file_that_is_not_a_rollout_is_refused_by_name(rollouts, tmp_path):
    whole = rollouts[0].save(tmp_path / "whole.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[: len(whole.read_bytes()) // 2])
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    other = tmp_path / "other.npz"
    np.savez(other, poses=np.zeros(3))
    for path in (cut, text, other, tmp_path / "missing.npz"):
        with pytest.raises(KitError, match=path.name):
            Rollout.load(path)


def test_a_loaded_rollout_keeps_its_failure(rollouts, tmp_path):
    lost = replace(rollouts[0], success=False, fail_frame=11)
    assert Rollout.load(lost.save(tmp_path / "lost.npz")).fail_frame == 11
    assert not Rollout.load(tmp_path / "lost.npz").success
