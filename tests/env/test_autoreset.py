"""What happens after an episode has ended, in gymnasium's three ways, and which of gymnasium's vector wrappers work in each."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers
from motions import rest_clip, waving_clip

import physhmr_kit  # noqa: F401  (registers the environment)
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.errors import KitError
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

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


def test_next_step_shows_the_end_first_and_the_beginning_a_step_later(build):
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


def test_under_next_step_every_episode_is_reported_once(build):
    env = build("next_step", episode_length=2)
    reported = []
    env.sampler.report = lambda clips, failed: reported.extend(clips.tolist())
    ends = [env.step(STILL)[3].tolist() for _ in range(6)]
    assert ends == [[False] * 3, [True] * 3, [False] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert len(reported) == 6


def test_disabled_leaves_the_reset_to_the_caller(build):
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


def test_a_reset_mask_starts_only_those_it_names(build):
    env = build("same_step")
    env.step(STILL)
    state = env.simulator.state
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    assert torch.equal(env.simulator.state.body_pos[[0, 2]], state.body_pos[[0, 2]])
    assert env._steps.tolist() == [1, 0, 1]


def test_an_unknown_mode_is_refused(build):
    with pytest.raises(KitError, match="autoreset is 'sometimes'; choose one of: same_step, next_step, disabled"):
        build("sometimes")


def test_the_mode_is_told_as_gymnasium_tells_it(library):
    for word, mode in (("same_step", AutoresetMode.SAME_STEP), ("next_step", AutoresetMode.NEXT_STEP)):
        envs = gymnasium.make_vec(NAME, num_envs=2, clips=library, autoreset=word)
        assert envs.metadata["autoreset_mode"] is mode
        envs.close()
    assert TrackingEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP, "the class keeps its own"


def test_resume_holds_under_next_step(build):
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
def test_these_wrappers_work_in_both_modes(name, autoreset, library):
    episodes(ANY_MODE[name](gymnasium.make_vec(NAME, num_envs=2, clips=library, episode_length=4, autoreset=autoreset)))


@pytest.mark.parametrize("name", NEXT_STEP_ONLY)
def test_these_wrappers_work_under_next_step(name, library):
    episodes(
        NEXT_STEP_ONLY[name](
            gymnasium.make_vec(NAME, num_envs=2, clips=library, episode_length=4, autoreset="next_step")
        )
    )


def test_observation_wrappers_refuse_same_step(library):
    """Gymnasium's own rule, and why `next_step` is there."""
    envs = gymnasium.make_vec(NAME, num_envs=2, clips=library)
    with pytest.raises(ValueError, match="SAME_STEP"):
        wrappers.FlattenObservation(envs)
    envs.close()
