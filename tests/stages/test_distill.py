"""Distillation: the labels are the expert's, and the student comes to give them."""

import pytest
import torch

from physhmr_kit.utils.errors import KitError


def test_labels_ask_for_the_targets_the_expert_would_have_set(build):
    """An expert's action moves the target by half a radian; a label moves it by the student's scale."""
    module = build("distill")
    env = module.env
    obs, _ = env.reset(seed=3)
    residual = module.expert(obs)
    scale = env.pd_targets(torch.ones(4, 69))
    without = env.absolute_label(torch.zeros(4, 69))
    label = module.collector.collect(teacher=module.label).label
    assert label.shape == (4, 4, 69) and label.abs().max() > 0

    env.reset(seed=3)
    module.collector.obs = obs
    first = module.collector.collect(teacher=module.label).label[0]
    torch.testing.assert_close((first - without) * scale, 0.5 * residual, atol=1e-5, rtol=1e-4)


def test_the_student_does_not_read_the_reference(build):
    module = build("distill")
    obs, _ = module.env.reset(seed=0)
    blind = {**obs, "reference": torch.zeros_like(obs["reference"])}
    assert torch.equal(module.policy(obs), module.policy(blind))
    assert not torch.equal(module.expert(obs), module.expert(blind))


def test_the_student_comes_closer_to_the_labels(build, train):
    module = build("distill", updates=40, learning_rate=3e-3)
    first = train(module, 1)
    early = float(first.callback_metrics["loss/imitation"])
    again = build("distill", updates=40, learning_rate=3e-3)
    late = float(train(again, 4).callback_metrics["loss/imitation"])
    assert late < 0.6 * early


def test_the_expert_and_its_normaliser_stay_as_they_are(build, train, weights_of, equal_weights):
    module = build("distill")
    before = weights_of(module.expert)
    train(module, 2)
    assert equal_weights(weights_of(module.expert), before)


def test_only_the_last_rollouts_are_remembered(build, train):
    module = build("distill", memory=2)
    train(module, 2)
    assert len(module.memory) == 2
    assert module.memory.seen.shape == (2, 16, module.policy.norm.mean.numel())
    assert module.memory.label.shape == (2, 16, 69)


def test_a_memory_of_another_size_is_refused(build, train):
    module = build("distill", memory=2)
    train(module, 1)
    saved = module.memory.state_dict()
    build("distill", memory=2).memory.load_state_dict(saved)
    with pytest.raises(KitError, match="another size"):
        build("distill", memory=1).memory.load_state_dict(saved)
    with pytest.raises(KitError, match="memory is 0"):
        build("distill", memory=0)


def test_the_learning_rate_falls_to_a_tenth(build, train):
    module = build("distill", iterations=4, learning_rate=1e-3)
    train(module, 2)
    assert module.samples == 4 * 16
    module._anneal(module.optimizers())
    assert abs(module.optimizers().param_groups[0]["lr"] - 1e-4) < 1e-9
