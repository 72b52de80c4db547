"""`fit`: every stage writes its run folder, can be resumed, and refuses bad input with a one-line error."""

import csv
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from material import run, weights
from motions import rest_clip, sitting_clip

from physhmr_kit import fit, viewer
from physhmr_kit.env import Rollout
from physhmr_kit.learning import load_policy, read_weights
from physhmr_kit.runs.history import read_metrics
from physhmr_kit.stages.data import load_library
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import ADAPTATION_CONFIG, FinetuneConfig
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.pretrained import load_encoder

POLICY_STAGES = ("expert", "distill", "finetune")
CONTROL = {"expert": "balanced", "distill": "absolute", "finetune": "absolute"}
STAGES = ("encoder", *POLICY_STAGES)
ITERATIONS, SAMPLES = 4, 16
"""Of a run in these tests, and in each iteration of it."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """A run ends with empty files in place of its pictures, which take a third of its time and have tests of their own."""
    monkeypatch.setattr(viewer, "record_rollout", lambda path, rollout, track=None: path.touch())
    monkeypatch.setattr(viewer, "filmstrip", lambda rollout, path: path.touch())


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return {**weights(folder), "clip": rest_clip(24).save(folder / "rest.npz")}


def small(given, stage) -> list[str]:
    """Options that shorten a `--short` run further: one clip of 24 frames, four bodies, four iterations."""
    policy = ["--clips", given["clip"], "--num_envs=4", "--horizon=4", "--minibatch_size=16", "--checkpoint_every=2"]
    policy += [f"--iterations={ITERATIONS}", "--updates=2" if stage == "distill" else "--epochs=2"]
    policy += ["--critic_hidden=[16]"] if stage == "finetune" else ["--policy.hidden", "16"]
    blind = [] if stage == "expert" else ["--expert", given["expert"], "--encoder", given["encoder"]]
    student = ["--init", given["distill"]] if stage == "finetune" else []
    encoder = [
        "--clips",
        given["clip"],
        "--held_out=0",
        f"--iterations={ITERATIONS}",
        "--frames_per_step=32",
        "--windows=[16]",
    ]
    encoder += ["--validate_every=2", "--validation_windows=2", "--width=24", "--layers=1", "--heads=2"]
    encoder += ["--warmup_iterations=1", "--checkpoint_every=2"]
    options = encoder if stage == "encoder" else [*policy, *blind, *student]
    return ["--stage", stage, "--short", "--progress", "none", *map(str, options)]


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
    """A copy of that run folder, to change it."""
    return lambda stage: shutil.copytree(run_of(stage), tmp_path / "runs" / stage / "a")


# The run folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_leaves_its_folder(stage, run_of):
    folder = run_of(stage)
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
    wanted = {
        "config.yaml", "metrics/version_0/metrics.csv", "metrics/version_0/hparams.yaml", "checkpoints/last.ckpt",
        "weights.safetensors", "table.md",
    }  # fmt: skip
    policy = {"before.json", "rollout.npz", "rollout.rrd", "rollout.png"}
    assert files == wanted | ({"checkpoints/best.ckpt"} if stage == "encoder" else policy)
    assert list((folder / "tensorboard").glob("events*"))
    assert "samples/s" in (folder / "table.md").read_text()


@pytest.mark.parametrize("stage", POLICY_STAGES)
def test_the_weights_and_the_rollout_of_a_run_can_be_read(stage, run_of):
    folder = run_of(stage)
    policy, settings = load_policy(folder / "weights.safetensors"), read_weights(folder / "weights.safetensors")[1]
    assert (
        settings["stage"] == stage and settings["samples"] == ITERATIONS * SAMPLES and "--short" in settings["command"]
    )
    assert policy.control == CONTROL[stage]
    assert Rollout.load(folder / "rollout.npz").length == 24
    table = (folder / "table.md").read_text()
    assert "| before |" in table and "| after |" in table and "rest" in table


def test_the_encoder_of_a_run_can_be_read(run_of):
    assert load_encoder(run_of("encoder") / "weights.safetensors").hparams["width"] == 24
    assert "mpjpe_mm" in (run_of("encoder") / "table.md").read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoints_hold_nothing_but_data(stage, run_of):
    for file in (run_of(stage) / "checkpoints").glob("*.ckpt"):
        assert torch.load(file, weights_only=True)["physhmr_kit"]["samples"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_every_iteration_is_a_row_of_metrics(stage, run_of):
    loss = "loss" if stage == "encoder" else "reward"
    found = [row["iteration"] for row in read_metrics(run_of(stage)) if loss in row]
    assert found == list(range(1, ITERATIONS + 1))


# Settings


def test_the_settings_of_a_run_and_where_it_comes_from_are_in_its_config(run_of):
    config = yaml.safe_load((run_of("expert") / "config.yaml").read_text())
    assert config["sim"]["num_envs"] == 4 and config["policy"]["hidden"] == [16] and config["iterations"] == ITERATIONS
    assert config["env"]["reward"]["position"] == 0.5
    assert config["stage"] == "expert" and "--short" in config["command"] and config["versions"]["torch"]
    assert "commit" in config


def settings(*argv):
    return fit._settings([str(a) for a in argv])[1]


def test_options_override_a_file_and_a_file_overrides_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("sim:\n  num_envs: 7\nppo:\n  horizon: 9\nenv:\n  reward:\n    position: 0.9\n")
    read = settings("--stage", "expert", "--config", file)
    assert (read.sim.num_envs, read.ppo.horizon, read.env.reward.position, read.env.reward.power) == (
        7,
        9,
        0.9,
        -0.0001,
    )
    both = settings("--stage", "expert", "--config", file, "--num_envs", 3, "--reward.power=-0.2")
    assert (both.sim.num_envs, both.ppo.horizon, both.env.reward.power) == (3, 9, -0.2)


def test_options_and_files_beat_short(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("iterations: 3\n")
    short = settings("--stage", "expert", "--short")
    assert (short.sim.num_envs, short.iterations, short.data.clips) == (32, 10, ("demo:stand", "demo:squat"))
    said = settings("--stage", "expert", "--short", "--num_envs", 5, "--config", file)
    assert (said.sim.num_envs, said.iterations, said.data.clips) == (5, 3, short.data.clips)


def test_the_last_part_of_a_name_is_enough_and_dashes_are_underscores():
    for name in ("--ppo.clip_range", "--clip_range", "--clip-range", "--ppo.clip-range"):
        assert settings("--stage", "expert", name, 0.3).ppo.clip_range == 0.3
        assert settings("--stage", "expert", f"{name}=0.3").ppo.clip_range == 0.3


def test_with_a_video_the_defaults_are_those_of_the_adaptation():
    words = ["--stage", "finetune", "--video", "k.npz", "--camera", "c.json", "--num_envs", "32"]
    wanted = replace(ADAPTATION_CONFIG, video="k.npz", camera="c.json", sim=replace(ADAPTATION_CONFIG.sim, num_envs=32))
    assert settings(*words) == wanted != FinetuneConfig()


def test_a_switch_needs_no_value():
    for words in (["--skip-unsupported"], ["--data.skip_unsupported", "true"], ["--skip_unsupported=true"]):
        assert settings("--stage", "expert", *words, "--strict").data.skip_unsupported
    made = settings("--stage", "distill", "--strict", "--skip_unsupported", "false", "--num_envs", 3)
    assert made.data.strict and not made.data.skip_unsupported and made.sim.num_envs == 3


def test_clips_without_support_are_not_trained_on_when_asked_for(tmp_path, capsys):
    rest_clip(name="rest").save(tmp_path / "rest.npz")
    sitting_clip().save(tmp_path / "sits.npz")
    (tmp_path / "damaged.npz").write_text("half a fi")
    argv = ["--stage", "expert", "--clips", tmp_path, "--skip-unsupported"]
    assert load_library(settings(*argv).data).names == ["rest"]
    assert "sits, without support in 100 % of its frames" in capsys.readouterr().err
    with pytest.raises(KitError, match=r"damaged\.npz: not an"):
        load_library(settings(*argv, "--strict").data)


def test_null_is_none():
    made = settings("--stage", "expert", "--desired_kl", "null", "--episode_length=null", "--validate_every", 7)
    assert made.ppo.desired_kl is None and made.env.episode_length is None and made.validate_every == 7
    assert settings("--stage", "distill").expert is None


@pytest.mark.parametrize(
    "old, new",
    [
        ("kl", "ppo.desired_kl"),
        ("clips", "data.clips"),
        ("evaluate_every", "validate_every"),
        ("prior.hidden", "prior.discriminator_hidden"),
    ],
)
def test_a_config_of_an_older_version_is_refused_with_the_new_name(old, new, tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text(f"{old}: 3\n")
    with pytest.raises(KitError, match=f"'{old}' is now '{new}'"):
        settings("--stage", "expert", "--config", file)


@pytest.mark.parametrize(
    "line, message",
    [
        ("retry_share: 0.3", "'retry_share' was removed; delete the line .env.pre_failure_prob is the closest"),
        ("symmetry: 0.5", "'symmetry' was removed; delete the line$"),
        ("env: {assist: 100}", "'env.assist' was removed"),
        ("data: {variety: {withheld: 0.1}}", "'data.variety.withheld' is now 'data.augmentation.miscalibrated'"),
        ("data: {variety: {speed: 0.1}}", "'data.variety' is now 'data.augmentation'"),
        ("data: {colour: 1}", "there is no setting 'data.colour'"),
    ],
)
def test_a_removed_setting_is_named(line, message, tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text(line + "\n")
    with pytest.raises(KitError, match=message):
        settings("--stage", "expert", "--config", file)


@pytest.mark.parametrize("stage", STAGES)
def test_clips_can_be_written_with_and_without_brackets(stage, capsys):
    for words in (["demo"], ["demo:stand", "walk 1.bvh"]):
        wanted = tuple(words)
        assert settings("--stage", stage, "--clips", *words, "--seed", 3).data.clips == wanted
        assert settings("--stage", stage, "--seed=3", "--data.clips", *words).data.clips == wanted
        assert settings("--stage", stage, "--clips", f"[{', '.join(words)}]").data.clips == wanted
        assert settings("--stage", stage, f"--clips=[{', '.join(words)}]", "--seed", 3).data.clips == wanted
    assert settings("--stage", stage, "--clips=demo").data.clips == ("demo",)


@pytest.mark.parametrize("stage", STAGES)
def test_help_explains_every_setting(stage, capsys):
    from physhmr_kit.runs.settings_file import leaves
    from physhmr_kit.stages.settings import CONFIGS

    with pytest.raises(SystemExit):
        fit.main(["--stage", stage, "--help"])
    lines = " ".join(capsys.readouterr().out.split())
    explained = lines[lines.index("show this help") if "show this help" in lines else 0 :]
    for name in leaves(CONFIGS[stage]):
        after = explained.split(f"--{name} ")[-1]
        words = after.split("(type")[0].split()
        assert len(words) > 2, f"{name} is not explained: {after[:80]}"


def test_lists_of_numbers_can_be_written_with_and_without_brackets():
    assert settings("--stage", "expert", "--hidden", 64, 32).policy.hidden == (64, 32)
    assert settings("--stage", "expert", "--hidden=[64,32]", "--clips", "demo").policy.hidden == (64, 32)
    assert settings("--stage", "encoder", "--windows", 96, 32, "--clips", "demo").data.windows == (96, 32)


@pytest.mark.parametrize("stage", STAGES)
def test_the_config_can_be_printed_and_read_back(stage, capsys, tmp_path):
    assert fit.main(["--stage", stage, "--print_config"]) == 0
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert settings("--stage", stage, "--config", file) == settings("--stage", stage)


def test_a_run_s_own_config_describes_the_run(run_of):
    made = settings("--stage", "expert", "--config", run_of("expert") / "config.yaml")
    assert made.sim.num_envs == 4 and made.ppo.minibatch_size == 16


# Resume


@pytest.mark.parametrize("stage", ["encoder", "finetune"])
def test_a_run_is_resumed_where_it_stopped(stage, copy_of):
    folder = copy_of(stage)
    before = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    more = ITERATIONS + 2
    assert run(fit.main, "--resume", folder, "--iterations", more, "--progress", "none") == 0
    after = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["physhmr_kit"]["samples"] * ITERATIONS == before["physhmr_kit"]["samples"] * more
    loss = "loss" if stage == "encoder" else "reward"
    found = [row["iteration"] for row in read_metrics(folder) if loss in row]
    assert found == list(range(1, more + 1)), "the rows of the first session are kept, and there are no duplicates"
    assert yaml.safe_load((folder / "config.yaml").read_text())["iterations"] == more


def test_a_run_stopped_by_the_keyboard_can_be_resumed(given, tmp_path, monkeypatch, capsys):
    whole = ExpertModule.training_step

    def step(self, batch, batch_idx):
        if self.current_epoch == 3:
            raise KeyboardInterrupt
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(ExpertModule, "training_step", step)
    before = signal.getsignal(signal.SIGINT)
    argv = [*small(given, "expert"), "--runs", tmp_path, "--name", "cut"]
    assert run(fit.main, *argv) == 130
    signal.signal(signal.SIGINT, before)  # Lightning ignores it while it shuts down
    monkeypatch.setattr(ExpertModule, "training_step", whole)
    folder = tmp_path / "expert" / "cut"
    assert f"--resume {folder}" in capsys.readouterr().out
    assert not (folder / "weights.safetensors").exists()
    assert run(fit.main, "--resume", folder, "--progress", "none") == 0
    assert [row["iteration"] for row in read_metrics(folder) if "reward" in row] == list(range(1, ITERATIONS + 1))
    assert (folder / "weights.safetensors").exists()


def test_another_exit_is_not_taken_for_the_keyboard(given, tmp_path, monkeypatch):
    def step(self, batch, batch_idx):
        raise SystemExit(7)

    monkeypatch.setattr(ExpertModule, "training_step", step)
    with pytest.raises(SystemExit) as stop:
        run(fit.main, *small(given, "expert"), "--runs", tmp_path, "--name", "x")
    assert stop.value.code == 7


def test_a_run_stops_when_its_time_is_over_and_can_be_resumed(given, tmp_path):
    argv = [*small(given, "expert"), "--iterations=5000", "--trainer.max_time=00:00:00:01", "--runs", tmp_path]
    assert run(fit.main, *argv, "--name", "t") == 0
    folder = tmp_path / "expert" / "t"
    done = len(read_metrics(folder))
    assert 0 < done < 5000 and (folder / "weights.safetensors").is_file()
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["physhmr_kit"]["samples"] == SAMPLES * done, "the checkpoint is of the last iteration"
    resume = ["--resume", folder, "--progress=none"]
    assert run(fit.main, *resume) == 0
    assert len(read_metrics(folder)) == done, "the limit is kept in config.yaml, and the time is over"
    more = [*resume, f"--iterations={done + 1}", "--trainer.max_time=null"]
    assert run(fit.main, *more) == 0
    assert len(read_metrics(folder)) == done + 1


# Validations


def test_a_validated_run_is_validated_in_the_same_way_when_resumed(given, tmp_path, recwarn):
    argv = [*small(given, "expert"), "--validate_every=2", "--patience=2", "--runs", tmp_path, "--name", "w"]
    assert run(fit.main, *argv) == 0
    folder = tmp_path / "expert" / "w"
    for name in ("evaluations.csv", "clips.md", "curves.png", "worst.rrd", "checkpoints/best.ckpt"):
        assert (folder / name).is_file(), name
    table = (folder / "table.md").read_text()
    assert "- weights: the " in table and "## Beside a reference run" in table
    before = [line for line in table.splitlines() if line.startswith("| before |")]
    assert run(fit.main, "--resume", folder, "--iterations=6", "--progress=none") == 0
    assert not [w for w in recwarn if "not empty" in str(w.message)], "Lightning does not warn of the run's own folder"
    with open(folder / "evaluations.csv", newline="") as f:
        assert [row["iteration"] for row in csv.DictReader(f)] == ["2", "4", "6"]
    assert before == [s for s in (folder / "table.md").read_text().splitlines() if s.startswith("| before |")]


def test_the_best_weights_win_over_worse_last_ones(given, tmp_path, monkeypatch):
    """The policy is spoiled after the first validation."""
    whole = ExpertModule.on_train_epoch_end

    def end(self):
        whole(self)
        if self.current_epoch >= 2:
            self.policy.net[-1].bias.data.fill_(30.0)

    monkeypatch.setattr(ExpertModule, "on_train_epoch_end", end)
    argv = [*small(given, "expert"), "--validate_every=2", "--runs", tmp_path, "--name", "w"]
    assert run(fit.main, *argv) == 0
    folder = tmp_path / "expert" / "w"
    kept, about = read_weights(folder / "weights.safetensors")
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1 and about["samples"] == best["physhmr_kit"]["samples"] == 2 * SAMPLES
    assert "--validate_every=2" in about["command"]
    assert all(torch.equal(value, best["state_dict"][f"policy.{name}"]) for name, value in kept.items())
    table = (folder / "table.md").read_text()
    assert f"- weights: the best evaluated, after {2 * SAMPLES} samples" in table
    assert "| last |" in table and "| after |" in table


def test_weights_that_are_not_finite_end_the_run_with_one_line(given, tmp_path, monkeypatch, capsys):
    whole = ExpertModule.on_train_batch_end

    def end(self, *args):
        whole(self, *args)
        if self.current_epoch == 3:
            next(self.policy.net.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(ExpertModule, "on_train_batch_end", end)
    argv = [*small(given, "expert"), "--runs", tmp_path, "--name", "n"]
    assert run(fit.main, *argv) == 2
    error = capsys.readouterr().err
    assert "iteration 4" in error and "last.ckpt" in error and f"--resume {tmp_path / 'expert' / 'n'}" in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "expert" / "n" / "weights.safetensors").exists()


@pytest.mark.parametrize("name, kind", [("csv", "CSVLogger"), ("tensorboard", "TensorBoardLogger")])
def test_a_logger_can_be_chosen(name, kind, tmp_path):
    options, _, _ = fit._settings(["--stage", "expert", "--logger", name])
    (logger,) = fit._loggers(tmp_path, options)
    logger.log_metrics({"reward": 0.5}, step=1)
    logger.save()
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    assert type(logger).__name__ == kind and str(logger.save_dir).startswith(str(tmp_path))


def test_a_run_can_be_logged_to_wandb(tmp_path, monkeypatch, run_of):
    pytest.importorskip("wandb", reason="wandb is optional: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")  # the same calls, without its service
    (logger,) = fit._loggers(tmp_path, SimpleNamespace(logger=["wandb"]))
    logger.log_hyperparams(yaml.safe_load((run_of("expert") / "config.yaml").read_text()))
    logger.log_metrics({"reward": 0.5}, step=1)
    assert str(logger.save_dir) == str(tmp_path) and logger.name == "physhmr_kit"


# Bad input


@pytest.fixture
def refuses(capsys, tmp_path):
    """Runs fit and checks that it prints a one-line error, exits with 2 and writes nothing."""

    def check(argv, *words):
        runs = tmp_path / "refused"
        code = run(fit.main, *argv, "--runs", runs)
        error = capsys.readouterr().err
        assert code == 2
        assert error.startswith("error: ") and error.count("\n") == 1, error
        for word in words:
            assert str(word) in error
        assert not runs.exists(), "something was written"

    return check


def test_an_unknown_stage_is_refused(refuses):
    refuses(["--stage", "apprentice"], "apprentice", "encoder, expert, distill, finetune")


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


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("--std", -1, "std is -1"), ("--gamma", 1.5, "gamma is 1.5"), ("--clip_range", 0, "clip_range is 0"),
        ("--failure_weighted_prob", 2, "failure_weighted_prob is 2"), ("--iterations", 0, "iterations is 0"),
        ("--episode_length", 0, "episode_length is 0"), ("--validate_every", 0, "validate_every is 0"),
        ("--control", "remote", "remote"), ("--logger", "paper", "paper"), ("--trainer.max_time", "soon", "DD:HH:MM:SS"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused(option, value, words, refuses):
    refuses(["--stage", "expert", "--short", option, str(value)], words)


def test_a_config_that_is_missing_or_broken_is_refused(refuses, tmp_path):
    refuses(["--stage", "expert", "--config", tmp_path / "none.yaml"], "none.yaml")
    odd = tmp_path / "odd.yaml"
    odd.write_text("colour: red\n")
    refuses(["--stage", "expert", "--config", odd], "colour")


def test_clips_that_are_missing_are_refused(refuses, tmp_path):
    for stage in STAGES:
        refuses(["--stage", stage, "--short", "--clips", f"[{tmp_path / 'none.npz'}]"], "none.npz")
    refuses(["--stage", "expert", "--clips", "[demo:fly]"], "demo:fly")


@pytest.mark.parametrize("option", ["expert", "encoder", "init"])
def test_files_that_hold_no_weights_are_refused(option, refuses, given, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("not the weights")
    for path in (text, tmp_path / "none.safetensors"):
        refuses([*small(given, "finetune"), f"--{option}", path], path)


def test_initial_weights_that_do_not_exist_are_refused(refuses, given, tmp_path):
    for stage in ("expert", "distill"):
        refuses([*small(given, stage), "--init", tmp_path / "none.safetensors"], "none.safetensors")


def test_weights_of_another_stage_are_refused(refuses, given):
    refuses([*small(given, "distill"), "--expert", given["distill"]], given["distill"], "expert")
    refuses([*small(given, "finetune"), "--init", given["expert"]], given["expert"], "distill")
    refuses([*small(given, "expert"), "--init", given["distill"]], given["distill"], "expert")


def test_a_run_can_start_from_the_folders_of_others(given, run_of, tmp_path):
    options = ["--iterations=1", "--runs", tmp_path, "--name", "b"]
    options += ["--init", run_of("distill"), "--expert", run_of("expert")]
    assert run(fit.main, *small(given, "finetune"), *options) == 0
    assert load_policy(tmp_path / "finetune" / "b" / "weights.safetensors").hidden == (16,)


def test_a_folder_that_is_not_a_run_is_not_resumed(refuses, tmp_path):
    refuses(["--stage", "expert", "--resume", tmp_path], "config.yaml", "missing")


def test_a_run_of_the_same_name_is_not_overwritten(given, run_of, capsys):
    folder = run_of("expert")
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    assert run(fit.main, *small(given, "expert"), "--runs", folder.parents[1], "--name", "a") == 2
    assert "choose another --name" in capsys.readouterr().err
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
