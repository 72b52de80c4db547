"""The expert's loop: what it counts, what it normalises, how its learning rate follows the KL divergence."""

import pytest
import torch

from physhmr_kit.learning import Policy, save_policy
from physhmr_kit.stages.build import build_module
from physhmr_kit.stages.settings import EXPERT_GROUPS, ExpertConfig


def test_every_iteration_counts_its_samples(build, train):
    module = build("expert")
    trainer = train(module, 2)  # two epochs of two iterations, four environments, four steps
    assert module.samples == 4 * 4 * 4
    assert float(trainer.callback_metrics["samples"]) == module.samples
    for name in ("reward", "failed", "explained_variance", "loss/policy", "loss/value", "reward/position"):
        assert torch.isfinite(trainer.callback_metrics[name]), name


def test_the_normaliser_has_seen_a_rollout_before_anything_is_learned(build, train):
    module = build("expert")
    train(module, 1)
    # one rollout to warm up, then one for each of two iterations, 16 rows each
    assert module.policy.norm.count == module.critic.norm.count == 48


def test_the_learning_rate_follows_the_size_of_the_update(build, train):
    module = build("expert", kl=0.06, learning_rate=2e-4)
    train(module, 1)
    for kl, factor in ((0.2, 1 / 1.5), (0.01, 1.5), (0.06, 1.0)):
        before = module.learning_rate
        module._follow_kl(kl)
        assert module.learning_rate == pytest.approx(before * factor)
        assert module.optimizers().param_groups[0]["lr"] == module.learning_rate
        assert module.optimizers().param_groups[1]["lr"] == module.config.critic_rate
    for kl, bound in ((10.0, 1e-5), (0.0, 2e-3)):
        for _ in range(40):
            module._follow_kl(kl)
        assert module.learning_rate == bound


def test_less_precise_products_are_for_the_update_alone(build, train):
    module = build("expert", matmul="medium")
    during, update = [], module._update
    module._update = lambda *given: (during.append(torch.get_float32_matmul_precision()), update(*given))[1]
    train(module, 1)
    assert set(during) == {"medium"} and torch.get_float32_matmul_precision() == "highest"


def test_with_no_kl_wanted_the_learning_rate_stays(build, train):
    module = build("expert", kl=0.0, learning_rate=3e-4)
    train(module, 1)
    assert module.optimizers().param_groups[0]["lr"] == 3e-4


def test_the_critic_learns_the_value_of_a_rollout(build, train):
    """Many passes over the same rollout: the value loss must fall."""
    module = build("expert", epochs=1, num_envs=4)
    trainer = train(module, 1)
    few = float(trainer.callback_metrics["loss/value"])
    module = build("expert", epochs=30, num_envs=4, learning_rate=1e-5, kl=0.0)
    trainer = train(module, 1)
    assert float(trainer.callback_metrics["loss/value"]) < 0.7 * few


def test_a_motion_prior_changes_what_is_learned_and_says_how_it_fares(build, train):
    plain, styled = build("expert"), build("expert", style=0.5, style_window=3, style_hidden=(16,))
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(value, styled.policy.state_dict()[name]), "both begin alike"
    judge = styled.prior.discriminator.net[0].weight.clone()
    train(plain, 2)
    trainer = train(styled, 2)
    assert not torch.equal(plain.policy.net[0].weight, styled.policy.net[0].weight)
    assert not torch.equal(styled.prior.discriminator.net[0].weight, judge)
    for name in ("reward", "loss", "gradient_penalty", "accuracy_real", "accuracy_agent"):
        assert torch.isfinite(trainer.callback_metrics[f"style/{name}"]), name
    # the task's reward is told apart from the style's, so that runs can be compared
    assert 0 < float(trainer.callback_metrics["reward"]) < 1


def test_style_alone_can_be_learned_from(build, train):
    module = build("expert", style=1.0, style_window=2, style_hidden=(16,))
    before = module.policy.net[0].weight.clone()
    train(module, 1)
    assert not torch.equal(module.policy.net[0].weight, before)


def test_without_a_motion_prior_nothing_of_it_is_computed(build, train, monkeypatch):
    def refuse(*_):
        raise AssertionError("nobody asked for it")

    for name in ("style_observation", "reference_windows"):
        monkeypatch.setattr(f"physhmr_kit.learning.style.{name}", refuse)
    module = build("expert")
    train(module, 1)
    assert module.prior is None and module.collector.watch is None
    assert not any(k.startswith("prior") for k in module.state_dict())
    assert not any(k.startswith("style") for k in module.trainer.callback_metrics)


def test_episodes_end_nearer_and_nearer_to_the_reference_under_a_curriculum(build, train):
    config = build("expert", termination_start=0.5, termination_distance=0.25, curriculum=64).config
    assert [config.allowed_distance(n) for n in (0, 32, 64, 1000)] == [0.5, 0.375, 0.25, 0.25]
    assert build("expert").config.allowed_distance(0) == 0.25
    module = build("expert", termination_start=0.5, termination_distance=0.25, curriculum=64)
    train(module, 1)  # two iterations of 16 samples; the second began after the first's
    assert module.env.config.termination_distance == pytest.approx(0.5 - 0.25 * 16 / 64)


def test_updates_become_smaller_in_the_last_part_of_a_run_if_asked_to(build):
    config = build("expert", kl=0.1, kl_end=0.02, iterations=10, num_envs=4, horizon=5).config
    assert [round(config.wanted_kl(n), 3) for n in (0, 80, 140, 200, 1000)] == [0.1, 0.1, 0.06, 0.02, 0.02]
    assert build("expert", kl=0.1).config.wanted_kl(10**9) == 0.1


def test_a_policy_that_tells_left_from_right_pays_for_it(build, train):
    from physhmr_kit.env.mirror import action_map, mirrored, observation_map

    module = build("expert", symmetry=1.0, preview=True)
    seen = torch.randn(8, len(module.policy.norm.mean))
    net = module.policy.net
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        assert module._asymmetry(seen, net(seen)) > 0.01
        one_sided = net(seen)
        image = mirrored(net(mirrored(seen, *observation_map(module.policy.groups))), *action_map())
        both = (one_sided + image) / 2  # what a symmetric policy would say
        half = module._asymmetry(seen, both)
    torch.testing.assert_close(half, ((image - one_sided) / 2)[::2].square().mean())


def test_the_loss_on_asymmetry_makes_the_policy_more_symmetric(build, train):
    left = {}
    for weight in (0.0, 100.0):
        module = build("expert", symmetry=weight, preview=True, epochs=20, kl=0.0, learning_rate=1e-3)
        train(module, 2)
        seen = torch.randn(64, len(module.policy.norm.mean), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            left[weight] = float(module._asymmetry(seen, module.policy.net(seen)))
    assert left[100.0] < 0.5 * left[0.0]


def test_under_symmetry_the_normaliser_does_not_tell_left_from_right_either(build, train):
    from physhmr_kit.env.mirror import mirrored, observation_map

    module = build("expert", symmetry=1.0, preview=True)
    train(module, 1)
    norm, (places, signs) = module.policy.norm, observation_map(module.policy.groups)
    torch.testing.assert_close(norm.mean, mirrored(norm.mean, places, signs), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(norm.var, mirrored(norm.var, places, torch.ones_like(signs)))


def test_an_expert_with_a_preview_reads_it(build, train):
    module = build("expert", preview=True)
    assert module.policy.groups == ("proprioception", "reference", "preview") == module.env.config.groups
    before = module.policy.net[0].weight[:, -81:].clone()
    train(module, 1)
    assert not torch.equal(before, module.policy.net[0].weight[:, -81:])


def test_a_policy_to_begin_from_takes_the_widths_and_the_spread_asked_for(tmp_path):
    policy = Policy(EXPERT_GROUPS, (16,), 0.05)
    file = save_policy(policy, tmp_path / "w.safetensors", "expert")
    config = ExpertConfig(clips=("demo:stand",), num_envs=2, horizon=2, init=str(file), hidden=(24,), std=0.1)
    module = build_module(config)
    assert module.policy.hidden == (24,) and float(module.policy.std) == pytest.approx(0.1)
    seen = torch.randn(3, policy.norm.mean.numel())
    assert torch.allclose(module.policy.mean(seen), policy.mean(seen), atol=1e-5)
    module.env.close()
