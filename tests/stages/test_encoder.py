"""The encoder stage: it learns, is reproducible, and resumes an interrupted run."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import roma
import torch
from motions import waving_clip

from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.split import is_held_out
from physhmr_kit.runs.callbacks import LastCheckpoint
from physhmr_kit.stages.data import EncoderDataModule
from physhmr_kit.stages.encoder import EncoderModule, errors, losses
from physhmr_kit.stages.settings import EncoderConfig, EncoderData, EncoderNetwork, EncoderOptimisation
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.filming import Batch, joint_positions
from physhmr_kit.vision.pretrained import load_encoder


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([waving_clip(name=f"clip_{i}") for i in range(8)])


SMALL = EncoderConfig(
    iterations=6,
    validate_every=2,
    data=EncoderData(frames_per_step=64, windows=(16,), validation_windows=2),
    network=EncoderNetwork(width=32, layers=1, heads=2),
    optim=EncoderOptimisation(warmup_iterations=2),
)


def fit(tmp_path, library, config=SMALL, iterations: int | None = None, resume=None, **options):
    """Train an encoder; returns it and its trainer."""
    module = EncoderModule(config)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0)
    options = {"check_val_every_n_epoch": 2} | options
    run = pl.Trainer(
        accelerator="cpu", devices=1, default_root_dir=tmp_path, max_epochs=iterations or config.iterations,
        **(quiet | options),
    )  # fmt: skip
    run.fit(module, datamodule=EncoderDataModule(library, config.data), ckpt_path=resume, weights_only=True)
    return module, run


def weights(module: EncoderModule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.encoder.parameters()])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path, library):
    runs = []
    for seed in (0, 0, 1):
        torch.rand(seed + 1)  # the global generator must not matter
        runs.append(weights(fit(tmp_path, library, replace(SMALL, seed=seed), 4)[0]))
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


@pytest.mark.parametrize("cut", [2, 3])
def test_a_run_killed_at_any_iteration_ends_with_the_weights_of_an_uncut_one(tmp_path, library, cut):
    whole, _ = fit(tmp_path, library)
    first, _ = fit(tmp_path, library, iterations=cut, callbacks=[LastCheckpoint(tmp_path / "cut.ckpt", 1)])
    second, _ = fit(tmp_path, library, resume=tmp_path / "cut.ckpt")
    assert not torch.equal(weights(first), weights(whole))
    assert torch.equal(weights(second), weights(whole))
    assert second.samples == whole.samples == 6 * 64


def test_an_epoch_is_one_optimiser_step(tmp_path, library):
    module, run = fit(tmp_path, library, iterations=3)
    assert run.current_epoch == run.global_step == 3 and module.samples == 3 * 64


def test_the_loss_falls(tmp_path, library):
    config = replace(
        SMALL, data=replace(SMALL.data, frames_per_step=128),
        optim=EncoderOptimisation(learning_rate=3e-3, warmup_iterations=5), iterations=30,
    )  # fmt: skip
    seen = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, *_):
            seen.append(float(trainer.callback_metrics["loss"]))

    fit(tmp_path, library, config, callbacks=[Watch()], limit_val_batches=0)
    assert sum(seen[-5:]) < 0.8 * sum(seen[:5])


def test_validation_reports_held_out_clips_and_says_so(tmp_path, library):
    module, run = fit(tmp_path, library, iterations=2)
    assert 0 < int(module.held_out.sum()) < 8
    for name in ("root_deg", "mpjpe_mm", "pa_mpjpe_mm", "contact_f1"):
        assert torch.isfinite(run.callback_metrics[f"held_out/{name}"])
    config = replace(SMALL, data=replace(SMALL.data, held_out=0))
    everything, _ = fit(tmp_path, library, config, 1, limit_val_batches=0)
    assert everything.trainer.datamodule.validation_name == "seen" and not everything.held_out.any()


def test_held_out_clips_are_never_drawn_for_training(tmp_path, library):
    module, _ = fit(tmp_path, library, iterations=1, limit_val_batches=0)
    drawn = module._draw(~module.held_out, 500, torch.Generator().manual_seed(0))
    assert not module.held_out[drawn].any() and len(set(drawn.tolist())) == int((~module.held_out).sum())


def test_which_clips_are_held_out_depends_on_the_name_alone():
    assert [n for n in ("02_01", "02_04", "02_05", "walk_forward", "turn") if is_held_out(n, 5)] == [
        "02_04",
        "02_05",
        "turn",
    ]
    assert not is_held_out("02_05", 0)


def test_whole_subjects_are_left_out_by_the_beginnings_of_their_names():
    library = MotionLibrary([waving_clip(name=n) for n in ("08_01", "08_02", "10_01")])
    data = EncoderDataModule(library, EncoderData(held_out=0, leave_out=("08_",)))
    assert data.held_out == [True, True, False]


def test_the_uncertainty_is_learnt_as_the_distance_and_does_not_move_the_pose():
    rotmat = roma.random_rotmat((1, 4, 24)).float()
    position = joint_positions(rotmat)
    wrong = position.clone()
    wrong[..., 5, 0] += 0.1
    batch = Batch(
        torch.zeros(1, 4, 61), rotmat, wrong, torch.ones(1, 4, 4), torch.zeros(1, 4, 3), torch.tensor([False])
    )
    pose = rotmat.clone().requires_grad_()
    stated = torch.zeros(1, 4, 24, requires_grad=True)
    out = {"rotmat": pose, "contact": torch.zeros(1, 4, 4), "up": torch.zeros(1, 4, 3), "uncertainty": stated}
    loss = losses(out, batch)["uncertainty"]
    assert float(loss) == pytest.approx(0.1 / 24, rel=1e-3)
    (slope,) = torch.autograd.grad(loss, stated, retain_graph=True)
    assert (slope[..., 5] < 0).all()  # a larger uncertainty lowers the loss
    assert torch.autograd.grad(loss, pose, allow_unused=True)[0] is None


def test_holding_out_everything_is_refused():
    with pytest.raises(KitError, match="held out"):
        EncoderDataModule(MotionLibrary([waving_clip(name="02_05")]), EncoderData(held_out=5))


def test_ground_truth_has_no_loss_and_no_error():
    rotmat = roma.random_rotmat((2, 5, 24)).float()
    batch = Batch(
        torch.zeros(2, 5, 61), rotmat, joint_positions(rotmat), torch.ones(2, 5, 4),
        torch.tensor([0.0, 0.0, 1.0]).expand(2, 5, 3), torch.tensor([True, False]),
    )  # fmt: skip
    out = {
        "rotmat": rotmat, "contact": torch.full((2, 5, 4), 30.0), "up": batch.up.clone(), "uncertainty": torch.zeros(2, 5, 24),
    }  # fmt: skip
    assert all(float(v) < 1e-5 for v in losses(out, batch).values())
    assert all(float(v.abs().max()) < 0.1 for v in errors(out, batch).values())
    out["up"][1] = torch.tensor([1.0, 0.0, 0.0])  # not counted where the camera is known
    assert float(losses(out, batch)["up"]) == 0.0
    out["up"][0] = torch.tensor([1.0, 0.0, 0.0])
    assert float(losses(out, batch)["up"]) == pytest.approx(1.0)


def test_training_can_start_from_an_encoder(tmp_path, library):
    start = EncoderModule(replace(SMALL, seed=3))
    path = start.export(tmp_path / "encoder.safetensors")
    config = replace(SMALL, network=EncoderNetwork(init=str(path)))
    torch.testing.assert_close(weights(EncoderModule(config)), weights(start), atol=1e-3, rtol=0)
    module, _ = fit(tmp_path, library, config, 2)
    assert not torch.allclose(weights(module), weights(start), atol=1e-3)


def test_an_exported_encoder_can_be_loaded(tmp_path):
    module = EncoderModule(SMALL)
    encoder = load_encoder(module.export(tmp_path / "encoder.safetensors", iterations="0"))
    torch.testing.assert_close(encoder.embed.weight, module.encoder.embed.weight.detach(), atol=1e-3, rtol=0)


def test_an_encoder_can_be_loaded_from_a_checkpoint(tmp_path, library):
    module, _ = fit(tmp_path, library, iterations=1, callbacks=[LastCheckpoint(tmp_path / "last.ckpt", 1)])
    loaded = EncoderModule.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(weights(loaded), weights(module)) and loaded.config == SMALL
