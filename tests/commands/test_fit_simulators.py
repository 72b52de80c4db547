"""`fit --simulator`: every stage on every simulator, and a worker that dies during a run."""

import os
import signal

import pytest
import yaml
from backends import use_standin
from material import run, weights
from motions import rest_clip

from physhmr_kit import fit, viewer
from physhmr_kit.learning import read_weights
from physhmr_kit.learning.collect import Collector
from physhmr_kit.runs.history import read_metrics

STAGES = ("expert", "distill", "finetune")
PLACES = {"mujoco_gpu": ["--trainer.accelerator", "cpu"], "isaac_gym": []}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Skips the pictures at the end of a run, which take a third of its time."""
    monkeypatch.setattr(viewer, "record_rollout", lambda *_: None)
    monkeypatch.setattr(viewer, "filmstrip", lambda *_: None)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return {**weights(folder), "clip": rest_clip(24).save(folder / "rest.npz")}


def options(given, stage: str, simulator: str, runs) -> list[str]:
    """A short run of a stage: one clip of 24 frames, four bodies, two iterations."""
    words = ["--stage", stage, "--short", "--progress", "none", "--runs", runs, "--name", "a"]
    words += ["--clips", f"[{given['clip']}]", "--simulator", simulator, *PLACES.get(simulator, [])]
    words += ["--num_envs=4", "--horizon=4", "--iterations=2", "--checkpoint_every=1"]
    words += ["--critic_hidden=[16]"] if stage == "finetune" else ["--hidden=[16]"]
    if stage != "expert":
        words += ["--expert", given["expert"], "--encoder", given["encoder"]]
    return [*words, "--init", given["distill"]] if stage == "finetune" else words


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_trains_on_mujoco_gpu_with_one_option(stage, given, tmp_path, capsys):
    """On Warp's CPU device here; with a card, `--simulator mujoco_gpu` is all there is to say."""
    pytest.importorskip("mujoco_warp")
    assert run(fit.main, *options(given, stage, "mujoco_gpu", tmp_path)) == 0
    assert "simulator mujoco_gpu: requested" in capsys.readouterr().out
    assert read_weights(tmp_path / stage / "a" / "weights.safetensors")[1]["stage"] == stage
    assert yaml.safe_load((tmp_path / stage / "a" / "config.yaml").read_text())["sim"]["simulator"] == "mujoco_gpu"
    assert "overflowed" in read_metrics(tmp_path / stage / "a")[0]


def test_a_stage_trains_on_isaac_gym_once_its_interpreter_is_named_and_is_resumed_after_a_worker_died(
    given, tmp_path, monkeypatch, capsys
):
    use_standin(monkeypatch, tmp_path)
    runs, calls, collect = tmp_path / "runs", [], Collector.collect

    def collect_and_die(self, *args):
        calls.append(self)
        if len(calls) == 4:  # the third iteration, after a first look; checkpoints of two have been written
            os.kill(self.env.simulator._worker.pid, signal.SIGKILL)
        return collect(self, *args)

    monkeypatch.setattr(Collector, "collect", collect_and_die)
    words = [*options(given, "expert", "auto", runs), "--iterations", "4"]
    assert run(fit.main, *words) == 2
    said, told = (text.strip() for text in capsys.readouterr())
    assert "simulator isaac_gym: PHYSHMR_ISAACGYM_PYTHON names" in said
    assert told.count("\n") == 0 and "signal SIGKILL" in told and f"--resume {runs / 'expert' / 'a'}" in told
    monkeypatch.setattr(Collector, "collect", collect)
    assert run(fit.main, "--stage", "expert", "--resume", runs / "expert" / "a", "--progress", "none") == 0
    assert int(read_weights(runs / "expert" / "a" / "weights.safetensors")[1]["samples"]) == 4 * 16


@pytest.mark.parametrize(
    "words, told",
    [
        (["--simulator", "clockwork"], "clockwork"),
        (["--simulator", "mujoco_gpu"], "there is no CUDA device; use --simulator mujoco_cpu"),
        (["--simulator", "mujoco_cpu", "--trainer.accelerator", "gpu"], "use --simulator mujoco_gpu"),
        (["--trainer.accelerator", "gpu"], "mujoco_cpu runs on the CPU"),
        (["--simulator", "isaac_gym"], "PHYSHMR_ISAACGYM_PYTHON is not set"),
        (["--num_envs", "0"], "num_envs is 0"),
    ],
)
def test_an_unavailable_simulator_is_refused_with_one_line(words, told, given, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PHYSHMR_ISAACGYM_PYTHON", raising=False)
    if {"mujoco_gpu", "--trainer.accelerator"} & set(words):
        pytest.importorskip("mujoco_warp")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    begin = ["--stage", "expert", "--short", "--progress", "none", "--runs", tmp_path, "--clips", f"[{given['clip']}]"]
    assert run(fit.main, *begin, *words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and told in said and "\n" not in said
    assert not list(tmp_path.iterdir()), "no run folder is left behind"
