"""The adversarial prior in an environment: its windows, its memory, its reward."""

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.style import reference_windows, style_observation
from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.learning import Collector, Policy
from physhmr_kit.learning import discriminator as amp
from physhmr_kit.learning.style import StyleHistory, StylePrior
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.utils.errors import KitError

WINDOW, STEPS, ENVS = 4, 6, 3


@pytest.fixture
def env():
    library = MotionLibrary([waving_clip(40), rest_clip(12), waving_clip(9, "short", rate=6.0)])
    config = TrackingConfig(groups=("proprioception", "reference"), control="residual", episode_length=5)
    env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=ENVS), config, seed=3)
    yield env
    env.close()


@pytest.fixture
def prior(env):
    torch.manual_seed(0)
    history, discriminator = StyleHistory(env, WINDOW, STEPS), amp.Discriminator(WINDOW, (16,))
    return StylePrior(history, discriminator, 0.5, 1e-3, memory=10, kept=4, minibatch=8, updates=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wander(env, history, rollouts: int):
    """Every rollout's windows, beside what the environments were seen to do: steps of episodes kept apart by hand."""
    policy = Policy(env.config.groups, (8,), std=0.3)
    collector = Collector(history, policy, None, STEPS, generator())
    lives: list[list[torch.Tensor]] = [[] for _ in range(ENVS)]  # of each environment: the steps of its present episode
    begin, step, ends, at = history._begin, env.step, 0, 0

    def began(rows):
        begin(rows)
        for n in rows.tolist():
            clip, frame = env.clip_ids[n : n + 1], env.frame_ids[n : n + 1]
            before = torch.arange(int(frame) - WINDOW + 1, int(frame) + 1)
            states = env.library.starts(env.library.rows(clip.expand(len(before)), before))
            lives[n] = list(style_observation(states))

    def stepped(*given):
        result = step(*given)
        lived.append(style_observation(env.last_state).clone())
        return result

    lived: list[torch.Tensor] = []
    history._begin, env.step = began, stepped
    whole = history.step

    def checked(*given):
        nonlocal ends, at
        before = [list(life) for life in lives]
        result = whole(*given)
        expected = torch.stack([torch.stack([*before[n], lived[-1][n]][-WINDOW:]) for n in range(ENVS)])
        torch.testing.assert_close(history.windows[at % STEPS], expected)
        done = result[2] | result[3]
        for n in (~done).nonzero().flatten().tolist():
            lives[n].append(lived[-1][n])
        ends, at = ends + int(done.sum()), at + 1
        return result

    history.step = checked
    for _ in range(rollouts):
        collector.collect()
    return ends


def test_windows_hold_steps_of_one_episode_and_before_its_start_the_reference(env):
    """Episodes of at most five steps, windows of four, rollouts of six: most windows reach over a start or a rollout's end."""
    assert wander(env, StyleHistory(env, WINDOW, STEPS), 4) > 10


def test_the_filled_history_ends_where_the_body_was_put(env):
    env.reset()
    history = StyleHistory(env, WINDOW, STEPS)
    history._begin(torch.arange(ENVS))
    torch.testing.assert_close(history.recent[:, -1], style_observation(env.simulator.state), atol=1e-4, rtol=1e-4)


def test_a_body_that_is_not_moved_by_others_keeps_its_history(env):
    env.reset()
    history = StyleHistory(env, WINDOW, STEPS)
    history._begin(torch.arange(ENVS))
    before = history.recent.clone()
    env.reset(options={"reset_mask": torch.tensor([False, True, False]), "clip": [0], "frame": [20]})
    history._begin(torch.tensor([1]))
    assert torch.equal(history.recent[[0, 2]], before[[0, 2]])
    wanted = reference_windows(env.library, torch.tensor([0]), torch.tensor([20]), WINDOW - 1)
    assert torch.equal(history.recent[1:2], wanted)


def test_real_windows_are_the_clips(env, prior):
    windows = prior.real(50, generator())
    clips = torch.arange(3).repeat_interleave(40)
    frames = torch.arange(40).repeat(3)
    known = {tuple(w.flatten().tolist()) for w in reference_windows(env.library, clips, frames, WINDOW)}
    assert windows.shape == (50, WINDOW, 196)
    assert all(tuple(w.flatten().tolist()) in known for w in windows)


def test_the_reward_is_task_and_style_by_weight_and_none_where_physics_blew_up(prior):
    history = prior.history
    history.windows = prior.real(STEPS * ENVS, generator()).unflatten(0, (STEPS, ENVS))
    history.diverged[2, 1] = True
    task = torch.rand(STEPS, ENVS, generator=generator())
    style = amp.style_reward(prior.discriminator(history.windows)).detach()
    mixed = prior.mix(task)
    sound = ~history.diverged
    torch.testing.assert_close(mixed[sound], (0.5 * task + 0.5 * style)[sound])
    torch.testing.assert_close(mixed[2, 1], 0.5 * task[2, 1])
    torch.testing.assert_close(prior.reward(history.windows), style)


def test_an_update_learns_from_the_rollout_and_remembers_some_of_it(prior):
    prior.history.windows = torch.randn(STEPS, ENVS, WINDOW, 196, generator=generator(1))
    prior.history.windows[0, 0] = 1e6
    prior.history.diverged[0, 0] = True
    weight = prior.discriminator.net[0].weight.clone()
    figures = prior.update(generator(2))
    assert figures.keys() == {"reward", "loss", "gradient_penalty", "accuracy_real", "accuracy_agent"}
    assert not torch.equal(prior.discriminator.net[0].weight, weight)
    assert len(prior.replay) == 4 and prior.replay.rows["window"].abs().max() < 100, (
        "what shows no motion of the agent is left out"
    )
    prior.update(generator(3))
    assert len(prior.replay) == 8


def test_a_weight_that_is_no_share_is_refused(env):
    for weight in (1.5, -0.1, 0.0):
        with pytest.raises(KitError, match=f"weight of the motion prior is {weight:g}"):
            StylePrior(StyleHistory(env, WINDOW, STEPS), amp.Discriminator(WINDOW, (8,)), weight)


def test_what_a_prior_keeps_survives_a_checkpoint(env, prior):
    prior.history.windows = torch.randn(STEPS, ENVS, WINDOW, 196, generator=generator(1))
    prior.history.recent.fill_(2.0)
    prior.update(generator(2))
    other = StylePrior(StyleHistory(env, WINDOW, STEPS), amp.Discriminator(WINDOW, (16,)), 0.5, memory=10)
    other.load_extra_state(prior.extra_state())
    assert torch.equal(other.history.recent, prior.history.recent)
    assert torch.equal(other.replay.rows["window"], prior.replay.rows["window"]) and len(other.replay) == 4
    assert other.optimizer.state_dict()["state"].keys() == prior.optimizer.state_dict()["state"].keys()
