"""The adversarial prior in an environment: its windows, its memory, its reward."""

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.style import reference_windows, style_observation
from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.learning import Collector, Policy
from physhmr_kit.learning import discriminator as amp
from physhmr_kit.learning.style import ReplayBuffer, StyleHistory, StylePrior
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
    return StylePrior(env, 0.5, WINDOW, STEPS, (16,), 1e-3, memory=10, kept=4, minibatch=8, updates=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wander(env, history, rollouts: int):
    """Every rollout's windows, beside what the environments were seen to do: steps of episodes kept apart by hand."""
    policy = Policy(env.config.groups, (8,), std=0.3)
    collector = Collector(env, policy, None, STEPS, generator())
    collector.watch = history
    lives: list[list[torch.Tensor]] = [[] for _ in range(ENVS)]  # of each environment: the steps of its present episode
    begin, record, ends = history.begin, history.record, 0

    def began(rows):
        begin(rows)
        for n in rows.tolist():
            clip, frame = env.clip_ids[n : n + 1], env.frame_ids[n : n + 1]
            before = torch.arange(int(frame) - WINDOW + 1, int(frame) + 1)
            states = env.library.starts(env.library.rows(clip.expand(len(before)), before))
            lives[n] = list(style_observation(states))

    def recorded(t, done):
        seen = style_observation(env.last_state)
        expected = []
        for n in range(ENVS):
            lives[n].append(seen[n])
            expected.append(torch.stack(lives[n][-WINDOW:]))
        record(t, done)  # begins new episodes, which empties `lives`
        torch.testing.assert_close(history.windows[t], torch.stack(expected))
        nonlocal ends
        ends += int(done.sum())

    history.begin, history.record = began, recorded
    for _ in range(rollouts):
        collector.collect()
    return ends


def test_windows_hold_steps_of_one_episode_and_before_its_start_the_reference(env):
    """Episodes of at most five steps, windows of four, rollouts of six: most windows reach over a start or a rollout's end."""
    assert wander(env, StyleHistory(env, WINDOW, STEPS), 4) > 10


def test_the_filled_history_ends_where_the_body_was_put(env):
    env.reset()
    history = StyleHistory(env, WINDOW, STEPS)
    history.begin(torch.arange(ENVS))
    torch.testing.assert_close(history.recent[:, -1], style_observation(env.simulator.state), atol=1e-4, rtol=1e-4)


def test_a_body_that_is_not_moved_by_others_keeps_its_history(env):
    env.reset()
    history = StyleHistory(env, WINDOW, STEPS)
    history.begin(torch.arange(ENVS))
    before = history.recent.clone()
    env.reset(options={"reset_mask": torch.tensor([False, True, False]), "clip": [0], "frame": [20]})
    history.begin(torch.tensor([1]))
    assert torch.equal(history.recent[[0, 2]], before[[0, 2]])
    wanted = reference_windows(env.library, torch.tensor([0]), torch.tensor([20]), WINDOW - 1)
    assert torch.equal(history.recent[1:2], wanted)


def test_the_memory_keeps_the_newest():
    memory = ReplayBuffer(5, (1,), torch.device("cpu"))
    assert len(memory) == 0
    memory.add(torch.tensor([[0.0], [1.0], [2.0]]))
    assert len(memory) == 3 and set(memory.draw(40, generator()).flatten().tolist()) == {0.0, 1.0, 2.0}
    memory.add(torch.tensor([[3.0], [4.0], [5.0], [6.0]]))
    assert len(memory) == 5 and set(memory.draw(80, generator()).flatten().tolist()) == {2.0, 3.0, 4.0, 5.0, 6.0}


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
    assert len(prior.replay) == 4 and prior.replay.rows.abs().max() < 100, (
        "what shows no motion of the agent is left out"
    )
    prior.update(generator(3))
    assert len(prior.replay) == 8


def test_nonsense_is_refused(env):
    for weight, window, words in ((0.5, 1, "style_window is 1"), (1.5, 4, "style is 1.5"), (-0.1, 4, "style is -0.1")):
        with pytest.raises(KitError, match=words):
            StylePrior(env, weight, window, STEPS, (8,))
