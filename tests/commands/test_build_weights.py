"""`make weights`: its commands are those of today's fit, and averaging two experts gives one between them."""

import importlib.util
from pathlib import Path

import pytest
import torch
from material import run

from physhmr_kit import fit
from physhmr_kit.env.settings import EXPERT_GROUPS
from physhmr_kit.learning import Policy, load_policy
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.utils.errors import KitError
from physhmr_kit.weights import average

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "build_weights.py"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["build_weights"] = module
    spec.loader.exec_module(module)
    return module


def test_every_command_is_one_that_fit_understands(build, tmp_path):
    for made in build.RUNS:
        options, settings, _ = fit._settings(made.arguments(tmp_path / "data", tmp_path / "runs"))
        assert (options.stage, options.name) == (made.stage, made.name)
        assert settings.iterations > 100 and str(tmp_path / "data" / "cmu") in " ".join(settings.data.clips)


def test_finished_runs_are_kept_and_interrupted_ones_resumed(build, tmp_path, monkeypatch):
    asked, made = [], build.RUNS[1]
    folder = tmp_path / made.stage / made.name

    def fake(words):
        asked.append(words)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").write_text("")
        if len(asked) == 2:
            (folder / "weights.safetensors").write_text("")
        return 0 if len(asked) == 2 else 130

    monkeypatch.setattr(build.fit, "main", fake)
    with pytest.raises(KitError, match="repeat the command"):
        build.train(made, tmp_path, tmp_path, short=True)
    build.train(made, tmp_path, tmp_path, short=True)
    assert "--resume" not in asked[0] and asked[1] == ["--stage", "expert", "--resume", str(folder)]
    assert build.finished(made, tmp_path)


def an_expert(seed: int) -> Policy:
    torch.manual_seed(seed)
    return Policy(EXPERT_GROUPS, (8,), 0.05, "balanced")


def test_the_mean_of_two_experts_lies_between_them(tmp_path):
    a, b = an_expert(0), an_expert(1)
    paths = [save_policy(p, tmp_path / f"{i}.safetensors", "expert", command=f"run {i}") for i, p in enumerate((a, b))]
    assert run(average.main, "--weights", *map(str, paths), "--out", tmp_path / "mean.safetensors") == 0
    mean = load_policy(tmp_path / "mean.safetensors").state_dict()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(
            mean[name].double(), (value + b.state_dict()[name]).double() / 2, atol=1e-3, rtol=1e-3
        )


def test_experts_of_different_sizes_have_no_mean():
    with pytest.raises(KitError, match="have no mean"):
        average.averaged_policy(an_expert(0), Policy(EXPERT_GROUPS, (9,), 0.05, "balanced"))
