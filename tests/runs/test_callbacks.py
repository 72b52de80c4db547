"""Callbacks of a run: validations are recorded without disturbing it, checkpoints are kept, and it stops when it should."""

import csv
import math

import pytest
import pytorch_lightning as pl
import torch

from physhmr_kit.metrics.followed import Totals
from physhmr_kit.runs import callbacks
from physhmr_kit.runs.callbacks import BestCheckpoint, ClipEvaluation, LastCheckpoint, NanGuard, progress_bar
from physhmr_kit.runs.history import Milestone, collapsed, read_metrics
from physhmr_kit.runs.reference import Expected, ReferenceRun, clip_set, reference_runs, reference_section
from physhmr_kit.utils.errors import KitError

EVERY_OTHER = {"limit_val_batches": None, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}
EACH = EVERY_OTHER | {"check_val_every_n_epoch": 1}


def rows(folder) -> list[dict]:
    with open(folder / "evaluations.csv", newline="") as f:
        return list(csv.DictReader(f))


def milestone(iteration: int, tracked: int, covered: float = 0.8, reward: float = 0.5, clips: int = 78) -> Milestone:
    return Milestone(iteration, 1000 * iteration, iteration / 10, reward, Totals(clips, tracked, covered, 30.0, 40.0))


# Files of an evaluation


@pytest.mark.parametrize("stage", ["expert", "distill"])
def test_a_validation_evaluates_all_clips_and_writes_its_files(stage, build, train, tmp_path, capsys):
    module, evaluations = build(stage), ClipEvaluation(tmp_path)
    trainer = train(module, 4, callbacks=[evaluations], **EVERY_OTHER)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("iteration")]
    assert [line.split(",")[0] for line in told] == ["iteration 2", "iteration 4"]
    assert all("/2 clips" in line and "worst" in line and "best so far" in line for line in told)
    assert 0 <= float(trainer.callback_metrics["val/success"]) <= 1
    assert [(r["iteration"], r["clip"]) for r in rows(tmp_path)] == [
        (i, name) for i in ("2", "4") for name in module.data.library.names
    ]
    assert [m.samples for m in evaluations.milestones] == [2 * 16, 4 * 16]
    table = (tmp_path / "clips.md").read_text()
    assert "# Clips at iteration 4" in table and "since iteration 2" in table
    assert all(f"| {name} |" in table for name in module.data.library.names)
    assert (tmp_path / "worst.rrd").stat().st_size > 1000 and (tmp_path / "curves.png").stat().st_size > 1000


def test_one_evaluation_environment_serves_every_validation(build, train, monkeypatch):
    from physhmr_kit.stages import base

    module, built, make = build("expert"), [], base.evaluation_env
    monkeypatch.setattr(base, "evaluation_env", lambda *a: built.append(make(*a)) or built[-1])
    train(module, 3, **EACH)
    assert len(built) == 1 and module.evaluation is None, "and it is closed at the end"


def test_validation_gives_the_scores_of_evaluate(build, train):
    from physhmr_kit.env import track_clips
    from physhmr_kit.metrics.followed import score_clips

    module = build("expert")
    train(module, 1, callbacks=[], **EACH)
    module.policy.net[-1].bias.data.fill_(3.0)
    pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False
    ).validate(module, datamodule=module.data, verbose=False)  # fmt: skip
    again = score_clips(track_clips(module.policy, module.data.library, module.tracking, None, "mujoco_cpu"))
    assert [s.clip for s in module.scores] == module.data.library.names
    assert [(s.followed, s.success) for s in module.scores] == [(s.followed, s.success) for s in again]
    assert not all(s.success for s in again), "the spoiled policy loses a clip"


def test_a_validated_run_that_was_killed_resumes_as_the_uncut_one(
    build, train, weights_of, equal_weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(callbacks, "write_clip_report", lambda *_: None)
    cut, uncut = tmp_path / "cut", tmp_path / "uncut"
    whole, watch = build("expert"), ClipEvaluation(uncut)
    train(whole, 4, callbacks=[watch], **EVERY_OTHER)

    train(build("expert"), 2, checkpoint=cut / "cut.ckpt", callbacks=[ClipEvaluation(cut)], **EVERY_OTHER)
    file = cut / "evaluations.csv"
    file.write_text(file.read_text() + "3,48,0.1,rest,1,1.0,9.0\n")  # what a session wrote before it was killed
    second, again = build("expert"), ClipEvaluation(cut)
    torch.rand(7)
    train(second, 4, resume=cut / "cut.ckpt", callbacks=[again], **EVERY_OTHER)

    assert equal_weights(weights_of(whole), weights_of(second))
    same = [[{k: v for k, v in r.items() if k != "minutes"} for r in rows(f)] for f in (cut, uncut)]
    assert same[0] == same[1]
    assert [m.totals for m in again.milestones] == [m.totals for m in watch.milestones]
    assert again.scores == watch.scores


# The checkpoint to resume from


def test_the_last_checkpoint_is_written_periodically_and_at_the_end(build, train, tmp_path, monkeypatch):
    saved, save = [], pl.Trainer.save_checkpoint
    monkeypatch.setattr(
        pl.Trainer, "save_checkpoint", lambda self, *a, **k: (saved.append(self.current_epoch + 1), save(self, *a, **k))
    )
    train(build("expert"), 5, callbacks=[LastCheckpoint(tmp_path / "c" / "last.ckpt", 2)], enable_checkpointing=True)
    assert saved == [2, 4, 5]
    assert [f.name for f in (tmp_path / "c").iterdir()] == ["last.ckpt"]


def test_the_progress_bar_shows_figures_and_no_version_number(build, train):
    (bar,) = progress_bar("tqdm")
    shown = []

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            shown.append(bar.get_metrics(trainer, pl_module))

    train(build("expert"), 3, callbacks=[bar, Look()], enable_progress_bar=True)
    assert {"reward", "failed"} <= shown[-1].keys() and "v_num" not in shown[-1]
    assert progress_bar("none") == []


@pytest.mark.parametrize("mode, kept", [("max", ["1", "3"]), ("min", ["1", "2"])])
def test_the_checkpoint_of_the_best_validation_is_kept_over_sessions(mode, kept, build, train, tmp_path):
    """Scores of the four validations: 1, 0.5, 2 and 0.5 again; the run is resumed after the third."""
    path, seen = tmp_path / "best.ckpt", []

    class Score(pl.Callback):
        def on_validation_end(self, trainer, module):
            trainer.callback_metrics["score"] = torch.tensor((1.0, 0.5, 2.0, 0.5)[trainer.current_epoch])

    class Look(BestCheckpoint):
        def on_train_epoch_end(self, trainer, module):
            super().on_train_epoch_end(trainer, module)
            seen.append(str(torch.load(path, weights_only=True)["epoch"] + 1))

    watch = lambda: [Score(), Look(path, "score", mode, 1)]  # noqa: E731
    train(build("expert"), 3, checkpoint=tmp_path / "last.ckpt", callbacks=watch(), **EACH)
    resumed = {"resume": tmp_path / "last.ckpt", "checkpoint": tmp_path / "end.ckpt"}
    train(build("expert"), 4, callbacks=watch(), **resumed, **EACH)
    assert list(dict.fromkeys(seen)) == kept and len(seen) == 4
    other = BestCheckpoint(tmp_path / "new" / "best.ckpt", "score", mode, 1)
    other.load_state_dict({"best": 5.0})
    assert other.best == -math.inf, "a run that starts from a checkpoint of another one has no best validation yet"


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
def test_a_collapse_is_distinguished_from_noise(tracked, yes):
    assert collapsed([milestone(i, t) for i, t in enumerate(tracked)], 3) is yes
    assert not collapsed([milestone(i, t) for i, t in enumerate(tracked)], 0)


def test_of_few_clips_two_may_vary():
    assert not collapsed([milestone(i, t, clips=12) for i, t in enumerate((12, 10, 10, 10))], 3)
    assert collapsed([milestone(i, t, clips=12) for i, t in enumerate((12, 9, 9, 9))], 3)


def test_frames_and_reward_show_a_collapse_too():
    assert collapsed([milestone(0, 2, 0.9, clips=2), *(milestone(i, 1, 0.6, clips=2) for i in (1, 2, 3))], 3)
    assert collapsed([milestone(0, 60), *(milestone(i, 58, reward=0.1) for i in (1, 2, 3))], 3)
    assert collapsed([milestone(0, 60), *(milestone(i, 58, reward=math.nan) for i in (1, 2, 3))], 3)
    assert not collapsed([milestone(0, 60), *(milestone(i, 60, reward=0.1) for i in (1, 2, 3))], 3), "success stays"


def test_a_run_that_collapses_stops_and_keeps_a_checkpoint(build, train, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(callbacks, "write_clip_report", lambda *_: None)
    course = iter([61, 60, 20, 20, 20, 20, 20])
    monkeypatch.setattr(callbacks, "total", lambda scores: milestone(0, next(course)).totals)
    watch = ClipEvaluation(tmp_path, patience=2)
    trainer = train(build("expert"), 9, checkpoint=tmp_path / "last.ckpt", callbacks=[watch], **EACH)
    assert [m.iteration for m in watch.milestones] == [1, 2, 3, 4]
    assert "collapsed: 20/78 clips" in watch.stopped and "iteration 1" in watch.stopped
    assert trainer.current_epoch == 4 and (tmp_path / "last.ckpt").is_file()


# Numbers that are not finite


@pytest.mark.parametrize("where", ["weight", "normaliser", "loss"])
def test_a_run_with_numbers_that_are_not_finite_stops_at_once(where, build, train, tmp_path):
    module = build("expert")
    step = module.training_step

    def spoil(batch, batch_idx):
        loss = step(batch, batch_idx)
        if module.current_epoch < 2:
            return loss
        if where == "weight":
            next(module.policy.net.parameters()).data.view(-1)[0] = math.nan
        elif where == "normaliser":
            module.policy.norm.mean[3] = math.inf
        else:
            module.log("loss/other", math.nan, on_step=False, on_epoch=True, batch_size=8)
        return loss

    module.training_step = spoil
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(KitError, match="iteration 3") as fault:
        train(module, 5, callbacks=[NanGuard(tmp_path / "last.ckpt", "fit --resume here")])
    assert "last.ckpt" in str(fault.value) and "fit --resume here" in str(fault.value)


# Logged figures


def test_metrics_of_several_sessions_are_read_as_one_run(tmp_path):
    for version, lines in enumerate((["0,0,.1", "1,1,.2", "2,2,.3"], ["2,2,.4", "3,3,.5"])):
        folder = tmp_path / "metrics" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("\n".join(["epoch,step,reward", *lines]) + "\n")
    found = read_metrics(tmp_path)
    assert [(row["iteration"], row["reward"]) for row in found] == [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5)]


# Reference runs


def test_without_a_reference_a_run_is_shown_alone():
    text = reference_section([milestone(5, 10), milestone(20, 30)], ["a", "b"], minutes=3.0, references=())
    assert "There is no reference run" in text and clip_set(["b", "a"]) in text
    assert "| 1 | this run (at 0.5) | 0.01 M | 13 % |" in text
    assert "| 5 | this run | - |" in text, "it did not train that long"
    assert "at 2.0" in text
    assert "--validate_every" in reference_section([], ["a"], minutes=3.0, references=())


def test_a_run_is_shown_beside_the_reference_run_of_its_clips():
    row = Expected(1, 100_000, 0.5, 0.7, 50.0, 0.4)
    others = ReferenceRun("1-x", "one clip", "fit", "2 cores", (row,))
    own = ReferenceRun(clip_set(["a", "b"]), "two clips", "fit", "2 cores", (row,))
    text = reference_section([milestone(5, 10)], ["b", "a"], 2.0, (others, own))
    assert "two clips" in text and "other clips" not in text
    assert "| 1 | reference | 0.10 M | 50 % | 70 % | 50 | 0.40 |" in text
    assert "other clips than this run" in reference_section([milestone(5, 10)], ["c"], 2.0, (others, own))
    card = ReferenceRun(clip_set(["a", "b"]), "two clips", "fit", "a GPU", (row,), "mujoco_gpu")
    told = [
        reference_section([], ["a", "b"], 2.0, (own, card), simulator=s)
        for s in ("mujoco_cpu", "mujoco_gpu", "isaac_gym")
    ]
    assert ["a GPU" in text for text in told] == [False, True, False]


def test_the_recorded_runs_can_be_read():
    runs = reference_runs()
    assert len(runs) >= 2 and {run.simulator for run in runs} == {"mujoco_cpu", "mujoco_gpu"}
    assert all(0 < row.success <= 1 and row.samples > 0 for run in runs for row in run.rows)
