"""Runs repeat themselves, and a run that was killed ends where it would have ended."""

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Timer

from physhmr_kit.stages.settings import MotionPrior
from physhmr_kit.utils.errors import KitError

WITH_PRIOR = {"prior": MotionPrior(weight=0.5, window=3, discriminator_hidden=(16,))}
RUNS = [
    *(pytest.param(stage, {}, id=stage) for stage in ("expert", "distill", "finetune")),
    pytest.param("expert", WITH_PRIOR, id="expert-with-prior"),
    pytest.param("expert", {"env": None}, id="expert-pushed"),
]


@pytest.fixture
def made(build):
    def make(stage, settings, **more):
        if settings == {"env": None}:
            from physhmr_kit.env.settings import EpisodeConfig

            settings = {"env": EpisodeConfig(push_force=200.0, push_interval=5, termination_distance=0.05)}
        return build(stage, **settings, **more)

    return make


@pytest.mark.parametrize("stage, settings", RUNS)
def test_a_run_killed_after_a_checkpoint_ends_with_the_weights_of_an_uncut_one_and_another_seed_does_not(
    stage, settings, made, train, weights_of, equal_weights, tmp_path
):
    whole, other = made(stage, settings), made(stage, settings, seed=1)
    fresh = weights_of(whole)
    train(whole, 4)
    train(other, 4)

    first = made(stage, settings)
    torch.rand(3)  # the state of the global generator must not matter
    train(first, 2, checkpoint=tmp_path / "cut.ckpt", callbacks=[Timer(interval="epoch")])
    second = made(stage, settings)
    torch.rand(17)
    np.random.rand(3)  # noqa: NPY002
    trainer = train(second, 4, resume=tmp_path / "cut.ckpt", callbacks=[Timer(interval="epoch")])

    ends = [weights_of(module) for module in (second, first, other)]
    assert equal_weights(ends[0], weights_of(whole))
    assert not any(equal_weights(end, weights_of(whole)) for end in ends[1:])
    assert not any(equal_weights(end, fresh) for end in ends), "they learned something"
    assert second.samples == whole.samples and trainer.current_epoch == 4

    checkpoint = torch.load(tmp_path / "cut.ckpt", weights_only=True)  # it holds nothing but data
    assert second.seconds > checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] > 0, "earlier sessions count"
    assert checkpoint["physhmr_kit"]["samples"] == first.samples > 0
    for name, value in first.policy.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][f"policy.{name}"], value)


def test_a_checkpoint_of_another_version_is_refused(build, train, tmp_path):
    train(build("expert"), 1, checkpoint=tmp_path / "run.ckpt")
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    checkpoint["physhmr_kit"] = {"stage": {}, "samples": 5}
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(KitError, match="another version of the kit"):
        train(build("expert"), 2, resume=tmp_path / "old.ckpt")


def test_validations_do_not_disturb_training(build, train, weights_of, equal_weights):
    plain, watched = build("expert"), build("expert")
    train(plain, 3)
    train(watched, 3, limit_val_batches=None, num_sanity_val_steps=0)
    assert watched.scores and equal_weights(weights_of(plain), weights_of(watched))
