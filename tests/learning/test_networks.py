"""The normaliser against NumPy, the policy against torch's own Gaussian."""

import numpy as np
import pytest
import torch

from physhmr_kit.learning import Critic, Policy, RunningNorm
from physhmr_kit.learning.networks import mean_policy, widened
from physhmr_kit.utils.errors import KitError

GROUPS = ("ray_confidence", "root_orientation")  # 12 + 6


def observation(count: int = 7) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "root_orientation": torch.randn(count, 6, generator=draw),
        "ray_confidence": torch.randn(count, 12, generator=draw),
    }


def test_statistics_of_batches_are_those_of_all_rows_together():
    draw = torch.Generator().manual_seed(0)
    batches = [3 * torch.randn(n, 4, generator=draw) + k for k, n in enumerate((5, 1, 64, 300))]
    norm = RunningNorm(4)
    for batch in batches:
        norm.update(batch)
    rows = np.concatenate([b.numpy() for b in batches])
    np.testing.assert_allclose(norm.mean, rows.mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm.var, rows.var(0), rtol=1e-4)
    assert norm.count == 370


def test_a_rollout_counts_every_step_of_every_environment():
    rows = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(2))
    folded, flat = RunningNorm(4), RunningNorm(4)
    folded.update(rows)
    flat.update(rows.flatten(0, 1))
    assert torch.equal(folded.mean, flat.mean) and folded.count == 24


def test_normalised_rows_are_standard_and_clipped():
    norm = RunningNorm(2)
    rows = torch.randn(5000, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.5, 40.0]) + torch.tensor(
        [9.0, -3.0]
    )
    norm.update(rows)
    out = norm(rows)
    torch.testing.assert_close(out.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std(0), torch.ones(2), atol=0.01, rtol=0)
    assert norm(torch.tensor([[1e6, -1e6]])).tolist() == [[5.0, -5.0]]


def test_looking_through_the_normaliser_does_not_change_it():
    norm = RunningNorm(3)
    norm.update(torch.randn(10, 3))
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    norm(torch.randn(100, 3))
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())


def test_log_probability_is_torchs_own():
    policy = Policy(GROUPS, (8,), std=0.3)
    mean, action = torch.randn(7, 69), torch.randn(7, 69)
    expected = torch.distributions.Normal(mean, 0.3).log_prob(action).sum(-1)
    torch.testing.assert_close(policy.log_prob(mean, action), expected)


def test_actions_are_spread_around_the_mean_by_std():
    policy = Policy(GROUPS, (8,), std=0.3)
    mean = torch.full((2000, 69), 1.5)
    actions = policy.sample(mean, torch.Generator().manual_seed(0))
    assert float(actions.mean()) == pytest.approx(1.5, abs=0.005) and float(actions.std()) == pytest.approx(
        0.3, rel=0.01
    )
    assert torch.equal(actions, policy.sample(mean, torch.Generator().manual_seed(0)))


def test_groups_are_read_in_the_order_of_the_policy():
    obs = observation()
    assert torch.equal(
        Policy(GROUPS, (8,)).flatten(obs), torch.cat([obs["ray_confidence"], obs["root_orientation"]], -1)
    )
    assert torch.equal(Policy(GROUPS[::-1], (8,)).flatten(obs)[:, :6], obs["root_orientation"])


def test_a_fresh_policy_begins_close_to_no_action():
    torch.manual_seed(0)
    assert Policy(GROUPS, (64, 64))(observation()).abs().max() < 0.2


def test_a_group_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="feature"):
        Policy(("feature",), (8,))(observation())


def test_the_critic_gives_one_value_for_each_row():
    critic = Critic(GROUPS, (8,))
    assert critic(critic.flatten(observation())).shape == (7,)


def test_a_widened_policy_answers_as_before_and_learns_with_its_new_units():
    torch.manual_seed(0)
    policy = Policy(("rays", "ray_confidence"), (8, 4), 0.1)
    policy.net[-1].weight.data.normal_()
    policy.norm.update(torch.randn(50, 48))
    wide = widened(policy, (16, 8))
    seen = torch.randn(5, 48)
    assert torch.allclose(wide.mean(seen), policy.mean(seen), atol=1e-6)
    assert wide.hidden == (16, 8) and float(wide.std) == float(policy.std)
    wide.mean(seen).square().sum().backward()
    assert (wide.net[-1].weight.grad[:, 4:] != 0).any()


@pytest.mark.parametrize("hidden", [(8,), (4, 4), (8, 4, 2)])
def test_layers_can_only_be_widened(hidden):
    with pytest.raises(KitError, match="widened"):
        widened(Policy(("rays",), (8, 4), 0.1), hidden)


def test_the_mean_of_policies_has_the_mean_of_their_weights_and_statistics():
    policies = [Policy(GROUPS, (8,)) for _ in range(3)]
    for k, policy in enumerate(policies):
        policy.norm.update(torch.randn(10 * (k + 1), 18) + k)
    mean = mean_policy(policies)
    for name, value in mean.state_dict().items():
        expected = torch.stack([p.state_dict()[name].double() for p in policies]).mean(0)
        torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(mean_policy(policies[:1])(observation()), policies[0](observation()))


@pytest.mark.parametrize("other", [{"hidden": (9,)}, {"control": "balanced"}, {"groups": GROUPS[:1]}])
def test_policies_of_different_kinds_have_no_mean(other):
    with pytest.raises(KitError, match="one kind"):
        mean_policy([Policy(GROUPS, (8,)), Policy(**({"groups": GROUPS, "hidden": (8,)} | other))])
