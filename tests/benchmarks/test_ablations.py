"""The ablations train and evaluate every variant, reuse finished cells, and draw conclusions that follow from the numbers."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.rollout import Rollout
from physhmr_kit.env.settings import EXPERT_GROUPS, STUDENT_GROUPS
from physhmr_kit.learning import Policy, load_policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.settings import Distillation, FinetunePPO
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import VisionEncoder

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablations.py"
MOTIONS = {"rest": lambda: rest_clip(12), "waving": lambda: waving_clip(14)}


@pytest.fixture(scope="module")
def ablations():
    spec = importlib.util.spec_from_file_location("ablations", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablations"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(ablations, monkeypatch, tmp_path):
    """The script with two motions of half a second, four environments, an untrained encoder and an untrained expert."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = VisionEncoder(width=24, layers=1, heads=2).eval()
        expert = Policy(EXPERT_GROUPS, (8,), 0.1, "balanced").eval()
    weights = tmp_path / "weights"
    weights.write_bytes(b"some")
    monkeypatch.setattr(ablations, "load_encoder", lambda given: encoder)
    monkeypatch.setattr(ablations, "load_library", lambda specs: MotionLibrary([MOTIONS[s]() for s in specs]))
    monkeypatch.setattr(ablations, "read_policy", lambda stage, given: expert)
    monkeypatch.setattr(ablations, "find_weights", lambda stage: weights)
    tiny = ablations.Budget(
        clips=("rest", "waving"), unseen=("waving",), views=2, num_envs=4, hidden=(8,),
        optim=Distillation(horizon=4, updates=2, minibatch_size=8, buffer_rollouts=2), distill=2, finetune=2,
        critic_warmup=1, minibatch_size=64, checkpoint_every=None,
    )  # fmt: skip
    monkeypatch.setattr(ablations, "QUICK", tiny)
    return ablations


def test_a_finished_cell_is_not_run_again_and_cells_of_other_settings_are_refused(small, tmp_path, monkeypatch, capsys):
    asked = []

    def run(study, name, seed):
        asked.append((name, seed))
        if len(asked) == 4:
            raise KeyboardInterrupt
        one = dict.fromkeys(small.MEASURES, float(len(asked)))
        return {"samples": 1000, "seconds": 1.0, "sets": {"seen": one, "unseen": one}}

    monkeypatch.setattr(small.Study, "_run", run)
    words = ["--budget", "quick", "--only", "control", "--seeds", "2", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        small.main(words)
    wanted = [(name, seed) for seed in (0, 1) for name in (*small.BASELINES, "all", "estimate")]
    assert asked == wanted[:4] and len(list((tmp_path / "cells").glob("*"))) == 3
    assert small.main(words) == 0
    assert asked == [*wanted[:4], *wanted[3:]], "it continues with the interrupted cell"
    first = capsys.readouterr().out
    assert small.main(words) == 0 and capsys.readouterr().out == first and len(asked) == 13
    monkeypatch.setattr(small, "QUICK", replace(small.QUICK, distill=3))
    with pytest.raises(KitError, match="another budget"):
        small.main(words)


def test_an_interrupted_training_resumes_from_its_checkpoint(small, tmp_path):
    films, checkpoint = small.Films(small.QUICK, 0), tmp_path / "last.ckpt"
    expert = small.read_policy("expert", None)

    def trained(iterations):
        budget = replace(small.QUICK, distill=iterations)
        stage = small.stage_of(small.VARIANTS["rays"], budget, 0, expert, films, tmp_path / "none")
        small.fit(stage, films.training, checkpoint, every=1)
        return stage

    assert trained(1).samples == 16 and checkpoint.is_file()
    resumed = trained(3)
    assert resumed.samples == 3 * 16
    assert resumed.buffer.written == 3 * 16, "the first rollout came with the checkpoint"


def test_rl_from_scratch_starts_with_a_filled_normaliser_and_trains_on_as_many_samples(small, tmp_path):
    films, budget = small.Films(small.QUICK, 0), small.QUICK
    stage = small.stage_of(small.VARIANTS["rl"], budget, 0, small.read_policy("expert", None), films, tmp_path / "none")
    assert stage.imitation_coef == 0 and stage.policy.net[-1].weight.abs().max() < 0.02
    assert float(stage.policy.norm.count) == 4 * FinetunePPO.horizon
    for each in (small.FULL, replace(small.FULL, distill=40, finetune=7)):
        steps = each.distill * each.optim.horizon + each.finetune * FinetunePPO.horizon
        assert each.rl_only * FinetunePPO.horizon == steps


def a_rollout(frames: int, off: float, name: str = "rest") -> Rollout:
    """Standing `off` metres beside the reference, every joint at 2 N m and 3 rad/s."""
    state = MotionLibrary([rest_clip(frames)]).clip(0)
    beside = replace(
        state, body_pos=state.body_pos + torch.tensor([off, 0.0, 0.0]), dof_vel=torch.full((frames, 69), 3.0)
    )
    forces, torque = torch.zeros(frames, 24, 3), torch.full((frames, 69), 2.0)
    torque[0] = 1e6  # must be ignored: no step leads to the first frame
    return Rollout(name, state, beside, forces, torque, {}, frames, True, None)


def test_measures_match_hand_computed_values(ablations):
    found = ablations.score([a_rollout(30, 0.1), a_rollout(10, 0.6)])
    assert found["success"] == 50 and found["power_w"] == pytest.approx(69 * 6)
    assert 100 * 30 / 40 < found["frames"] < 100
    assert found["mpjpe_mm"] == pytest.approx(0, abs=1e-2), "it only stands elsewhere"
    library = MotionLibrary([rest_clip(12)])
    (still,) = ablations.kinematic(library, SimpleNamespace(estimates=SimpleNamespace(library=library)))
    found = ablations.score([still])
    assert (found["success"], found["tracking_mm"], found["power_w"]) == (100, 0, None)


def test_missing_values_are_left_out_of_mean_and_spread(ablations):
    assert ablations.spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert ablations.spread([4.0]) == "4.0" and ablations.spread([None, None]) == "-"
    assert ablations.spread([None, 1.0, 2.0]) == "1.5 ± 0.7"


def test_the_verdict_on_a_claim_follows_from_the_numbers(ablations):
    claim = ablations.Claim("A is closer.", (("a", "b", "frames"), ("a", "b", "tracking_mm")))

    def cells(frames, errors):
        one = [
            {"sets": {key: {"frames": f, "tracking_mm": e} for key in ablations.SETS}}
            for f, e in zip(frames, errors, strict=True)
        ]
        two = [{"sets": {key: {"frames": 50.0, "tracking_mm": 100.0} for key in ablations.SETS}} for _ in frames]
        return {"a": one, "b": two}

    said = lambda frames, errors: ablations.outcome(claim, cells(frames, errors), {"a": "A", "b": "B"})  # noqa: E731
    assert said([60.0, 70.0], [90.0, 80.0])[0] == "- **A is closer.** Here: as claimed by every measure and seed."
    assert said([40.0, 50.0], [110.0, 120.0])[0].endswith("not seen by any measure in any seed.")
    mixed = said([60.0, 40.0], [90.0, 90.0])
    assert mixed[0].endswith("as claimed in 6 of 8 comparisons.")
    assert mixed[1] == (
        "  - frames followed %, training clips, other cameras: A 50.0 ± 14.1, B 50.0 ± 0.0; as claimed in 1 of 2 seeds"
    )
    assert said([60.0, 70.0], [90.0, None])[-1].endswith("as claimed in 1 of 1 seeds")


def test_full_uses_motion_capture_where_it_is_available(ablations, tmp_path, monkeypatch):
    monkeypatch.delenv("PHYSHMR_DATA", raising=False)
    assert ablations.budget("full") == ablations.FULL and ablations.budget("quick") == ablations.QUICK
    monkeypatch.setenv("PHYSHMR_DATA", str(tmp_path))
    with pytest.raises(KitError, match="PHYSHMR_DATA"):
        ablations.budget("full")
    folder = tmp_path / "cmu_more" / "bvh_motionbuilder"
    folder.mkdir(parents=True)
    for name in ("16_15", "35_01", "35_30", "17_01", "49_12"):
        (folder / f"{name}.bvh").write_text("")
    found = ablations.budget("full")
    assert [Path(path).stem for path in found.unseen] == ["16_15", "35_01", "49_12"]
    assert str(tmp_path / "cmu") in found.clips
    assert ablations.budget("quick") == ablations.QUICK


def test_variants_are_trained_and_evaluated_beside_the_baselines(small, tmp_path, capsys, monkeypatch):
    inputs = {name: small.PARTS["inputs"][name] for name in ("feature", "root_position", "all")}
    monkeypatch.setitem(small.PARTS, "inputs", inputs)  # the others read some of the same groups
    trained = {name for part in small.PARTS.values() for name in part}
    assert small.main(["--budget", "quick", "--seeds", "1", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "ablations.md").read_text() == text.removesuffix("\n")
    for part, rows in small.PARTS.items():
        for words in small.SETS.values():
            table = text.split(f"## {part.capitalize()}: {words}\n\n")[1].split("\n\n")[0].splitlines()
            labels = [line.split(" | ")[0].removeprefix("| ") for line in table[2:]]
            assert labels == [*rows.values(), *small.BASELINES.values()]
    cells = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "cells").glob("*.json")}
    assert set(cells) == {f"{name}_seed0" for name in (*trained, *small.BASELINES)}
    samples = {name: cells[f"{name}_seed0"]["samples"] for name in trained}
    assert samples["all"] == 2 * 4 * 4 and samples["distilled_rl"] == samples["all"] + 2 * 4 * FinetunePPO.horizon
    for name in trained:
        sets = cells[f"{name}_seed0"]["sets"]
        assert set(sets) == {"seen", "unseen"} and set(sets["seen"]) == set(small.MEASURES)
        assert sets["seen"]["power_w"] > 0 and 0 < sets["unseen"]["frames"] <= 100
    assert cells["kinematic_seed0"]["sets"]["seen"]["power_w"] is None
    for name in trained:
        variant = small.VARIANTS[name]
        policy = load_policy(tmp_path / "cells" / f"{name}_seed0.safetensors")
        assert policy.control == ("balanced" if variant.student == "estimate" else "absolute")
        if variant.student == "paper":
            assert policy.groups == (variant.groups or STUDENT_GROUPS)
    apart = load_policy(tmp_path / "cells" / "distilled_rl_seed0.safetensors").state_dict()
    start = load_policy(tmp_path / "cells" / "all_seed0.safetensors").state_dict()
    torch.testing.assert_close(apart["norm.mean"], start["norm.mean"])  # fine-tuning keeps the distilled student's
    assert not torch.equal(apart["net.0.weight"], start["net.0.weight"])
