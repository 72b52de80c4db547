"""The baseline of benchmarks/environment.py is the same Markov decision process as TrackingEnv, to float32 precision."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import rest_clip, waving_clip

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

ENVS = 6


def benchmark(name: str):
    """Import a script of benchmarks/, which is not a package."""
    file = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


single_env = benchmark("single_env")


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(20), waving_clip(30), *load_clips(["demo:squat"])])


@pytest.fixture
def both(library):
    """A TrackingEnv with the expert's settings, and as many single environments of the same task."""
    config = TrackingConfig(failure_weighted_prob=0.7)
    env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=ENVS), config)
    task = single_env.make_task(library, config, env.simulator.humanoid)
    yield env, [single_env.SingleEnv(task) for _ in range(ENVS)]
    env.close()


def starts() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 12, 0, 20, 5, 40])


def noise(seed: int, scale: float) -> torch.Tensor:
    return scale * torch.randn(ENVS, 69, generator=torch.Generator().manual_seed(seed))


def flat(obs: dict) -> np.ndarray:
    return torch.cat([obs["proprioception"], obs["reference"]], dim=1).numpy()


def begin(env, singles) -> None:
    clips, frames = starts()
    obs, _ = env.reset(options={"clip": clips, "frame": frames})
    mine = [s.reset(options={"clip": c, "frame": f})[0] for s, c, f in zip(singles, clips, frames, strict=True)]
    np.testing.assert_allclose(np.stack(mine), flat(obs), atol=2e-4)


def take_up(single, env, i: int) -> None:
    """Copy the state of environment `i`: physics, torques, clip, frame and steps."""
    physics = env.simulator.save()["physics"][i].numpy()
    data, task, nq = single.data, single.task, single.model.nq
    data.time, data.qpos[:], data.qvel[:] = physics[0], physics[1 : 1 + nq], physics[1 + nq :]
    data.actuator_force[task.ctrl_of] = env.simulator.state.dof_torque[i].numpy()
    state = env.state_dict()
    single.clip, single.frame, single.steps = (int(state[k][i]) for k in ("clip", "frame", "steps"))
    single.read_bodies()


def test_observations_and_rewards_equal_those_of_tracking_env(both):
    env, singles = both
    begin(env, singles)
    compared = 0
    for k in range(6):
        obs, reward, terminated, truncated, _ = env.step(noise(k, 0.1))
        expected = flat(obs)
        for i, single in enumerate(singles):
            if terminated[i] or truncated[i]:
                continue
            take_up(single, env, i)
            np.testing.assert_allclose(single.observation(), expected[i], atol=5e-4, rtol=1e-3)
            assert single.reward(single._row(0)) == pytest.approx(float(reward[i]), abs=1e-4)
            compared += 1
    assert compared > 4 * ENVS


def test_a_step_leads_to_the_same_place(both):
    env, singles = both
    begin(env, singles)
    action = noise(1, 0.1)
    obs, reward, terminated, truncated, _ = env.step(action)
    for i, single in enumerate(singles):
        seen, earned, failed, cut, _ = single.step(action[i].numpy())
        np.testing.assert_allclose(seen, flat(obs)[i], atol=2e-3, rtol=1e-2)
        assert earned == pytest.approx(float(reward[i]), abs=1e-3)
        assert (failed, cut) == (bool(terminated[i]), bool(truncated[i]))


def test_episodes_end_in_the_same_way(both):
    env, singles = both
    clips, frames = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([18, 17, 28, 0, 0, 0])
    env.reset(options={"clip": clips, "frame": frames})
    for single, clip, frame in zip(singles, clips, frames, strict=True):
        single.reset(options={"clip": clip, "frame": frame})
    action = torch.zeros(ENVS, 69)
    action[4:] = 6 * noise(3, 1.0)[4:]  # thrown off the clip within a few steps
    ended = {}
    for step in range(12):
        _, _, terminated, truncated, _ = env.step(action)
        for i, single in enumerate(singles):
            if i in ended:
                continue
            _, _, failed, cut, _ = single.step(action[i].numpy())
            assert (failed, cut) == (bool(terminated[i]), bool(truncated[i])), f"environment {i}, step {step}"
            if failed or cut:
                ended[i] = (failed, cut)
    assert ended == {0: (False, True), 1: (False, True), 2: (False, True), 4: (True, False), 5: (True, False)}


@pytest.mark.filterwarnings("ignore:.*Box (action|observation) space")
def test_gymnasium_accepts_it(both):
    from gymnasium.utils.env_checker import check_env

    _, singles = both
    check_env(singles[0], skip_render_check=True)


def test_settings_it_does_not_know_are_refused(library):
    with pytest.raises(ValueError, match="expert's episode only"):
        single_env.make_task(library, TrackingConfig(control="absolute"))
