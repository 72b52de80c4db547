import csv

import pytest
import torch
from material import STUDENT_GROUPS, run, weights
from motions import rest_clip, sitting_clip

from physhmr_kit import evaluate
from physhmr_kit.env import Rollout
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.views import film_library
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.track import VisualTrack


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    rest_clip(name="rest").save(folder / "clips" / "rest.npz")
    rest_clip(60, lift_off=2.0).save(folder / "clips" / "rocket.npz")
    return {"clips": folder / "clips", **weights(folder)}


def test_the_table_shows_which_clips_were_tracked_and_when_others_were_lost(given, capsys, tmp_path):
    files = ["--csv", tmp_path / "new" / "t.csv", "--markdown", tmp_path / "t.md", "--save", tmp_path / "rolls"]
    argv = ["--stage", "expert", "--weights", given["expert"], "--clips", given["clips"]]
    assert run(evaluate.main, *argv, *files) == 0
    out = capsys.readouterr().out
    assert "| rest | 30 | tracked |" in out and "| rocket | 60 | lost at" in out
    assert "1/2 success" in out and "not tracked to the end: rocket lost at" in out
    assert (tmp_path / "t.md").read_text() in out

    rows = {row["clip"]: row for row in csv.DictReader((tmp_path / "new" / "t.csv").open())}
    assert set(rows) == {"rest", "rocket", "all clips", "successful clips"}
    assert 0 < float(rows["rest"]["tracking_mm"]) < 60
    scored = int(rows["rocket"]["scored"])
    # the reference leaves the ground at 2 m/s: a distance of half a metre is reached within the first second
    assert 5 < scored < 30 and float(rows["rocket"]["tracking_mm"]) > 100

    rocket = Rollout.load(tmp_path / "rolls" / "rocket.npz")
    assert rocket.fail_frame == scored and rocket.length == 60
    assert not list(tmp_path.rglob("*.part*"))


def test_a_student_observes_the_clips_through_a_camera_drawn_with_the_seed(given, capsys, tmp_path):
    def table(seed):
        argv = ["--stage", "distill", "--weights", given["distill"], "--encoder", given["encoder"]]
        argv += ["--clips", given["clips"] / "rest.npz"]
        assert run(evaluate.main, *argv, "--seed", seed, "--save", tmp_path / str(seed)) == 0
        return capsys.readouterr().out

    first = table(0)
    assert "seed 0" in first and "jitter=0.008" in first  # the noise is stated
    assert table(0) == first != table(1)
    centres = [VisualTrack.load(tmp_path / str(s) / "rest_track.npz").centre for s in (0, 1)]
    assert (centres[0] - centres[1]).norm() > 0.1


def test_the_view_of_a_clip_does_not_depend_on_other_clips():
    encoder = VisionEncoder(width=24, layers=1, heads=2)
    alone = film_library(MotionLibrary([rest_clip(name="b")]), encoder, 1, 3)[1]
    in_company = film_library(MotionLibrary([rest_clip(50, "a"), rest_clip(name="b")]), encoder, 1, 3)[1]
    torch.testing.assert_close(alone[0].keypoints, in_company[1].keypoints)
    assert (in_company[0].centre[0] - in_company[1].centre[0]).norm() > 0.1  # but every clip has its own view


def test_the_weights_of_a_run_are_found_in_its_folder(given, capsys, tmp_path):
    run_folder = tmp_path / "runs" / "expert" / "first"
    torch.manual_seed(0)
    save_policy(Policy(("proprioception", "reference"), (16,)), run_folder / "weights.safetensors", "expert")
    assert run(evaluate.main, "--stage", "expert", "--weights", run_folder, "--clips", given["clips"] / "rest.npz") == 0
    assert "| rest | 30 | tracked |" in capsys.readouterr().out


def test_the_episode_is_that_of_the_policy(given):
    policy, config, settings = evaluate.find_policy("distill", given["distill"])
    assert config.groups == policy.groups == STUDENT_GROUPS and config.control == "absolute"
    assert settings["stage"] == "distill"


def test_the_push_test_reports_how_often_each_clip_recovered(given, capsys, tmp_path):
    """With a student, so that every rollout needs the view of its own clip."""
    chosen = ["--stage", "distill", "--weights", given["distill"], "--encoder", given["encoder"]]
    chosen += ["--clips", given["clips"], "--push", 150, "--pushes", 2, "--push_seconds", 0.2]
    files = ["--csv", tmp_path / "t.csv", "--markdown", tmp_path / "t.md", "--save", tmp_path / "rolls"]
    assert run(evaluate.main, *chosen, *files) == 0
    out = capsys.readouterr().out
    assert "| rest | " in out and "| rocket | lost | 2 | 0 | 0 | - | - |" in out and "/2 tracked | 4 |" in out
    assert "150 N for 0.20 s" in out and "% recover." in out
    assert (tmp_path / "t.md").read_text() in out
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["clip"], row["push"]) for row in rows] == [(c, p) for c in ("rest", "rocket") for p in "012"]
    assert Rollout.load(tmp_path / "rolls" / "rocket_push2.npz").name == "rocket_push2"
    assert len(VisualTrack.load(tmp_path / "rolls" / "rest_push2_track.npz").centre) == 30
    assert len(VisualTrack.load(tmp_path / "rolls" / "rocket_push1_track.npz").centre) == 60


def test_clips_without_support_can_be_excluded(given, capsys, tmp_path):
    rest_clip(name="rest").save(tmp_path / "clips" / "rest.npz")
    sitting_clip().save(tmp_path / "clips" / "sits.npz")
    argv = ["--stage", "expert", "--weights", given["expert"], "--clips", tmp_path / "clips", "--skip-unsupported"]
    assert run(evaluate.main, *argv) == 0
    told = capsys.readouterr()
    assert "on 1 clips" in told.out and "sits, without support in 100 % of its frames" in told.err


def test_a_push_test_without_pushes_is_refused(given, capsys):
    assert run(evaluate.main, "--stage", "expert", "--push", 200, "--pushes", 0) == 2
    assert "at least 1 is needed" in capsys.readouterr().err


def test_only_the_held_out_clips_can_be_evaluated(given, capsys):
    from physhmr_kit.motion.split import is_held_out

    argv = ["--stage", "expert", "--weights", given["expert"], "--clips", given["clips"], "--held_out", 3, "--fold"]
    for fold in range(3):
        names = [name for name in ("rest", "rocket") if is_held_out(name, 3, fold)]
        code, told = run(evaluate.main, *argv, fold), capsys.readouterr()
        if names:
            assert code == 0 and all(f"| {n} |" in told.out for n in names) and f"on {len(names)} clips" in told.out
        else:
            assert code == 2 and f"part {fold} of 3" in told.err
