"""Adversarial motion prior in an environment: windows, replay buffer, reward."""

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.style import reference_windows, style_observation
from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
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
    history, judge = StyleHistory(env, WINDOW, STEPS), amp.Discriminator(WINDOW, (16,))
    return StylePrior(history, judge, 0.5, 1e-3, memory=10, kept=4, minibatch=8, updates=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def before(env, n: int) -> list[torch.Tensor]:
    """The last `WINDOW` steps of the reference of environment n."""
    clip, frame = env.clip_ids[n], int(env.frame_ids[n])
    frames = torch.arange(frame - WINDOW + 1, frame + 1)
    return list(style_observation(env.library.starts(env.library.rows(clip.expand(WINDOW), frames))))


def test_windows_contain_steps_of_one_episode_and_the_reference_before_its_start(env):
    """Episodes of at most five steps, windows of four, rollouts of six: most windows cross a start or the end of a rollout."""
    history, draw, ends = StyleHistory(env, WINDOW, STEPS), generator(), 0
    history.reset(seed=3)
    lives = [before(env, n) for n in range(ENVS)]  # the steps of each environment's present episode
    for k in range(4 * STEPS):
        done = torch.stack(history.step(0.3 * torch.randn(ENVS, 69, generator=draw))[2:4]).any(0)
        for n, seen in enumerate(style_observation(env.last_state)):
            lives[n].append(seen)
            torch.testing.assert_close(history.windows[k % STEPS, n], torch.stack(lives[n][-WINDOW:]))
            if done[n]:
                lives[n], ends = before(env, n), ends + 1
    assert ends > 10


def test_the_initial_history_ends_at_the_initial_state(env):
    history = StyleHistory(env, WINDOW, STEPS)
    history.reset(seed=0)
    torch.testing.assert_close(history.recent[:, -1], style_observation(env.simulator.state), atol=1e-4, rtol=1e-4)
    assert history.num_envs == ENVS and history.library is env.library, "other attributes are those of the environment"


def test_a_diverged_step_is_marked(env):
    history, bad = StyleHistory(env, WINDOW, STEPS), torch.zeros(ENVS, 69)
    history.reset(seed=0)
    bad[1] = torch.nan
    history.step(torch.zeros(ENVS, 69)), history.step(bad)
    assert history.diverged.nonzero().tolist() == [[1, 1]]


def test_real_windows_are_windows_of_the_clips(env, prior):
    windows = prior.real(50, generator())
    clips = torch.arange(3).repeat_interleave(40)
    frames = torch.arange(40).repeat(3)
    known = {tuple(w.flatten().tolist()) for w in reference_windows(env.library, clips, frames, WINDOW)}
    assert windows.shape == (50, WINDOW, 196)
    assert all(tuple(w.flatten().tolist()) in known for w in windows)


def test_the_reward_is_a_weighted_sum_without_style_where_physics_diverged(prior):
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


def test_an_update_trains_on_the_rollout_and_keeps_some_of_it(prior):
    prior.history.windows = torch.randn(STEPS, ENVS, WINDOW, 196, generator=generator(1))
    prior.history.windows[0, 0] = 1e6
    prior.history.diverged[0, 0] = True
    weight = prior.discriminator.net[0].weight.clone()
    prior.mix(torch.zeros(STEPS, ENVS))
    figures = prior.update(generator(2))
    assert figures.keys() == {"reward", "loss", "gradient_penalty", "accuracy_real", "accuracy_agent"}
    assert figures["reward"] == pytest.approx(float(prior.mean_reward)) and 0 <= figures["accuracy_real"] <= 1
    assert not torch.equal(prior.discriminator.net[0].weight, weight)
    assert not any(p.requires_grad for p in prior.discriminator.parameters()), "only while it learns"
    remembered = prior.replay.rows["window"]
    assert len(prior.replay) == 4 and remembered.abs().max() < 100, "without the diverged steps"
    assert prior.discriminator.norm.count == 2 * (8 + 8) * WINDOW, "every step of every window"
    prior.update(generator(3))
    assert len(prior.replay) == 8


def test_updates_learn_to_separate_the_agent_from_the_clips(prior):
    prior.history.windows = 3 * torch.randn(STEPS, ENVS, WINDOW, 196, generator=generator(1))
    prior.updates = 60
    prior.update(generator(2))
    real, agent = prior.real(100, generator(3)), prior.history.windows
    told_real, told_agent = amp.accuracy(prior.discriminator(real), prior.discriminator(agent).flatten())
    assert told_real > 0.9 and told_agent > 0.9
    assert prior.reward(real).mean() > prior.reward(agent).mean() + 0.5


def test_a_fully_diverged_rollout_is_not_learned_from(prior):
    prior.history.diverged[:] = True
    assert prior.update(generator()).keys() == {"reward"} and len(prior.replay) == 0


def test_a_prior_resumes_exactly(env, prior):
    prior.history.reset(seed=0)
    prior.history.windows = torch.randn(STEPS, ENVS, WINDOW, 196, generator=generator(1))
    prior.update(generator(2))
    other = StylePrior(StyleHistory(env, WINDOW, STEPS), amp.Discriminator(WINDOW, (16,)), 0.5, 1e-3, memory=10)
    other.load_extra_state(prior.extra_state())
    assert torch.equal(other.history.recent, prior.history.recent) and prior.history.recent.any()
    assert torch.equal(other.replay.rows["window"], prior.replay.rows["window"]) and len(other.replay) == 4
    assert other.optimizer.state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("weight", [0.0, 1.5, -0.1])
def test_an_invalid_weight_is_refused(prior, weight):
    with pytest.raises(KitError, match="weight of the motion prior"):
        StylePrior(prior.history, prior.discriminator, weight)
