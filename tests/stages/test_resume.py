"""Runs repeat themselves, and a run that was cut off ends where it would have ended."""

import numpy as np
import pytest
import torch

from physhmr_kit.utils.errors import KitError

STAGES = ("expert", "supertrack", "samcon", "merge", "distill", "finetune")
WITH_STYLE = {"style": 0.5, "style_window": 3, "style_hidden": (16,)}
WITH_RETRIES = {"retry_share": 1.0, "persistence": 0.5, "termination_distance": 0.03}
RUNS = [pytest.param(stage, {}, id=stage) for stage in STAGES] + [pytest.param("expert", WITH_STYLE, id="expert-style")]
RUNS += [pytest.param("expert", WITH_RETRIES, id="expert-retries")]


@pytest.mark.parametrize("stage, settings", RUNS)
def test_the_same_settings_and_seed_give_the_same_weights_and_another_seed_does_not(
    stage, settings, build, train, weights_of, equal_weights
):
    ends = []
    for seed in (0, 0, 1):
        torch.rand(seed + 3)  # the state of the global generator must not matter
        module = build(stage, seed=seed, **settings)
        fresh = weights_of(module)
        train(module, 1)
        ends.append(weights_of(module))
        assert not equal_weights(ends[-1], fresh), "it learned something"
    assert equal_weights(ends[0], ends[1])
    assert not equal_weights(ends[0], ends[2])


@pytest.mark.parametrize("stage, settings", RUNS)
def test_a_run_cut_off_between_epochs_ends_with_the_weights_of_an_uncut_one(
    stage, settings, build, train, weights_of, equal_weights, tmp_path
):
    whole = build(stage, **settings)
    train(whole, 3)

    first = build(stage, **settings)
    train(first, 1, checkpoint=tmp_path / "cut.ckpt")
    second = build(stage, **settings)
    torch.rand(17)
    np.random.rand(3)  # noqa: NPY002
    train(second, 3, resume=tmp_path / "cut.ckpt")

    assert not equal_weights(weights_of(first), weights_of(whole))
    assert equal_weights(weights_of(second), weights_of(whole))
    assert second.samples == whole.samples
    assert torch.equal(second.env.frame_ids, whole.env.frame_ids)
    assert torch.equal(second.env.sampler.failure, whole.env.sampler.failure)
    before = torch.load(tmp_path / "cut.ckpt", weights_only=True)["physhmr_kit"]["seconds"]
    assert second._seconds_before == before > 0, "earlier sessions count"
    assert second.seconds > before


@pytest.mark.parametrize("stage, settings", RUNS)
def test_a_checkpoint_holds_nothing_but_data(stage, settings, build, train, tmp_path):
    module = build(stage, **settings)
    train(module, 1, checkpoint=tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert checkpoint["physhmr_kit"]["samples"] == module.samples > 0
    for name, value in module.policy.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][f"policy.{name}"], value)


def test_an_expert_run_from_before_controls_is_refused_and_not_taken_for_a_balanced_one(build, train):
    module = build("expert")
    train(module, 1)
    state = module.extra_state()
    del state["noise"]
    with pytest.raises(KitError, match="before --control"):
        module.load_extra_state(state)
