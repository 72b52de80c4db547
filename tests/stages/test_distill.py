"""Distillation: the labels are the expert's, and the student comes to give them."""

import pytest
import torch

from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.utils.errors import KitError


def test_labels_result_in_the_targets_of_the_expert(opened):
    """An expert's action moves the target by half a radian; a label moves it by the student's scale."""
    module = opened("distill")
    env = module.env
    obs, _ = env.reset(seed=3)
    residual = module.teacher(obs)
    scale = env.pd_targets(torch.ones(4, 69))
    without = env.label(torch.zeros(4, 69))
    label = module.collector.collect(teacher=module.label).label
    assert label.shape == (4, 4, 69) and label.abs().max() > 0

    env.reset(seed=3)
    module.collector.obs = obs
    first = module.collector.collect(teacher=module.label).label[0]
    torch.testing.assert_close((first - without) * scale, 0.5 * residual, atol=1e-5, rtol=1e-4)


def test_the_student_does_not_read_the_reference(opened):
    module = opened("distill")
    obs, _ = module.env.reset(seed=0)
    blind = {**obs, "reference": torch.zeros_like(obs["reference"])}
    assert torch.equal(module.policy(obs), module.policy(blind))
    assert not torch.equal(module.teacher(obs), module.teacher(blind))


def test_the_expert_and_its_normaliser_do_not_change(build, train, weights_of, equal_weights):
    module = build("distill")
    before = weights_of(module.teacher)
    train(module, 2)
    assert equal_weights(weights_of(module.teacher), before)
    assert not any("teacher" in name for name in module.state_dict()), "it is not saved with the student"


def test_a_run_with_another_buffer_is_refused(opened):
    module = opened("distill", buffer_rollouts=2)
    list(module.minibatches())
    saved = module.extra_state()
    opened("distill", buffer_rollouts=2).load_extra_state(saved)
    with pytest.raises(KitError, match="another size"):
        opened("distill", buffer_rollouts=1, horizon=2).load_extra_state(saved)


def test_a_student_can_be_loaded_from_a_checkpoint_without_its_teacher(
    build, train, tmp_path, weights_of, equal_weights
):
    module = build("distill")
    train(module, 1, checkpoint=tmp_path / "run.ckpt")
    loaded = DistillModule.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert equal_weights(weights_of(loaded), weights_of(module)) and loaded.config == module.config
    with pytest.raises(KitError, match="needs an expert"):
        _ = loaded.teacher
