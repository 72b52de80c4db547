"""`ClipEvaluation`: a run can be watched, is not disturbed by it, and keeps the weights that follow the clips best."""

import csv
import math

import pytest
import pytorch_lightning as pl
import torch
from physhmr_kit.progress import write_progress
from physhmr_kit.stages.healthy import Expected, Healthy, clip_set, healthy_section
from physhmr_kit.stages.history import Milestone, collapsed
from physhmr_kit.stages.watch import ClipEvaluation, Finite

from physhmr_kit.learning import load_policy, read_weights
from physhmr_kit.metrics.followed import Totals
from physhmr_kit.stages import watch as watching
from physhmr_kit.utils.errors import KitError


def trainer_of(folder, epochs, *callbacks):
    return pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks),
    )  # fmt: skip


def rows(folder) -> list[dict]:
    with open(folder / "evaluations.csv", newline="") as f:
        return list(csv.DictReader(f))


def milestone(iteration: int, tracked: int, covered: float = 0.8, reward: float = 0.5, clips: int = 78) -> Milestone:
    return Milestone(iteration, 1000 * iteration, iteration / 10, reward, Totals(clips, tracked, covered, 30.0, 40.0))


# What an evaluation leaves behind


@pytest.mark.parametrize("stage", ["expert", "distill"])
def test_every_so_often_all_clips_are_followed_and_the_best_weights_kept(stage, build, tmp_path, capsys):
    module = build(stage)
    watch = ClipEvaluation(2, tmp_path, report=write_progress)
    trainer = trainer_of(tmp_path, 2, watch)
    trainer.fit(module)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("iteration")]
    assert [line.split(",")[0] for line in told] == ["iteration 2", "iteration 4"]
    assert all("/2 clips" in line and "worst" in line and "best so far" in line for line in told)
    assert 0 <= float(trainer.callback_metrics["clips/success"]) <= 1
    about = read_weights(tmp_path / "best.safetensors")[1]
    assert about["stage"] == stage and about["iteration"] == watch.best.iteration
    assert load_policy(tmp_path / "best.safetensors").groups == module.policy.groups

    assert [(r["iteration"], r["clip"]) for r in rows(tmp_path)] == [
        (i, name) for i in ("2", "4") for name in module.library.names
    ]
    table = (tmp_path / "clips.md").read_text()
    assert "# Clips at iteration 4" in table and "since iteration 2" in table
    assert all(f"| {name} |" in table for name in module.library.names)
    assert (tmp_path / "worst.rrd").stat().st_size > 1000 and (tmp_path / "curves.png").stat().st_size > 1000


def test_evaluations_do_not_disturb_training(build, train, weights_of, equal_weights, tmp_path):
    plain, watched = build("expert"), build("expert")
    train(plain, 2)
    trainer_of(tmp_path, 2, ClipEvaluation(1, tmp_path, 3, write_progress)).fit(watched)
    assert equal_weights(weights_of(plain), weights_of(watched))


def test_what_draws_random_numbers_in_an_evaluation_does_not_disturb_either(build, tmp_path, monkeypatch):
    ends, honest = [], watching.track_clips
    for careless in (False, True):
        if careless:
            monkeypatch.setattr(watching, "track_clips", lambda *a, **k: (torch.rand(3), honest(*a, **k))[1])
        trainer_of(tmp_path, 1, ClipEvaluation(1, tmp_path)).fit(build("expert"))
        ends.append(torch.rand(3))
    assert torch.equal(*ends)


def test_a_watched_run_cut_off_goes_on_as_the_uncut_one(build, weights_of, equal_weights, tmp_path):
    whole, cut, uncut = build("expert"), tmp_path / "cut", tmp_path / "uncut"
    watch = ClipEvaluation(2, uncut)
    trainer_of(uncut, 3, watch).fit(whole)

    trainer = trainer_of(cut, 1, ClipEvaluation(2, cut))
    trainer.fit(build("expert"))
    trainer.save_checkpoint(cut / "cut.ckpt")
    file = cut / "evaluations.csv"
    file.write_text(file.read_text() + "3,48,0.1,rest,1,1.0,9.0\n")  # what a session wrote before it was killed
    second, again = build("expert"), ClipEvaluation(2, cut)
    torch.rand(7)
    trainer_of(cut, 3, again).fit(second, ckpt_path=cut / "cut.ckpt", weights_only=True)

    assert equal_weights(weights_of(whole), weights_of(second))
    same = [[{k: v for k, v in r.items() if k != "minutes"} for r in rows(f)] for f in (cut, uncut)]
    assert same[0] == same[1]
    assert [m.totals for m in again.milestones] == [m.totals for m in watch.milestones]
    assert again.best.iteration == watch.best.iteration and again.scores == watch.scores
    assert load_policy(cut / "best.safetensors").state_dict().keys()
    for mine, theirs in zip(*(read_weights(f / "best.safetensors")[0].values() for f in (cut, uncut)), strict=True):
        assert torch.equal(mine, theirs)


def test_what_it_keeps_survives_a_checkpoint(tmp_path):
    watch = ClipEvaluation(2, tmp_path)
    watch.milestones = [milestone(2, 5), milestone(4, 9)]
    torch.save({"empty": ClipEvaluation(2, tmp_path).state_dict(), "full": watch.state_dict()}, tmp_path / "state.pt")
    states = torch.load(tmp_path / "state.pt", weights_only=True)
    empty, full = ClipEvaluation(2, tmp_path), ClipEvaluation(2, tmp_path)
    empty.load_state_dict(states["empty"])
    full.load_state_dict(states["full"])
    assert empty.best is None
    assert full.milestones == watch.milestones and full.best.iteration == 4


# Collapse


@pytest.mark.parametrize(
    "tracked, yes",
    [
        ((20, 61, 40, 38, 35), True),
        ((20, 61, 40, 38), False),  # two in a row are not three
        ((20, 61, 40, 45, 50), False),  # it climbs again
        ((61, 57, 58, 56, 55, 57), False),  # noise
        ((61, 30, 60, 30, 29), False),  # not in a row
        ((0, 0, 0, 0), False),  # nothing was lost
    ],
)
def test_a_collapse_is_told_from_noise(tracked, yes):
    assert collapsed([milestone(i, t) for i, t in enumerate(tracked)], 3) is yes
    assert not collapsed([milestone(i, t) for i, t in enumerate(tracked)], 0)


def test_among_few_clips_two_may_come_and_go():
    assert not collapsed([milestone(i, t, clips=12) for i, t in enumerate((12, 10, 10, 10))], 3)
    assert collapsed([milestone(i, t, clips=12) for i, t in enumerate((12, 9, 9, 9))], 3)


def test_frames_and_reward_show_a_collapse_too():
    assert collapsed([milestone(0, 2, 0.9, clips=2), *(milestone(i, 1, 0.6, clips=2) for i in (1, 2, 3))], 3)
    assert collapsed([milestone(0, 60), *(milestone(i, 58, reward=0.1) for i in (1, 2, 3))], 3)
    assert collapsed([milestone(0, 60), *(milestone(i, 58, reward=math.nan) for i in (1, 2, 3))], 3)
    assert not collapsed([milestone(0, 60), *(milestone(i, 60, reward=0.1) for i in (1, 2, 3))], 3), "success stays"


def test_a_run_that_collapses_stops_at_the_next_checkpoint(build, tmp_path, monkeypatch, capsys):
    course = iter([61, 60, 20, 20, 20, 20, 20])
    monkeypatch.setattr(watching, "total", lambda scores: milestone(0, next(course)).totals)
    module = build("expert")
    watch = ClipEvaluation(1, tmp_path, patience=2)
    trainer = trainer_of(tmp_path, 9, watch)
    trainer.fit(module)
    assert [m.iteration for m in watch.milestones] == [1, 2, 3, 4], "two iterations are an epoch"
    assert "!!! collapsed: 20/78 clips" in capsys.readouterr().out
    assert "second" in watch.stopped and watch.best.iteration == 1
    assert read_weights(tmp_path / "best.safetensors")[1]["iteration"] == 1


# Numbers that end


@pytest.mark.parametrize("where", ["weight", "normaliser", "loss"])
def test_a_run_whose_numbers_end_says_so_at_once(where, build, tmp_path, monkeypatch):
    module = build("expert")
    step = type(module).training_step

    def spoil(self, batch, batch_idx):
        step(self, batch, batch_idx)
        if self.samples < 48:  # the third iteration
            return
        if where == "weight":
            next(self.policy.net.parameters()).data.view(-1)[0] = math.nan
        elif where == "normaliser":
            self.policy.norm.mean[3] = math.inf
        else:
            self.log("loss/value", math.nan)

    monkeypatch.setattr(type(module), "training_step", spoil)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(KitError, match="iteration 3") as fault:
        trainer_of(tmp_path, 3, Finite(tmp_path, "fit --resume here")).fit(module)
    assert "last.ckpt" in str(fault.value) and "fit --resume here" in str(fault.value)


# What is healthy


def test_without_a_reference_a_run_is_shown_alone():
    text = healthy_section([milestone(5, 10), milestone(20, 30)], ["a", "b"], minutes=3.0, references=())
    assert "No healthy run is on record" in text and clip_set(["b", "a"]) in text
    assert "| 1 | this run (at 0.5) | 0.01 M | 13 % |" in text
    assert "| 5 | this run | - |" in text, "it did not train that long"
    assert "at 2.0" in text
    assert "--evaluate_every" in healthy_section([], ["a"], minutes=3.0, references=())


def test_a_run_is_laid_beside_the_healthy_one_of_its_clips():
    row = Expected(1, 100_000, 0.5, 0.7, 50.0, 0.4)
    others = Healthy("1-x", "one clip", "fit", "2 cores", (row,))
    own = Healthy(clip_set(["a", "b"]), "two clips", "fit", "2 cores", (row,))
    text = healthy_section([milestone(5, 10)], ["b", "a"], 2.0, (others, own))
    assert "two clips" in text and "other clips" not in text
    assert "| 1 | healthy | 0.10 M | 50 % | 70 % | 50 | 0.40 |" in text
    assert "other clips than this run's" in healthy_section([milestone(5, 10)], ["c"], 2.0, (others, own))
    card = Healthy(clip_set(["a", "b"]), "two clips", "fit", "a GPU", (row,), "mujoco_gpu")
    told = [
        healthy_section([], ["a", "b"], 2.0, (own, card), simulator=s)
        for s in ("mujoco_cpu", "mujoco_gpu", "isaac_gym")
    ]
    assert ["a GPU" in text for text in told] == [False, True, False]
