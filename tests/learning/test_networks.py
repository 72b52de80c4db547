"""The normaliser against NumPy, the policy against torch's Normal."""

import numpy as np
import pytest
import torch

from physhmr_kit.learning import Critic, Policy, RunningNorm
from physhmr_kit.learning.networks import mlp
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.utils.errors import KitError

GROUPS = ("ray_confidence", "root_orientation")  # 12 + 6


def observation(count: int = 7) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "root_orientation": torch.randn(count, 6, generator=draw),
        "ray_confidence": torch.randn(count, 12, generator=draw),
    }


def test_running_statistics_equal_those_of_all_rows():
    draw = torch.Generator().manual_seed(0)
    batches = [3 * torch.randn(n, 4, generator=draw) + k for k, n in enumerate((5, 1, 64, 300))]
    norm = RunningNorm(4)
    for batch in batches:
        norm.update(batch)
    rows = np.concatenate([b.numpy() for b in batches])
    np.testing.assert_allclose(norm.mean, rows.mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm.var, rows.var(0), rtol=1e-4)
    assert norm.count == 370


def test_leading_dimensions_are_flattened():
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


def test_a_constant_input_is_normalised_to_zero():
    norm = RunningNorm(2)
    norm.update(torch.full((10, 2), 3.0))
    assert norm(torch.full((1, 2), 3.0)).tolist() == [[0.0, 0.0]]
    torch.testing.assert_close(
        norm(torch.full((1, 2), 3.01)), torch.ones(1, 2), atol=0, rtol=1e-3
    )  # 0.01 is the least spread


def test_normalising_does_not_change_the_statistics():
    norm = RunningNorm(3)
    norm.update(torch.randn(10, 3))
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    norm(torch.randn(100, 3))
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())


def test_log_prob_equals_that_of_torch():
    policy = Policy(GROUPS, (8,), std=0.3)
    mean, action = torch.randn(7, 69), torch.randn(7, 69)
    expected = torch.distributions.Normal(mean, 0.3).log_prob(action).sum(-1)
    torch.testing.assert_close(policy.log_prob(mean, action), expected)


def test_sampled_actions_have_the_mean_and_std():
    policy = Policy(GROUPS, (8,), std=0.3)
    mean = torch.full((2000, 69), 1.5)
    actions = policy.sample(mean, torch.Generator().manual_seed(0))
    assert float(actions.mean()) == pytest.approx(1.5, abs=0.005) and float(actions.std()) == pytest.approx(
        0.3, rel=0.01
    )
    assert torch.equal(actions, policy.sample(mean, torch.Generator().manual_seed(0)))


def test_groups_are_concatenated_in_the_order_of_the_policy():
    obs = observation()
    assert torch.equal(
        Policy(GROUPS, (8,)).flatten(obs), torch.cat([obs["ray_confidence"], obs["root_orientation"]], -1)
    )
    assert torch.equal(Policy(GROUPS[::-1], (8,)).flatten(obs)[:, :6], obs["root_orientation"])


def test_a_new_policy_has_small_actions():
    torch.manual_seed(0)
    assert Policy(GROUPS, (64, 64))(observation()).abs().max() < 0.2


def test_layers_are_orthogonal_without_bias_and_the_last_one_scaled():
    net = mlp([6, 5, 4, 3], last_gain=0.01)
    assert [type(layer).__name__ for layer in net] == ["Linear", "SiLU", "Linear", "SiLU", "Linear"]
    for layer, gain in zip(net[::2], (2**0.5, 2**0.5, 0.01), strict=True):
        width = len(layer.weight)
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain**2 * torch.eye(width), atol=1e-5, rtol=1e-5)
        assert not layer.bias.any()


def test_the_last_layer_of_a_new_critic_is_not_scaled():
    last = Critic(GROUPS, (8,)).net[-1]
    assert float(last.weight.detach().norm()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("network", [Policy(GROUPS, (8,)), Critic(GROUPS, (8,))])
def test_networks_normalise_their_input(network):
    rows = 20 * torch.randn(50, 18) + 7
    network.norm.update(rows)
    answer = network.mean(rows) if isinstance(network, Policy) else network(rows)
    torch.testing.assert_close(answer.view(50, -1), network.net(network.norm(rows)))
    assert not torch.allclose(answer.view(50, -1), network.net(rows))


def test_forward_returns_the_mean_action():
    policy = Policy(GROUPS, (8,))
    assert torch.equal(policy(observation()), policy.mean(policy.flatten(observation())))
    assert (policy.hidden, policy.control, float(policy.std)) == ((8,), "residual", pytest.approx(0.1))


@pytest.mark.parametrize("level", ["high", "medium"])
def test_the_precision_is_restored_even_after_an_error(level):
    with matmul_precision(level):
        assert torch.get_float32_matmul_precision() == level
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ZeroDivisionError), matmul_precision(level):
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == "highest"


def test_an_unknown_precision_is_refused():
    with (
        pytest.raises(KitError, match="matmul is 'rough'; choose one of: highest, high, medium"),
        matmul_precision("rough"),
    ):
        pass


def test_the_critic_returns_one_value_per_row():
    critic = Critic(GROUPS, (8,))
    assert critic(critic.flatten(observation())).shape == (7,)


def test_a_policy_can_read_other_groups_of_the_same_layout():
    policy = Policy(("proprioception", "reference"), (16,), 0.1, "balanced")
    other = policy.reading(("proprioception", "estimate"))
    flat = torch.randn(5, 934)
    assert torch.equal(policy.mean(flat), other.mean(flat)) and other.control == "balanced"
    assert other.groups == ("proprioception", "estimate")
    with pytest.raises(ValueError, match="widths differ"):
        policy.reading(("proprioception", "preview"))


def test_a_widened_policy_acts_the_same_and_learns_from_the_new_inputs():
    policy = Policy(("proprioception", "reference"), (16,), 0.1, "balanced")
    policy.norm.update(3 * torch.randn(300_000 // 100, 934) + 1)
    policy.norm.count.fill_(1e9)
    wide = policy.widened(("rays", "feature"))
    obs = {
        "proprioception": torch.randn(5, 358),
        "reference": torch.randn(5, 576),
        "rays": torch.randn(5, 36),
        "feature": torch.randn(5, 512),
    }
    torch.testing.assert_close(wide(obs), policy(obs))
    assert wide.groups == ("proprioception", "reference", "rays", "feature") and float(wide.norm.count) == 1e5
    wide(obs).sum().backward()
    assert wide.net[0].weight.grad[:, 934:].abs().max() > 0
