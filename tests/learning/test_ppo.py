"""Advantages and losses against hand-computed values."""

import math

import pytest
import torch

from physhmr_kit.learning import ppo


def column(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def flags(*values) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


REWARD, VALUE = (1.0, 2.0, 3.0), (0.5, 1.0, 2.0)


def test_advantages_without_an_episode_end():
    """gamma 0.5, lambda 0.8: delta = 1 + 0.5 - 0.5 = 1, 2 + 1 - 1 = 2, 3 + 2 - 2 = 3; each keeps 0.4 of the next."""
    result = ppo.advantages(
        column(*REWARD), column(*VALUE), column(1.0, 2.0, 4.0), flags(False, False, False), 0.5, 0.8
    )
    torch.testing.assert_close(result, column(1 + 0.4 * (2 + 0.4 * 3), 2 + 0.4 * 3, 3.0))


def test_a_termination_has_next_value_zero_and_cuts_the_sum():
    """The second step fails: its next value is 0, delta = 2 + 0 - 1 = 1, and nothing of the third flows back."""
    result = ppo.advantages(column(*REWARD), column(*VALUE), column(1.0, 0.0, 4.0), flags(False, True, False), 0.5, 0.8)
    torch.testing.assert_close(result, column(1 + 0.4 * 1, 1.0, 3.0))


def test_a_truncation_bootstraps_from_its_final_state_and_cuts_the_sum():
    """The second step ends by time in a state worth 6: delta = 2 + 3 - 1 = 4."""
    result = ppo.advantages(column(*REWARD), column(*VALUE), column(1.0, 6.0, 4.0), flags(False, True, False), 0.5, 0.8)
    torch.testing.assert_close(result, column(1 + 0.4 * 4, 4.0, 3.0))


def test_environments_do_not_mix():
    columns = [torch.randn(5, 1, generator=torch.Generator().manual_seed(k)) for k in range(6)]
    done = flags(False, True, False, False, False), flags(False, False, False, True, False)
    one, two = (ppo.advantages(*columns[3 * i : 3 * i + 3], done[i], 0.97, 0.95) for i in (0, 1))
    both = ppo.advantages(
        *(torch.cat([columns[i], columns[i + 3]], 1) for i in range(3)), torch.cat(done, 1), 0.97, 0.95
    )
    torch.testing.assert_close(both, torch.cat([one, two], 1))


def test_lambda_one_gives_the_discounted_return_minus_the_value():
    reward, value = column(1.0, 1.0, 1.0), column(0.3, -0.2, 0.9)
    result = ppo.advantages(reward, value, torch.cat([value[1:], column(0.0)]), flags(False, False, True), 0.9, 1.0)
    torch.testing.assert_close(result, column(1 + 0.9 + 0.81, 1 + 0.9, 1.0) - value)


@pytest.mark.parametrize(
    "ratio, advantage, expected, learns",
    [
        (1.0, 2.0, -2.0, True),
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # good and already 20 % likelier: no further
        (0.5, 2.0, -1.0, True),  # good but less likely: pulled back in full
        (0.5, -2.0, 1.6, False),  # bad and already 20 % less likely: no further
        (1.5, -2.0, 3.0, True),  # bad but likelier: pushed away in full
    ],
)
def test_the_surrogate_is_clipped_on_the_side_of_improvement(ratio, advantage, expected, learns):
    old = torch.tensor([-3.0])
    log_prob = (old + math.log(ratio)).requires_grad_()
    loss = ppo.policy_loss(log_prob, old, torch.tensor([advantage]), clip=0.2)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert bool(log_prob.grad.abs() > 0) == learns


def test_losses_have_hand_computed_values():
    assert float(ppo.value_loss(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))) == pytest.approx(0.5 * (1 + 4) / 2)
    mean = torch.tensor([[0.5, -2.5, 3.0], [0.0, 1.0, -2.0]])
    assert float(ppo.bounds_loss(mean, 2.0)) == pytest.approx((0.25 + 1.0) / 2), "summed over actions, a mean over rows"
    assert float(ppo.bounds_loss(mean[:1])) == pytest.approx(1.5**2 + 2.0**2), "the bound is 1 by default"
    assert float(ppo.bounds_loss(mean, 3.0)) == 0


def test_the_surrogate_is_a_mean_over_samples():
    ratio, advantage = torch.tensor([1.0, 1.1, 0.5]), torch.tensor([3.0, -1.0, 2.0])
    loss = ppo.policy_loss(ratio.log() + 7, torch.full((3,), 7.0), advantage, clip=0.2)
    assert float(loss) == pytest.approx(-(3.0 - 1.1 + 1.0) / 3, rel=1e-5)


def test_a_gradient_step_raises_the_probability_of_good_actions_and_lowers_that_of_bad_ones():
    mean, std = torch.zeros(2, 69, requires_grad=True), 0.3
    density = lambda: torch.distributions.Normal(mean, std).log_prob(action).sum(-1)  # noqa: E731
    action = 0.3 * torch.randn(2, 69, generator=torch.Generator().manual_seed(0))
    before = density().detach()
    ppo.policy_loss(density(), before, torch.tensor([1.0, -1.0]), clip=0.2).backward()
    with torch.no_grad():
        mean -= 1e-3 * mean.grad
    good, bad = (density() - before).tolist()
    assert good > 0 > bad


def test_kl_equals_that_of_torch():
    mean, old, std = torch.randn(4, 69), torch.randn(4, 69), torch.tensor(0.3)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(old, std), torch.distributions.Normal(mean, std))
    torch.testing.assert_close(ppo.gaussian_kl(mean, old, std), kl.sum(-1).mean())


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant():
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert float(ppo.explained_variance(returns, returns)) == 1
    assert float(ppo.explained_variance(torch.full((3,), 9.0), returns)) == pytest.approx(0, abs=1e-6)
    assert float(ppo.explained_variance(-returns, returns)) == pytest.approx(1 - 4), "worse than a constant"
    assert math.isfinite(float(ppo.explained_variance(returns, torch.ones(3)))), "constant returns"
