"""Starts of episodes, and conversion of actions to PD targets."""

import math

import pytest
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import actions
from physhmr_kit.env.sampling import StartSampler

LENGTHS = torch.tensor([10, 1000, 100, 50])


def shares(sampler: StartSampler, count: int = 4000) -> torch.Tensor:
    clips, _ = sampler.draw(count, torch.Generator().manual_seed(0))
    return torch.bincount(clips, minlength=len(LENGTHS)) / count


def test_clips_are_drawn_uniformly_regardless_of_length():
    torch.testing.assert_close(shares(StartSampler(LENGTHS)), torch.full((4,), 0.25), atol=0.035, rtol=0)


def test_half_of_the_draws_follow_the_failures():
    sampler = StartSampler(LENGTHS)
    sampler.failure = torch.tensor([0.6, 0.2, 0.0, 0.0])
    torch.testing.assert_close(sampler.clip_weights, torch.tensor([0.125 + 0.375, 0.125 + 0.125, 0.125, 0.125]))
    torch.testing.assert_close(shares(sampler), sampler.clip_weights, atol=0.035, rtol=0)


def test_without_failures_every_clip_is_still_drawn():
    sampler = StartSampler(LENGTHS)
    sampler.failure = torch.zeros(4)
    assert torch.isfinite(sampler.clip_weights).all()
    assert (shares(sampler) > 0.15).all()


def test_starts_are_uniform_within_a_clip_and_leave_a_frame_to_track():
    clips, frames = StartSampler(LENGTHS).draw(4000, torch.Generator().manual_seed(1))
    assert (frames >= 0).all() and (frames <= LENGTHS[clips] - 2).all()
    long = frames[clips == 1]
    assert long.float().mean() == pytest.approx(499, abs=50)
    assert set(frames[clips == 0].tolist()) == set(range(9))


def test_reported_episodes_move_the_failure_rate_of_their_clip():
    sampler = StartSampler(LENGTHS)
    sampler.report(torch.tensor([1, 2]), torch.zeros(2, dtype=torch.long), torch.tensor([True, False]))
    torch.testing.assert_close(sampler.failure, torch.tensor([0.5, 0.98 * 0.5 + 0.02, 0.98 * 0.5, 0.5]))
    sampler.report(
        torch.tensor([3, 3, 3, 3]), torch.zeros(4, dtype=torch.long), torch.tensor([True, True, False, True])
    )
    keep = 0.98**4
    assert sampler.failure[3] == pytest.approx(keep * 0.5 + (1 - keep) * 0.75)


def test_starts_are_shortly_before_failures():
    sampler = StartSampler(LENGTHS, pre_failure_prob=1.0)
    sampler.report(torch.tensor([1] * 30), torch.full((30,), 500), torch.ones(30).bool())
    draw = torch.Generator().manual_seed(0)
    _, frames = sampler.draw(400, draw, torch.ones(400, dtype=torch.long))
    assert frames.min() >= 500 - 5 - 45 and frames.max() < 500 + 15  # within a second and a half before its half second
    _, elsewhere = sampler.draw(400, draw, torch.full((400,), 2))
    assert elsewhere.min() < 10 and elsewhere.max() > 85  # a clip never lost has no moments: uniform
    assert float(elsewhere.float().mean()) == pytest.approx(49, abs=6)
    assert (elsewhere <= LENGTHS[2] - 2).all()


def test_starts_are_5_to_35_frames_before_the_half_second_of_a_failure():
    """Frame 500 is in 495..509; minus 5 to 35 frames: 460 to 504."""
    sampler = StartSampler(LENGTHS, pre_failure_prob=1.0)
    sampler.report(torch.tensor([1]), torch.tensor([500]), torch.tensor([True]))
    _, frames = sampler.draw(20000, torch.Generator().manual_seed(0), torch.ones(20000, dtype=torch.long))
    assert 460 <= frames.min() <= 461 and 503 <= frames.max() <= 504
    assert float(frames.float().mean()) == pytest.approx(502 - 20, abs=0.3)


@pytest.mark.parametrize("lost_at, first, last", [(3, 0, 8), (9, 0, 8)])
def test_a_start_before_a_failure_stays_in_its_clip(lost_at, first, last):
    sampler = StartSampler(LENGTHS, pre_failure_prob=1.0)
    sampler.report(torch.tensor([0]), torch.tensor([lost_at]), torch.tensor([True]))
    _, frames = sampler.draw(3000, torch.Generator().manual_seed(0), torch.zeros(3000, dtype=torch.long))
    assert (int(frames.min()), int(frames.max())) == (first, last)


def test_pre_failure_prob_is_the_fraction_of_starts_before_failures():
    sampler = StartSampler(LENGTHS, pre_failure_prob=0.3)
    sampler.report(torch.tensor([1]), torch.tensor([500]), torch.tensor([True]))
    _, frames = sampler.draw(5000, torch.Generator().manual_seed(0), torch.ones(5000, dtype=torch.long))
    near = (frames >= 460) & (frames < 505)
    assert float(near.float().mean()) == pytest.approx(0.3 + 0.7 * 0.045, abs=0.03)


def test_failures_are_counted_by_clip_and_half_second():
    sampler = StartSampler(LENGTHS)
    assert sampler.moments.shape == (4, 67) and StartSampler(LENGTHS, longest=2000).moments.shape == (4, 134)
    clips, frames = torch.tensor([1, 2, 2, 3]), torch.tensor([500, 44, 45, 49])
    sampler.report(clips, frames, torch.tensor([True, True, False, True]))
    rates = {tuple(at): float(sampler.moments[tuple(at)]) for at in sampler.moments.nonzero().tolist()}
    news = 1 - 0.98**2  # two episodes of clip 2 ended, one of them by a failure
    assert rates == pytest.approx({(1, 33): 0.02, (2, 2): news / 2, (3, 3): 0.02}, rel=1e-4)
    sampler.report(torch.tensor([1]), torch.tensor([2000]), torch.tensor([True]))
    assert sampler.moments[1, 66] > 0 and not sampler.moments[2, 0], "clamped to the last bin"
    sampler.forget()
    assert not sampler.moments.any() and (sampler.failure == 0.5).all()


def test_first_frame_prob_is_the_fraction_of_starts_at_the_first_frame():
    draw = torch.Generator().manual_seed(0)
    long = torch.ones(1000, dtype=torch.long)
    _, frames = StartSampler(LENGTHS, first_frame_prob=0.25, pre_failure_prob=0.3).draw(1000, draw, long)
    assert (frames == 0).float().mean() == pytest.approx(0.25, abs=0.05)
    assert (StartSampler(LENGTHS).draw(1000, draw, long)[1] == 0).float().mean() < 0.02


def test_failures_are_forgotten_after_successes():
    sampler = StartSampler(LENGTHS, pre_failure_prob=1.0)
    sampler.report(torch.tensor([1] * 30), torch.full((30,), 500), torch.ones(30).bool())
    before = float(sampler.moments[1].sum())
    sampler.report(torch.tensor([1] * 300), torch.full((300,), 999), torch.zeros(300).bool())
    assert float(sampler.moments[1].sum()) < 0.01 * before


def test_the_sampler_restores_a_saved_state():
    sampler, other = StartSampler(LENGTHS), StartSampler(LENGTHS)
    sampler.report(torch.tensor([1] * 30), torch.zeros(30, dtype=torch.long), torch.ones(30).bool())
    saved = sampler.state_dict()
    other.load_state_dict(saved)
    assert torch.equal(other.clip_weights, sampler.clip_weights) and torch.equal(other.moments, sampler.moments)
    assert sampler.moments.any()
    other.moments.zero_(), other.failure.zero_()
    assert all(v.any() for v in saved.values()), "the saved state is a copy"


# Actions


def test_an_absolute_action_of_one_is_beyond_the_limits():
    """PHC: 1.2 times the largest limit of the three hinges, at most pi. Knee: 155 degrees, so pi; ankle: 70 degrees."""
    scale = actions.absolute_scale(Humanoid.mean())
    assert scale.shape == (69,)
    for axis in "xyz":
        assert scale[dof_names().index(f"left_ankle_{axis}")] == pytest.approx(1.2 * math.radians(70), rel=1e-5)
        assert scale[dof_names().index(f"right_knee_{axis}")] == pytest.approx(math.pi)


def test_absolute_target_and_absolute_action_are_inverse():
    scale = actions.absolute_scale(Humanoid.mean())
    target = torch.randn(3, 69, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(actions.absolute_target(actions.absolute_action(target, scale), scale), target)


def test_a_residual_action_of_one_is_half_a_radian_beyond_the_reference():
    reference, action = torch.full((2, 69), 0.3), torch.tensor([[1.0], [-2.0]]).expand(2, 69)
    expected = torch.tensor([[0.8], [-0.7]]).expand(2, 69)
    torch.testing.assert_close(actions.residual_target(action, reference), expected)
