"""Bad input: a one-line error that names the file and the fault, exit code 2, no traceback, no files written."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from material import edit_camera, filmed, run, weights, write_video
from motions import rest_clip
from safetensors.torch import save_file

from physhmr_kit import evaluate, reconstruct
from physhmr_kit.stages.build import build_stage
from physhmr_kit.stages.settings import ExpertConfig, MotionData
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.keypoints import KeypointTrack


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_input")
    return {**filmed(folder), **weights(folder), "clip": rest_clip().save(folder / "rest.npz")}


@pytest.fixture
def refuses(capsys, tmp_path):
    """Runs a command and checks that it prints a one-line error, exits with 2 and writes nothing."""

    def check(main, argv, *words):
        before = sorted(tmp_path.rglob("*"))
        code = run(main, *argv)
        captured = capsys.readouterr()
        assert code == 2
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        assert captured.out == ""
        for word in words:
            assert str(word) in captured.err
        assert sorted(tmp_path.rglob("*")) == before, "something was written"

    return check


def evaluating(given, tmp_path, clip=None, **changed):
    options = {"--stage": "expert", "--weights": given["expert"]}
    options |= {"--csv": tmp_path / "t.csv", "--save": tmp_path / "rolls"}
    return [*flat(options, changed), "--clips", clip or given["clip"]]


def reconstructing(given, tmp_path, **changed):
    options = {f"--{k}": given[k] for k in ("keypoints", "camera", "encoder")}
    video = [changed.pop("video")] if "video" in changed else []
    return video + flat({**options, "--weights": given["distill"], "--out": tmp_path / "out"}, changed)


def flat(options, changed):
    options = {**options, **{f"--{k}": v for k, v in changed.items()}}
    return [word for pair in options.items() for word in pair]


# Clips


UNTRACKABLE = {
    "short": "4 frame(s) at 30 fps; tracking needs at least 5",
    "hovering": "without its start 60 cm above the floor",
    "rateless": "no mocap_framerate in the file; add it",
    "period": "0.0333 frames per second",
}


def untrackable_clip(folder, fault):
    """A readable file with a motion that cannot be tracked."""
    path = folder / f"{fault}.npz"
    good = rest_clip(4 if fault == "short" else 20)
    trans, fps = good.trans.copy(), 30.0
    if fault == "hovering":
        trans[:18, 2] += np.linspace(0.6, 0.06, 18)
    if fault == "period":
        fps = 0.0333
    rate = {} if fault == "rateless" else {"mocap_framerate": fps}
    np.savez(path, poses=good.poses, trans=trans, **rate)
    return path


@pytest.mark.parametrize("fault", UNTRACKABLE)
def test_a_clip_that_cannot_be_tracked_is_refused_for_evaluation_and_for_training(fault, given, refuses, tmp_path):
    path = untrackable_clip(tmp_path, fault)
    refuses(evaluate.main, evaluating(given, tmp_path, path), path, UNTRACKABLE[fault])
    with pytest.raises(KitError, match=re.escape(UNTRACKABLE[fault])):
        build_stage(ExpertConfig(data=MotionData(clips=(str(path),))))


def test_a_clip_at_the_wrong_height_is_corrected_and_reported(given, capsys, tmp_path):
    clip = rest_clip(20)
    path = replace(clip, trans=clip.trans + np.float32([0, 0, 0.2])).save(tmp_path / "high.npz")
    assert run(evaluate.main, *evaluating(given, tmp_path, path)) == 0
    captured = capsys.readouterr()
    assert captured.err.count("lowered by 20.0 cm") == 1 and str(path) in captured.err


def broken_clip(folder, fault):
    """A clip file with one fault, and words of the expected message."""
    path = folder / f"{fault}.npz"
    poses, trans = np.zeros((10, 72), np.float32), np.zeros((10, 3), np.float32)
    if fault == "missing":
        return path, "no such"
    if fault == "truncated":
        whole = rest_clip().save(folder / "whole.npz")
        path.write_bytes(whole.read_bytes()[:400])
        return path, "not a readable"
    if fault == "damaged":  # as a bad disk would: the zip's directory is whole, the data is not
        whole = bytearray(rest_clip().save(folder / "whole.npz").read_bytes())
        whole[80:120] = bytes(40)
        path.write_bytes(whole)
        return path, "not a readable"
    if fault == "text":
        path.write_text("poses: none")
        return path, "not an .npz clip but a text file"
    if fault == "nan":
        poses[4, 7] = np.nan
    words = {
        "nan": "not finite in 1 frame(s), first 4",
        "empty": "no frames",
        "uneven": "trans has shape",
        "wide": "poses have shape",
    }
    if fault == "empty":
        poses, trans = poses[:0], trans[:0]
    if fault == "uneven":
        trans = trans[:7]
    if fault == "wide":
        poses = np.zeros((10, 99), np.float32)
    np.savez(path, poses=poses, trans=trans, mocap_framerate=30.0)
    return path, words[fault]


@pytest.mark.parametrize("fault", ["missing", "truncated", "damaged", "text", "nan", "empty", "uneven", "wide"])
def test_a_broken_clip_is_refused(fault, given, refuses, tmp_path):
    path, words = broken_clip(tmp_path, fault)
    refuses(evaluate.main, evaluating(given, tmp_path, path), path, words)


def test_one_broken_clip_among_good_ones_is_named(given, refuses, tmp_path):
    path, words = broken_clip(tmp_path, "nan")
    refuses(evaluate.main, [*evaluating(given, tmp_path), path], path, words)


BVH = """HIERARCHY
ROOT {root}
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT {child}
  {{
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {{
      OFFSET 0 10 0
    }}
  }}
}}
MOTION
Frames: 2
Frame Time: 0.033333
0 0 0 0 0 0 0 0 0
0 0 0 0 0 0 0 0 0
"""


def test_unknown_joint_names_are_refused(given, refuses, tmp_path):
    path = tmp_path / "dragon.bvh"
    path.write_text(BVH.format(root="tail", child="left_wing"))
    refuses(evaluate.main, evaluating(given, tmp_path, path), path, "joint")


def test_a_folder_without_motions_and_an_unknown_demo_are_refused(given, refuses, tmp_path):
    (tmp_path / "nothing").mkdir()
    refuses(evaluate.main, evaluating(given, tmp_path, tmp_path / "nothing"), tmp_path / "nothing", "no motion files")
    refuses(evaluate.main, evaluating(given, tmp_path, tmp_path / "moves.txt"), "moves.txt", "no such file")


# Stages, simulators, weights


def test_an_unknown_stage_is_refused(given, refuses, tmp_path):
    refuses(evaluate.main, evaluating(given, tmp_path, stage="apprentice"), "apprentice", "distill")
    refuses(reconstruct.main, reconstructing(given, tmp_path, stage="apprentice"), "apprentice", "distill")


def test_an_unknown_simulator_is_refused(given, refuses, tmp_path):
    refuses(evaluate.main, evaluating(given, tmp_path, simulator="clockwork"), "clockwork", "mujoco_cpu")
    refuses(reconstruct.main, reconstructing(given, tmp_path, simulator="clockwork"), "clockwork", "mujoco_cpu")


def test_a_missing_option_is_refused(given, refuses, tmp_path):
    refuses(evaluate.main, ["--clips", given["clip"]], "stage")
    refuses(reconstruct.main, ["--camera", given["camera"], "--out", tmp_path / "out"], "VIDEO", "--keypoints")
    both = reconstructing(given, tmp_path, focal=500.0)
    refuses(reconstruct.main, both, "one of --camera, --lens and --focal")


def bad_weights(folder, fault, given):
    path = folder / f"{fault}.safetensors"
    if fault == "text":
        path.write_text("these are not the weights")
    elif fault == "truncated":
        path.write_bytes(given["expert"].read_bytes()[:100])
    elif fault == "stranger":
        save_file({"layer": torch.zeros(3)}, path)
    elif fault == "encoder":
        return given["encoder"]
    elif fault == "folder":
        path = folder / "empty_run"
        path.mkdir()
    return path


@pytest.mark.parametrize("fault", ["missing", "text", "truncated", "stranger", "encoder", "folder"])
def test_files_that_are_not_weights_are_refused(fault, given, refuses, tmp_path):
    path = bad_weights(tmp_path, fault, given)
    refuses(evaluate.main, evaluating(given, tmp_path, weights=path), path)
    refuses(reconstruct.main, reconstructing(given, tmp_path, weights=path), path)


def test_the_weights_of_another_stage_are_refused(given, refuses, tmp_path):
    refuses(evaluate.main, evaluating(given, tmp_path, weights=given["distill"]), given["distill"], "--stage distill")


def test_a_file_that_is_not_an_encoder_is_refused(given, refuses, tmp_path):
    refuses(reconstruct.main, reconstructing(given, tmp_path, encoder=given["expert"]), given["expert"], "encoder")


# Cameras


def test_a_camera_matrix_that_is_not_a_rotation_is_refused(given, refuses, tmp_path):
    data = json.loads(given["camera"].read_text())
    stretched = (1.1 * np.array(data["R_world_to_camera"])).tolist()
    mirrored = (np.diag([-1, 1, 1]) @ np.array(data["R_world_to_camera"])).tolist()
    for R in (stretched, mirrored, [[1, 0, 0], [0, 1, 0]], [[float("nan")] * 3] * 3):
        path = edit_camera(given["camera"], R_world_to_camera=R)
        refuses(reconstruct.main, reconstructing(given, tmp_path, camera=path), path, "R")


def test_a_missing_or_damaged_camera_file_is_refused(given, refuses, tmp_path):
    refuses(reconstruct.main, reconstructing(given, tmp_path, camera=tmp_path / "no.json"), "no.json", "no such")
    path = tmp_path / "half.json"
    path.write_text(given["camera"].read_text()[:60])
    refuses(reconstruct.main, reconstructing(given, tmp_path, camera=path), path, "not a readable")


def test_a_camera_of_another_image_is_refused(given, refuses, tmp_path):
    path = edit_camera(given["camera"], width=640, height=480)
    refuses(reconstruct.main, reconstructing(given, tmp_path, camera=path), given["keypoints"], "640x480")


# Keypoints and video


def test_keypoints_of_another_length_than_the_video_are_refused(given, refuses, tmp_path):
    video = write_video(tmp_path / "long.mp4", 41)
    argv = reconstructing(given, tmp_path, video=video)
    refuses(reconstruct.main, argv, given["keypoints"], video, "40 frames", "41 frames")


def test_keypoints_of_another_size_or_rate_than_the_video_are_refused(given, refuses, tmp_path):
    small = write_video(tmp_path / "small.mp4", 40, size=(160, 120))
    refuses(reconstruct.main, reconstructing(given, tmp_path, video=small), small, "160x120")
    slow = write_video(tmp_path / "slow.mp4", 40, fps=30)
    refuses(reconstruct.main, reconstructing(given, tmp_path, video=slow), slow, "60 fps")


def test_a_missing_or_damaged_video_is_refused(given, refuses, tmp_path):
    refuses(reconstruct.main, reconstructing(given, tmp_path, video=tmp_path / "no.mp4"), "no.mp4", "no such video")
    half = tmp_path / "half.mp4"
    half.write_bytes(given["video"].read_bytes()[:500])
    refuses(reconstruct.main, reconstructing(given, tmp_path, video=half), half, "not a readable video")


@pytest.mark.parametrize("fault", ["missing", "truncated", "nan", "empty", "joints", "layout", "single", "nobody"])
def test_broken_keypoints_are_refused(fault, given, refuses, tmp_path):
    good = KeypointTrack.load(given["keypoints"])
    keypoints, layout = good.keypoints.numpy().copy(), "coco17"
    path = tmp_path / "k.npz"
    words = {
        "missing": "no such", "truncated": "not a readable", "nan": "first 3", "empty": "no frames", "joints": "(frames, 17, 3)",
        "layout": "openpose", "single": "at least two", "nobody": "nobody to follow",
    }[fault]  # fmt: skip
    if fault == "nan":
        keypoints[3, 5, 0] = np.nan
    if fault == "empty":
        keypoints = keypoints[:0]
    if fault == "joints":
        keypoints = np.zeros((40, 25, 3), np.float32)
    if fault == "layout":
        layout = "openpose25"
    if fault == "nobody":
        keypoints[..., 2] = 0.1
    if fault == "single":
        keypoints = keypoints[:1]
    if fault != "missing":
        np.savez(path, keypoints=keypoints, fps=60.0, image_size=np.array(good.image_size), layout=np.array(layout))
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    refuses(reconstruct.main, reconstructing(given, tmp_path, keypoints=path), path, words)


def test_outputs_that_cannot_be_folders_are_refused_before_the_work(given, refuses, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    refuses(reconstruct.main, reconstructing(given, tmp_path, out=taken), taken, "is a file")
    refuses(evaluate.main, evaluating(given, tmp_path, save=taken), taken, "is a file")
    assert taken.read_text() == "mine"


def test_a_shell_sees_one_line_and_exit_code_2(tmp_path):
    argv = [sys.executable, "-m", "physhmr_kit.evaluate", "--stage", "expert", "--clips", str(tmp_path / "no.npz")]
    done = subprocess.run([*argv, "--weights", str(tmp_path / "no.safetensors")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "no.npz" in done.stderr
