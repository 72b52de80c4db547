"""Gymnasium's three autoreset modes, and which of its vector wrappers work with each."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers
from motions import rest_clip, waving_clip

import physhmr_kit  # noqa: F401  (registers the environment)
from physhmr_kit.env import RewardWeights, TrackingConfig, TrackingEnv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.errors import KitError

NAME = "PhysHMR/Tracking-v0"
STILL = torch.zeros(3, 69)
SHORT = {"clip": torch.tensor([0, 1, 1]), "frame": torch.tensor([17, 0, 3])}
"""Clip 0 has 20 frames: its episode ends with the second step."""


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(20), waving_clip(30)])


@pytest.fixture
def build(library):
    made = []

    def make(autoreset: str, **config):
        made.append(
            TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=3), TrackingConfig(**config), None, 0, autoreset)
        )
        made[-1].reset(seed=1, options=SHORT)
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_next_step_returns_the_last_observation_first_and_resets_a_step_later(build):
    same, later = build("same_step"), build("next_step")
    for _ in range(2):
        ended, again = same.step(STILL), later.step(STILL)
    assert again[3].tolist() == [True, False, False] and again[4] == {}
    for group in again[0]:
        assert torch.equal(again[0][group], ended[4]["final_obs"][group]), "the last observation of the old episode"

    obs, reward, terminated, truncated, _ = later.step(torch.full((3, 69), 0.3))
    assert reward[0] == 0 and (reward[1:] > 0).all() and not (terminated | truncated)[0]
    fresh = later.reference_state
    torch.testing.assert_close(later.simulator.state.body_pos[0], fresh.body_pos[0], atol=0.02, rtol=0)
    assert later._steps.tolist() == [0, 3, 3], "the step of the reset belongs to no episode"
    assert torch.equal(obs["proprioception"], later.observe(("proprioception",))["proprioception"])


def test_with_next_step_every_episode_is_reported_once(build):
    env = build("next_step", episode_length=2)
    reported = []
    env.sampler.report = lambda clips, frames, failed: reported.extend(clips.tolist())
    ends = [env.step(STILL)[3].tolist() for _ in range(6)]
    assert ends == [[False] * 3, [True] * 3, [False] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert len(reported) == 6


def test_with_disabled_the_caller_resets(build):
    env = build("disabled")
    env.step(STILL)
    obs, *_, truncated, _ = env.step(STILL)
    assert truncated.tolist() == [True, False, False]
    before = {g: v.clone() for g, v in obs.items()}
    options = {"reset_mask": np.array([True, False, False]), "clip": torch.tensor([1]), "frame": torch.tensor([5])}
    obs, _ = env.reset(options=options)
    assert env.clip_ids.tolist() == [1, 1, 1] and env.frame_ids.tolist() == [5, 2, 5]
    for group in obs:
        assert torch.allclose(obs[group][1:], before[group][1:], atol=1e-5) and not torch.equal(
            obs[group][0], before[group][0]
        )


def test_with_disabled_an_ended_episode_is_reported_once(build):
    env = build("disabled", episode_length=2)
    reported = []
    env.sampler.report = lambda clips, frames, failed: reported.extend(clips.tolist())
    ends = [env.step(STILL)[3].tolist() for _ in range(5)]
    assert ends == [[False] * 3, [True] * 3, *[[False] * 3] * 3] and len(reported) == 3


@pytest.mark.parametrize("autoreset, counted", [("same_step", 5), ("next_step", 3), ("disabled", 1)])
def test_divergence_is_counted_once_per_episode(build, autoreset, counted):
    env, bad = build(autoreset), STILL.clone()
    bad[1, 4] = torch.nan
    ended = sum(int(env.step(bad)[2][1]) for _ in range(5))
    assert all(v[1] == 0 for v in env.reward_terms.values())
    assert ended == env.num_diverged == counted


def test_diverged_states_never_reach_an_observation_before_the_reset(build):
    """Also when another environment is reset in between, or `observe` is called."""
    env = build("disabled")
    env.step(STILL)
    gone = env.library.clip(0)[:1]
    env.simulator.reset(torch.tensor([1]), replace(gone, dof_vel=gone.dof_vel + torch.nan))
    obs, _, terminated, *_ = env.step(STILL)
    again, _ = env.reset(options={"reset_mask": torch.tensor([True, False, False])})
    assert terminated.tolist() == [False, True, False]
    for seen in (obs, again, env.observe(env.config.groups)):
        assert all(torch.isfinite(v).all() for v in seen.values())


def test_an_empty_reset_mask_changes_nothing(build):
    env = build("same_step")
    obs = env.step(STILL)[0]
    again, _ = env.reset(options={"reset_mask": torch.zeros(3, dtype=torch.bool)})
    assert all(torch.allclose(obs[g], again[g], atol=1e-5) for g in obs) and env._steps.tolist() == [1, 1, 1]


def test_the_caller_may_write_into_returned_tensors(build):
    env = build("same_step")
    env.step(STILL)
    *_, truncated, info = env.step(STILL)
    for tensor in (truncated, info["_final_obs"], info["_final_info"], info["final_info"]["clip"]):
        tensor.zero_()
    assert env._ended[0]


def test_a_seed_determines_all_starts_regardless_of_earlier_failures(build):
    env = build("same_step")
    env.reset(seed=5)
    starts = env.clip_ids.clone(), env.frame_ids.clone()
    env.sampler.report(*torch.zeros(2, 100, dtype=torch.long), torch.ones(100, dtype=torch.bool))
    env.reset(seed=5)
    assert torch.equal(env.clip_ids, starts[0]) and torch.equal(env.frame_ids, starts[1])


def test_a_given_clip_gets_a_frame_within_its_length(build):
    env = build("same_step")
    for seed in range(20):
        env.reset(seed=seed, options={"clip": torch.zeros(3, dtype=torch.long)})
        assert env.frame_ids.max() < 19, "clip 0 has 20 frames"


def test_without_reward_terms_the_reward_is_zero(build):
    nothing = {name: 0.0 for name in ("position", "rotation", "velocity", "angular_velocity", "power")}
    assert build("same_step", reward=RewardWeights(**nothing)).step(STILL)[1].tolist() == [0, 0, 0]


def test_a_reset_mask_resets_only_its_environments(build):
    env = build("same_step")
    env.step(STILL)
    state = env.simulator.state
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    assert torch.equal(env.simulator.state.body_pos[[0, 2]], state.body_pos[[0, 2]])
    assert env._steps.tolist() == [1, 0, 1]


def test_an_unknown_autoreset_mode_is_refused(build):
    with pytest.raises(KitError, match="autoreset is 'sometimes'; choose one of: next_step, same_step, disabled"):
        build("sometimes")


def test_the_autoreset_mode_is_in_the_metadata(library):
    for word, mode in (("same_step", AutoresetMode.SAME_STEP), ("next_step", AutoresetMode.NEXT_STEP)):
        envs = gymnasium.make_vec(NAME, num_envs=2, clips=library, autoreset=word)
        assert envs.metadata["autoreset_mode"] is mode
        envs.close()
    assert TrackingEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP, "the class keeps its own"


def test_a_state_of_an_older_version_is_refused(build):
    env = build("same_step")
    saved = env.state_dict()
    del saved["obs"]
    with pytest.raises(KitError, match="no 'obs': it was written by another version"):
        env.load_state_dict(saved)


def test_next_step_resumes_exactly(build):
    env, other = build("next_step"), build("next_step")
    env.step(STILL), env.step(STILL)
    other.load_state_dict(env.state_dict())
    for a, b in zip(env.step(STILL)[:4], other.step(STILL)[:4], strict=True):
        assert all(torch.equal(a[g], b[g]) for g in a) if isinstance(a, dict) else torch.equal(a, b)


# gymnasium's wrappers

ANY_MODE = {
    "RecordEpisodeStatistics": lambda e: wrappers.RecordEpisodeStatistics(e),
    "NormalizeReward": lambda e: wrappers.NormalizeReward(e),
    "ClipReward": lambda e: wrappers.ClipReward(e, 0.0, 0.5),
    "TransformReward": lambda e: wrappers.TransformReward(e, lambda r: 2 * r),
    "ClipAction": lambda e: wrappers.ClipAction(e),
    "TransformAction": lambda e: wrappers.TransformAction(e, lambda a: 0.1 * a),
    "DictInfoToList": lambda e: wrappers.DictInfoToList(e),
}
NEXT_STEP_ONLY = {
    "FlattenObservation": lambda e: wrappers.FlattenObservation(e),
    "NormalizeObservation": lambda e: wrappers.NormalizeObservation(wrappers.FlattenObservation(e)),
    "DtypeObservation": lambda e: wrappers.DtypeObservation(wrappers.FlattenObservation(e), np.float64),
    "TransformObservation": lambda e: wrappers.TransformObservation(wrappers.FlattenObservation(e), lambda o: 2 * o),
}


def episodes(envs) -> None:
    """Run until an episode has ended and the next has begun."""
    envs.reset(seed=0)
    ended = 0
    for _ in range(12):
        result = envs.step(0.05 * envs.action_space.sample())
        ended += int((result[2] | result[3]).sum())
    assert ended >= 2 and np.isfinite(result[1]).all()
    envs.close()


@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
@pytest.mark.parametrize("name", ANY_MODE)
def test_wrappers_work_in_both_modes(name, autoreset, library):
    episodes(ANY_MODE[name](gymnasium.make_vec(NAME, num_envs=2, clips=library, episode_length=4, autoreset=autoreset)))


@pytest.mark.parametrize("name", NEXT_STEP_ONLY)
def test_observation_wrappers_work_with_next_step(name, library):
    episodes(
        NEXT_STEP_ONLY[name](
            gymnasium.make_vec(NAME, num_envs=2, clips=library, episode_length=4, autoreset="next_step")
        )
    )


def test_observation_wrappers_refuse_same_step(library):
    """A rule of gymnasium, and the reason for `next_step`."""
    envs = gymnasium.make_vec(NAME, num_envs=2, clips=library)
    with pytest.raises(ValueError, match="SAME_STEP"):
        wrappers.FlattenObservation(envs)
    envs.close()
