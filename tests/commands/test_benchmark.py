"""`evaluate --benchmark`: from a downloaded set to its tables, with untrained policies."""

import json

import benchmark_layouts as layouts
import pytest
from full_size_model import write_models
from material import run as command
from material import weights
from motions import rest_clip

from data_prep import emdb, human36m
from data_prep.retargeting.own_shape import FOLDER
from physhmr_kit import evaluate
from physhmr_kit.metrics.protocols import PHYSHMR


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {"emdb": layouts.write_emdb(folder / "emdb", layouts.scene(frames=20)), **weights(folder)}


def test_command_prepares_a_set_and_writes_tables_and_pictures(given, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(FOLDER, str(write_models(tmp_path / "models", "neutral", "female")))
    argv = ["--benchmark", "emdb1", "--data", given["emdb"], "--method", "physics", "--weights", given["distill"]]
    argv += ["--encoder", given["encoder"], "--out", tmp_path, "--pictures"]
    assert command(evaluate.main, *argv) == 0
    text = capsys.readouterr().out
    for method in ("physics", "two_stage", "kinematic"):
        assert f"| {method} | 1 |" in text and f"| P1_14_outdoor_climb | {method} |" in text
        assert (tmp_path / method / "wham" / "P1_14_outdoor_climb.png").is_file()
    assert "not detections" in text and "meshes of SMPL" in text and "PVE mm" in text
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert (tmp_path / "table.tex").is_file()
    assert settings["weights of physics"].startswith("distill.safetensors") and settings["simulator"] == "mujoco_cpu"


def test_physhmr_protocol(given, tmp_path, capsys):
    argv = ["--benchmark", "emdb1", "--data", given["emdb"], "--method", "kinematic", "--encoder", given["encoder"]]
    assert command(evaluate.main, *argv, "--out", tmp_path / "a", "--protocol", "physhmr") == 0
    text = capsys.readouterr().out
    assert "height var. mm²" in text and "no SMPL model" in text and PHYSHMR.notes[1] in text


def test_human36m_is_scored_on_joints_only(given, tmp_path, capsys):
    scene = layouts.scene(50.0, moving=False, frames=40, size=(1000, 1002))
    human36m.SET.prepare(layouts.write_human36m(tmp_path / "raw", scene), tmp_path / "set", "test", limit=1)
    argv = ["--benchmark", "human36m", "--data", tmp_path / "set", "--encoder", given["encoder"]]
    argv += ["--out", tmp_path / "out"]
    assert command(evaluate.main, *argv, "--method", "kinematic", "--protocol", "phc") == 2
    assert "use --protocol wham" in capsys.readouterr().err
    assert command(evaluate.main, *argv, "--method", "kinematic") == 0
    assert "13 joints" in capsys.readouterr().out


def test_set_prepared_with_other_keypoints_is_refused(given, tmp_path, capsys):
    emdb.SET.prepare(given["emdb"], tmp_path / "set")
    argv = ["--benchmark", "emdb1", "--data", tmp_path / "set", "--method", "kinematic", "--out", tmp_path / "out"]
    assert command(evaluate.main, *argv, "--keypoints", tmp_path / "detector") == 2
    assert "prepare it again" in capsys.readouterr().err


def test_wrong_options_are_refused_with_one_line(given, tmp_path, capsys):
    assert command(evaluate.main, "--benchmark", "emdb1") == 2
    assert "--data" in capsys.readouterr().err
    argv = ["--benchmark", "3dpw", "--data", given["emdb"], "--method", "kinematic", "--out", tmp_path]
    assert command(evaluate.main, *argv) == 2
    assert "get 3DPW from" in capsys.readouterr().err
    rest_clip(5).save(tmp_path / "rest.npz")
    assert command(evaluate.main) == 2 and "--stage" in capsys.readouterr().err
