"""`ClipEvaluation`: the weights that follow the clips best are kept."""

import pytest
import pytorch_lightning as pl
import torch

from physhmr_kit.learning import load_policy, read_weights
from physhmr_kit.stages.watch import ClipEvaluation


@pytest.mark.parametrize("stage", ["expert", "distill"])
def test_every_so_often_all_clips_are_followed_and_the_best_weights_kept(stage, build, tmp_path, capsys):
    module = build(stage)
    watch = ClipEvaluation(2, tmp_path)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[watch],
    )  # fmt: skip
    trainer.fit(module)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("iteration")]
    assert [line.split(",")[0] for line in told] == ["iteration 2", "iteration 4"]
    assert 0 <= float(trainer.callback_metrics["clips/success"]) <= 1
    assert read_weights(tmp_path / "best.safetensors")[1]["stage"] == stage
    assert load_policy(tmp_path / "best.safetensors").groups == module.policy.groups
    assert watch.best is not None and watch.best[2] < 0

    again = ClipEvaluation(2, tmp_path)
    again.load_state_dict(watch.state_dict())
    assert again.best == watch.best


def test_what_it_keeps_survives_a_checkpoint(tmp_path):
    torch.save(ClipEvaluation(2, tmp_path).state_dict(), tmp_path / "state.pt")
    fresh = ClipEvaluation(2, tmp_path)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.best is None
