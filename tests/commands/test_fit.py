"""`fit`: every stage leaves its run folder, is taken up where it stopped, and refuses bad input in one line."""

import csv
import shutil
import signal

import pytest
import torch
import yaml
from material import rest_clip, run, weights

from physhmr_kit import fit
from physhmr_kit.env import Rollout
from physhmr_kit.learning import load_policy, read_weights
from physhmr_kit.vision.pretrained import load_encoder

POLICY_STAGES = ("expert", "supertrack", "samcon", "merge", "distill", "finetune")
CONTROL = {"expert": "balanced"}
"""What the actions of a fresh expert mean, where they are not simply residual."""
STAGES = ("encoder", *POLICY_STAGES)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return {**weights(folder), "clip": rest_clip(24).save(folder / "rest.npz")}


def small(given, stage) -> list[str]:
    """Options that make a short run of a stage shorter still: one clip of 24 frames, four bodies."""
    size = ["--bodies=2", "--copies=2"] if stage == "samcon" else ["--num_envs=4", "--horizon=4"]
    policy = ["--clips", f"[{given['clip']}]", *size, "--hidden=[16]"]
    alone = ("encoder", "expert", "supertrack", "samcon", "merge")
    blind = [] if stage in alone else ["--expert", str(given["expert"]), "--encoder", str(given["encoder"])]
    blind = ["--experts", str(given["expert"])] if stage == "merge" else blind
    student = ["--student", str(given["distill"])] if stage == "finetune" else []
    eye = ["--clips", f"[{given['clip']}]", "--held_out=0", "--iterations=4", "--frames_per_step=32", "--windows=[16]"]
    eye += ["--validate_every=2", "--validation_windows=2", "--width=24", "--layers=1", "--heads=2", "--warmup=1"]
    options = eye if stage == "encoder" else [*policy, *blind, *student]
    return ["--stage", stage, "--short", "--progress", "none", *options]


@pytest.fixture(scope="module")
def run_of(given, tmp_path_factory):
    """The run folder of a stage, trained once."""
    made = {}

    def folder(stage):
        if stage not in made:
            runs = tmp_path_factory.mktemp("runs")
            assert run(fit.main, *small(given, stage), "--runs", runs, "--name", "a") == 0
            made[stage] = runs / stage / "a"
        return made[stage]

    return folder


@pytest.fixture
def copy_of(run_of, tmp_path):
    """A copy of that run folder, to do with as one likes."""
    return lambda stage: shutil.copytree(run_of(stage), tmp_path / "runs" / stage / "a")


def rows(folder) -> list[dict]:
    with open(folder / "metrics.csv", newline="") as f:
        return list(csv.DictReader(f))


# What a run leaves behind


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_leaves_its_folder(stage, run_of):
    folder = run_of(stage)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
    wanted = {
        "config.yaml",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "weights.safetensors",
        "table.md",
    }
    assert files == (
        wanted if stage == "encoder" else wanted | {"before.json", "rollout.npz", "rollout.rrd", "rollout.png"}
    )
    assert list((folder / "tensorboard").glob("events*"))
    assert "samples/s" in (folder / "table.md").read_text()


@pytest.mark.parametrize("stage", POLICY_STAGES)
def test_the_weights_and_the_rollout_of_a_run_can_be_read(stage, run_of, given):
    folder = run_of(stage)
    policy, settings = load_policy(folder / "weights.safetensors"), read_weights(folder / "weights.safetensors")[1]
    made = "expert" if stage in ("supertrack", "samcon", "merge") else stage  # another way to an expert
    assert settings["stage"] == made and settings["samples"] >= 160 and "--short" in settings["command"]
    assert (
        policy.control
        == {"distill": "absolute", "finetune": "absolute", "expert": CONTROL.get(stage, "residual")}[made]
    )
    assert Rollout.load(folder / "rollout.npz").length == 24
    table = (folder / "table.md").read_text()
    assert "| before |" in table and "| after |" in table and "rest" in table


def test_the_encoder_of_a_run_can_be_read(run_of):
    assert load_encoder(run_of("encoder") / "weights.safetensors").hparams["width"] == 24
    assert "mpjpe_mm" in (run_of("encoder") / "table.md").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoints_hold_nothing_but_data(stage, run_of):
    for name in ("last", "best"):
        checkpoint = torch.load(run_of(stage) / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["physhmr_kit"]["samples"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_every_iteration_is_a_row_of_metrics(stage, run_of):
    loss = "loss" if stage == "encoder" else "reward"
    steps = [int(row["step"]) for row in rows(run_of(stage)) if row[loss]]
    assert steps == list(range(4 if stage == "encoder" else 10))


# Settings


def test_the_settings_of_a_run_are_in_its_config(run_of):
    config = yaml.safe_load((run_of("expert") / "config.yaml").read_text())
    assert config["num_envs"] == 4 and config["hidden"] == [16] and config["iterations"] == 10
    assert config["reward"]["position"] == 0.5


def settings(*argv):
    return fit._settings([str(a) for a in argv])[1]


def test_options_beat_a_file_and_a_file_beats_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("num_envs: 7\nhorizon: 9\nreward:\n  position: 0.9\n")
    from_file = settings("--stage", "expert", "--config", file)
    assert (from_file.num_envs, from_file.horizon, from_file.reward.position, from_file.reward.power) == (
        7,
        9,
        0.9,
        -0.0001,
    )
    both = settings("--stage", "expert", "--config", file, "--num_envs", 3, "--reward.power=-0.2")
    assert (both.num_envs, both.horizon, both.reward.power) == (3, 9, -0.2)


def test_what_is_said_beats_what_short_would_change(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("iterations: 3\n")
    short = settings("--stage", "expert", "--short")
    assert (short.num_envs, short.iterations, short.clips) == (32, 10, ("demo:stand", "demo:squat"))
    said = settings("--stage", "expert", "--short", "--num_envs", 5, "--config", file)
    assert (said.num_envs, said.iterations, said.clips) == (5, 3, short.clips)


@pytest.mark.parametrize("stage", STAGES)
def test_clips_can_be_written_with_and_without_brackets(stage, capsys):
    for words in (["demo"], ["demo:stand", "walk 1.bvh"]):
        wanted = tuple(words)
        assert settings("--stage", stage, "--clips", *words, "--seed", 3).clips == wanted
        assert settings("--stage", stage, "--seed=3", "--clips", *words).clips == wanted
        assert settings("--stage", stage, "--clips", f"[{', '.join(words)}]").clips == wanted
        assert settings("--stage", stage, f"--clips=[{', '.join(words)}]", "--seed", 3).clips == wanted
    assert settings("--stage", stage, "--clips=demo").clips == ("demo",)
    with pytest.raises(SystemExit):
        fit.main(["--stage", stage, "--help"])
    assert "--clips CLIP [CLIP ...]" in capsys.readouterr().out


def test_other_lists_can_be_written_so_too():
    assert settings("--stage", "expert", "--hidden", 64, 32).hidden == (64, 32)
    assert settings("--stage", "expert", "--hidden=[64,32]", "--clips", "demo").hidden == (64, 32)
    assert settings("--stage", "encoder", "--windows", 96, 32, "--clips", "demo").windows == (96, 32)


@pytest.mark.parametrize("stage", STAGES)
def test_the_config_can_be_printed_and_read_back(stage, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        fit.main(["--stage", stage, "--print_config"])
    assert end.value.code == 0
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert settings("--stage", stage, "--config", file) == settings("--stage", stage)


def test_a_run_s_own_config_describes_the_run(run_of):
    before = settings("--stage", "expert", "--config", run_of("expert") / "config.yaml")
    assert before.num_envs == 4 and before.tracking().control == "residual"


# Resume


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_is_taken_up_where_it_stopped(stage, copy_of):
    folder = copy_of(stage)
    before = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    more = 6 if stage == "encoder" else 20
    assert run(fit.main, "--resume", folder, "--iterations", more, "--progress", "none") == 0
    after = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["physhmr_kit"]["samples"] > before["physhmr_kit"]["samples"]
    loss = "loss" if stage == "encoder" else "reward"
    steps = [int(row["step"]) for row in rows(folder) if row[loss]]
    assert steps == list(range(more)), "the rows of the first session stay, none twice"
    assert yaml.safe_load((folder / "config.yaml").read_text())["iterations"] == more


def test_a_run_cut_by_the_keyboard_can_be_taken_up(given, tmp_path, monkeypatch, capsys):
    from physhmr_kit.stages.expert import ExpertModule

    whole, calls = ExpertModule.training_step, []

    def step(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(ExpertModule, "training_step", step)
    before = signal.getsignal(signal.SIGINT)
    argv = [*small(given, "expert"), "--iterations=20", "--runs", tmp_path, "--name", "cut"]
    assert run(fit.main, *argv) == 130
    signal.signal(signal.SIGINT, before)  # Lightning switches it off while it shuts down
    folder = tmp_path / "expert" / "cut"
    assert f"--resume {folder}" in capsys.readouterr().out
    assert not (folder / "weights.safetensors").exists()
    assert run(fit.main, "--resume", folder, "--progress", "none") == 0
    assert [int(row["step"]) for row in rows(folder)] == list(range(20))
    assert (folder / "weights.safetensors").exists()


# Watching


def test_a_watched_run_is_watched_in_the_same_way_when_taken_up(given, tmp_path, capsys):
    argv = [*small(given, "expert"), "--evaluate_every=5", "--patience=2", "--runs", tmp_path, "--name", "w"]
    assert run(fit.main, *argv) == 0
    folder = tmp_path / "expert" / "w"
    for name in ("evaluations.csv", "clips.md", "curves.png", "worst.rrd", "best.safetensors"):
        assert (folder / name).is_file(), name
    table = (folder / "table.md").read_text()
    assert "- weights: the " in table and "## Is this run healthy?" in table
    before = [line for line in table.splitlines() if line.startswith("| before |")]
    assert run(fit.main, "--resume", folder, "--iterations=20", "--progress=none") == 0
    with open(folder / "evaluations.csv", newline="") as f:
        assert [row["iteration"] for row in csv.DictReader(f)] == ["5", "10", "15", "20"]
    assert before == [s for s in (folder / "table.md").read_text().splitlines() if s.startswith("| before |")]


def test_the_best_weights_win_over_worse_last_ones(given, tmp_path, monkeypatch):
    """The policy is spoiled after the first evaluation."""
    from physhmr_kit.stages.expert import ExpertModule

    whole = ExpertModule.training_step

    def step(self, batch, batch_idx):
        whole(self, batch, batch_idx)
        if self.trainer.fit_loop.epoch_loop.total_batch_idx >= 6:
            self.final_policy.net[-1].bias.data.fill_(3.0)

    monkeypatch.setattr(ExpertModule, "training_step", step)
    argv = [*small(given, "expert"), "--evaluate_every=5", "--runs", tmp_path, "--name", "w"]
    assert run(fit.main, *argv) == 0
    folder = tmp_path / "expert" / "w"
    kept, about = read_weights(folder / "weights.safetensors")
    best, header = read_weights(folder / "best.safetensors")
    assert about["iteration"] == header["iteration"] == 5 and about["samples"] == header["samples"]
    assert "--evaluate_every=5" in about["command"]
    assert all(torch.equal(kept[k], best[k]) for k in best)
    table = (folder / "table.md").read_text()
    assert "- weights: the best evaluated, of iteration 5" in table
    assert "| last |" in table and "| after |" in table


def test_weights_that_are_no_numbers_end_the_run_in_one_line(given, tmp_path, monkeypatch, capsys):
    from physhmr_kit.stages.expert import ExpertModule

    whole = ExpertModule.training_step

    def step(self, batch, batch_idx):
        whole(self, batch, batch_idx)
        if self.trainer.fit_loop.epoch_loop.total_batch_idx == 12:
            next(self.policy.net.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(ExpertModule, "training_step", step)
    argv = [*small(given, "expert"), "--iterations=20", "--runs", tmp_path, "--name", "n"]
    assert run(fit.main, *argv) == 2
    error = capsys.readouterr().err
    assert "iteration 13" in error and "last.ckpt" in error and f"--resume {tmp_path / 'expert' / 'n'}" in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "expert" / "n" / "weights.safetensors").exists()


# Bad input


@pytest.fixture
def refuses(capsys, tmp_path):
    """Runs fit with a run folder of its own and checks that it leaves with one line and nothing else."""

    def check(argv, *words):
        runs = tmp_path / "refused"
        code = run(fit.main, *argv, "--runs", runs)
        error = capsys.readouterr().err
        assert code == 2
        assert error.startswith("error: ") and error.count("\n") == 1, error
        for word in words:
            assert str(word) in error
        assert not runs.exists(), "something was left behind"

    return check


def test_an_unknown_stage_is_refused(refuses):
    refuses(["--stage", "apprentice"], "apprentice", "encoder, expert, supertrack, samcon, merge, distill, finetune")


def test_a_stage_must_be_named(refuses):
    refuses(["--short"], "stage")


def test_an_unknown_simulator_is_refused(refuses, given):
    refuses([*small(given, "expert"), "--simulator", "clockwork"], "clockwork", "mujoco_cpu")


def test_an_unknown_option_and_a_value_of_the_wrong_kind_are_refused(refuses):
    refuses(["--stage", "expert", "--colour", "red"], "colour")
    refuses(["--stage", "expert", "--num_envs", "many"], "num_envs")
    refuses(["--stage", "expert", "--num_envs", "0", "--clips", "[demo:stand]"], "num_envs is 0")


def test_a_negative_patience_is_refused(refuses):
    refuses(["--stage", "expert", "--short", "--patience=-1"], "--patience", "-1")


def test_clips_cannot_be_followed_by_an_encoder(refuses):
    refuses(["--stage", "encoder", "--short", "--evaluate_every", "5"], "--evaluate_every", "--validate_every")


def test_a_config_that_is_missing_or_broken_is_refused(refuses, tmp_path):
    refuses(["--stage", "expert", "--config", tmp_path / "none.yaml"], "none.yaml")
    odd = tmp_path / "odd.yaml"
    odd.write_text("colour: red\n")
    refuses(["--stage", "expert", "--config", odd], "colour")


def test_clips_that_are_missing_are_refused(refuses, tmp_path):
    for stage in STAGES:
        refuses(["--stage", stage, "--short", "--clips", f"[{tmp_path / 'none.npz'}]"], "none.npz")
    refuses(["--stage", "expert", "--clips", "[demo:fly]"], "demo:fly")


@pytest.mark.parametrize("option", ["expert", "encoder", "student"])
def test_weights_that_are_none_are_refused(option, refuses, given, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("not the weights")
    for path in (text, tmp_path / "none.safetensors"):
        refuses([*small(given, "finetune"), f"--{option}", path], path)


def test_weights_to_begin_from_that_are_none_are_refused(refuses, given, tmp_path):
    for stage in ("expert", "distill"):
        refuses([*small(given, stage), "--init", tmp_path / "none.safetensors"], "none.safetensors")


def test_weights_of_another_stage_are_refused(refuses, given):
    refuses([*small(given, "distill"), "--expert", given["distill"]], given["distill"], "expert")
    refuses([*small(given, "finetune"), "--student", given["expert"]], given["expert"], "distill")
    refuses([*small(given, "expert"), "--init", given["distill"]], given["distill"], "expert")


def test_a_run_can_begin_from_the_folder_of_another(given, run_of, tmp_path):
    """A folder stands for the weights in it."""
    options = [
        "--iterations=10",
        "--runs",
        tmp_path,
        "--name",
        "b",
        "--student",
        run_of("distill"),
        "--expert",
        run_of("expert"),
    ]
    assert run(fit.main, *small(given, "finetune"), *options) == 0
    assert load_policy(tmp_path / "finetune" / "b" / "weights.safetensors").hidden == (16,)


def test_a_folder_that_is_no_run_is_not_resumed(refuses, tmp_path):
    refuses(["--stage", "expert", "--resume", tmp_path], "config.yaml", "missing")


def test_a_run_of_the_same_name_is_not_overwritten(given, run_of, capsys):
    folder = run_of("expert")
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    assert run(fit.main, *small(given, "expert"), "--runs", folder.parents[1], "--name", "a") == 2
    assert "choose another --name" in capsys.readouterr().err
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
