"""`gymnasium.make_vec("PhysHMR/Tracking-v0")`: NumPy arrays in and out, and gymnasium's wrappers."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from motions import rest_clip, waving_clip

import physhmr_kit  # noqa: F401  (registers the environment)
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.errors import KitError

NAME = "PhysHMR/Tracking-v0"


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(12), waving_clip(20)])


def numpy_all_through(value) -> bool:
    if isinstance(value, dict):
        return all(map(numpy_all_through, value.values()))
    return isinstance(value, np.ndarray)


def test_it_returns_numpy_arrays_within_its_spaces(library):
    envs = gymnasium.make_vec(NAME, num_envs=4, clips=library)
    assert isinstance(envs, VectorEnv) and isinstance(envs.unwrapped, TrackingEnv)
    assert envs.num_envs == 4 and envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    obs, info = envs.reset(seed=3)
    ended = False
    for _ in range(20):
        assert obs in envs.observation_space
        actions = 0.05 * envs.action_space.sample()
        obs, reward, terminated, truncated, info = envs.step(actions)
        assert numpy_all_through(
            {"obs": obs, "info": info, "reward": reward, "terminated": terminated, "truncated": truncated}
        )
        assert reward.dtype == np.float32 and terminated.dtype == truncated.dtype == bool
        if (terminated | truncated).any():
            ended = True
            assert np.array_equal(info["_final_obs"], terminated | truncated)
            assert info["final_obs"]["reference"].shape == (4, 576)
    assert ended
    envs.close()


def test_returned_observations_are_not_modified_later(library):
    envs = gymnasium.make_vec(NAME, num_envs=2, clips=library)
    obs, _ = envs.reset(seed=1)
    kept = {k: v.copy() for k, v in obs.items()}
    for _ in range(3):
        envs.step(np.zeros((2, 69), np.float32))
    assert all(np.array_equal(obs[k], kept[k]) for k in obs)
    envs.close()


def test_options_reach_the_environment(library):
    envs = gymnasium.make_vec(
        NAME, num_envs=2, clips=library, simulator="mujoco_cpu", substeps=5, control="absolute", episode_length=7
    )
    assert envs.unwrapped.config == TrackingConfig(control="absolute", episode_length=7)
    assert envs.unwrapped.simulator.substeps == 5
    envs.close()
    demo = gymnasium.make_vec(NAME, num_envs=2, clips=["demo:stand"])
    assert demo.unwrapped.library.names == ["stand"]
    demo.close()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"colour": "red"}, "no option 'colour'"),
        ({"simulator": "clockwork"}, "unknown simulator 'clockwork'"),
        ({"clips": ["demo:fly"]}, "demo:fly"),
        ({"groups": ("rays",)}, "no visual tracks"),
        ({"num_envs": 0}, "num_envs is 0"),
    ],
)
def test_invalid_options_are_refused(options, words, library):
    with pytest.raises(KitError, match=words):
        gymnasium.make_vec(NAME, **{"clips": library, **options})


def test_gymnasium_s_own_statistics_count_its_episodes(library):
    envs = RecordEpisodeStatistics(gymnasium.make_vec(NAME, num_envs=2, clips=library, episode_length=5))
    envs.reset(options={"clip": np.array([0, 1]), "frame": np.array([0, 0])})
    total = np.zeros(2)
    for _ in range(5):
        _, reward, terminated, truncated, info = envs.step(np.zeros((2, 69), np.float32))
        total += reward
    assert truncated.all() and not terminated.any()
    assert info["_episode"].all() and info["episode"]["l"].tolist() == [5, 5]
    np.testing.assert_allclose(info["episode"]["r"], total, rtol=1e-5)
    envs.close()


def test_importing_the_kit_is_cheap_and_registers_it():
    code = f"import sys, physhmr_kit, gymnasium; gymnasium.spec({NAME!r}); sys.exit('torch' in sys.modules or 'mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
