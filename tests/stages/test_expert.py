"""The expert's loop: its counters, its environment, how its learning rate follows the KL divergence."""

import pytest
import torch
from small_stages import with_settings

from physhmr_kit.env.settings import EXPERT_GROUPS
from physhmr_kit.learning import Policy, save_policy
from physhmr_kit.stages.build import build_stage
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import ExpertConfig, ExpertPolicy, MotionData, MotionPrior, Simulation


def test_an_epoch_is_an_iteration_and_a_step_is_an_update(build, train):
    module = build("expert")
    trainer = train(module, 3)  # of four environments, four steps, two passes in two minibatches
    assert trainer.current_epoch == 3 and trainer.global_step == 3 * 4
    assert module.samples == 3 * 16 == float(trainer.callback_metrics["samples"])
    for name in ("reward", "failed", "explained_variance", "loss/policy", "loss/value", "loss/kl", "reward/position"):
        assert torch.isfinite(trainer.callback_metrics[name]), name


def test_the_environment_is_closed_when_the_fit_ends(build, train):
    module = build("expert")
    closed = []
    make = module.make_collector

    def watched():
        make()
        close = module.env.close
        module.env.close = lambda: (closed.append(True), close())

    module.make_collector = watched
    train(module, 1)
    assert closed and module._env is None


def test_the_learning_rate_follows_the_size_of_the_update(build, train):
    module = build("expert", desired_kl=0.06, learning_rate=2e-4)
    trainer = train(module, 1)
    actor, critic = trainer.optimizers[0].param_groups
    for kl, factor in ((0.2, 1 / 1.5), (0.01, 1.5), (0.06, 1.0)):
        before = actor["lr"]
        module.adapt_learning_rate(kl)
        assert actor["lr"] == pytest.approx(before * factor)
        assert critic["lr"] == module.config.ppo.critic_learning_rate
    for kl, bound in ((10.0, 1e-5), (0.0, 2e-3)):
        for _ in range(40):
            module.adapt_learning_rate(kl)
        assert actor["lr"] == bound
    module.config = with_settings(module.config, desired_kl=None)
    module.adapt_learning_rate(10.0)
    assert actor["lr"] == bound, "constant without a desired KL divergence"


def test_the_learning_rate_is_adapted_after_every_pass(build, train, monkeypatch):
    module, seen = build("expert", epochs=3), []
    module.adapt_learning_rate = seen.append
    train(module, 2)
    assert len(seen) == 2 * 3 and all(kl >= 0 for kl in seen) and max(seen) > 0


def test_the_desired_kl_divergence_can_fall_in_the_last_part_of_a_run(build, train):
    seen = []
    module = build("expert", iterations=10, desired_kl=0.1, final_desired_kl=0.02)
    module.adapt_learning_rate = lambda kl: seen.append(module.desired_kl)
    train(module, 10)
    wanted = seen[::2]
    assert wanted[:5] == [0.1] * 5 and wanted[7] == pytest.approx(0.06) and wanted[9] < 0.04
    assert build("expert", desired_kl=0.1).desired_kl == 0.1


def test_lower_matmul_precision_is_limited_to_acting_and_updates(build, train):
    module = build("expert", matmul_precision="medium")
    during, step = [], module.training_step
    module.training_step = lambda *given: (during.append(torch.get_float32_matmul_precision()), step(*given))[1]
    train(module, 1)
    assert set(during) == {"medium"} and torch.get_float32_matmul_precision() == "highest"


def test_an_expert_with_a_preview_reads_it(build, train):
    module = build("expert", preview=True)
    assert module.policy.groups == EXPERT_GROUPS == module.training_episode.groups
    before = module.policy.net[0].weight[:, -81:].clone()
    train(module, 1)
    assert not torch.equal(before, module.policy.net[0].weight[:, -81:])


def test_an_initial_policy_gets_the_standard_deviation_of_the_settings(tmp_path):
    policy = Policy(EXPERT_GROUPS, (16,), 0.05)
    file = save_policy(policy, tmp_path / "w.safetensors", "expert")
    config = ExpertConfig(
        data=MotionData(clips=("demo:stand",)), sim=Simulation(num_envs=2), policy=ExpertPolicy(init=str(file), std=0.1)
    )
    module, _ = build_stage(config)
    assert module.policy.hidden == (16,) and module.critic.net[0].out_features == 16
    assert float(module.policy.std) == pytest.approx(0.1)
    seen = torch.randn(3, policy.norm.mean.numel())
    assert torch.allclose(module.policy.mean(seen), policy.mean(seen), atol=1e-5)


def test_an_expert_can_be_loaded_from_a_checkpoint_without_its_data(build, train, tmp_path):
    module = build("expert")
    train(module, 2, checkpoint=tmp_path / "run.ckpt")
    loaded = ExpertModule.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert loaded.config == module.config
    for name, value in module.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value), "the averaged weights"


# The adversarial motion prior


def test_a_motion_prior_changes_the_policy_and_logs_its_metrics(build, train):
    styled = build("expert", prior=MotionPrior(weight=0.5, window=3, discriminator_hidden=(16,)))
    plain = build("expert")
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(value, styled.policy.state_dict()[name]), "both start alike"
    judge = styled.discriminator.net[0].weight.clone()
    train(plain, 2)
    trainer = train(styled, 3)
    assert not torch.equal(plain.policy.net[0].weight, styled.policy.net[0].weight)
    assert not torch.equal(styled.discriminator.net[0].weight, judge)
    for name in ("reward", "loss", "gradient_penalty", "accuracy_real", "accuracy_agent"):
        assert torch.isfinite(trainer.callback_metrics[f"style/{name}"]), name
    # the tracking reward is logged without the style reward, so that runs can be compared
    assert 0 < float(trainer.callback_metrics["reward"]) < 1


def test_the_optimiser_of_the_policy_leaves_the_discriminator_alone(build):
    module = build("expert", prior=MotionPrior(weight=0.5, window=3, discriminator_hidden=(16,)))
    trained = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert not trained & {id(p) for p in module.discriminator.parameters()}
    assert not any(p.requires_grad for p in module.discriminator.parameters())


def test_style_alone_can_be_learned_from(build, train):
    module = build("expert", prior=MotionPrior(weight=1.0, window=2, discriminator_hidden=(16,)))
    before = module.policy.net[0].weight.clone()
    train(module, 1)
    assert not torch.equal(module.policy.net[0].weight, before)
