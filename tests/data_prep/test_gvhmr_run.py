"""GVHMR on a video, with a stand-in for the package: the real script runs, in this interpreter.

The stand-in returns a known scene, which the output of `reconstruct` is compared with.
"""

import ast
import json
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from films import film, use_fake_uv
from test_importers import FRAMES, SIZE, SMPLX_PELVIS, scene, write_gvhmr  # noqa: F401 (a fixture)

from data_prep import detect
from data_prep.detect import GVHMR
from data_prep.environments import find_uv
from data_prep.gvhmr_run import CHECKPOINTS, RESULTS, Weights, run_gvhmr
from physhmr_kit import reconstruct
from physhmr_kit.body.skeleton import rest_joints
from physhmr_kit.cli import run
from physhmr_kit.motion.clip import Clip
from physhmr_kit.vision.track import VisualTrack

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shell scripts")
STANDIN = Path(__file__).parents[1] / "standin"


def write_smplx(path: Path, joints: int = 55) -> Path:
    """A synthetic SMPL-X of the mean shape with one vertex per joint."""
    template = np.zeros((joints, 3))
    template[:22] = (rest_joints()[:22] + SMPLX_PELVIS).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, v_template=template, shapedirs=np.zeros((joints, 3, 10)), J_regressor=np.eye(joints))
    return path


@pytest.fixture
def fetched(tmp_path):
    """A user's downloads: checkpoints and SMPL-X."""
    folder = tmp_path / "fetched"
    for name in CHECKPOINTS:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"0123456789")
    write_smplx(folder / "body_models/smplx/SMPLX_NEUTRAL.npz")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video whose name GVHMR's own option parser would split."""
    still = (
        np.random.default_rng(0).integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    return film(tmp_path_factory.mktemp("film") / "a=b, c (1).mp4", [still] * FRAMES)


@pytest.fixture
def standin(tmp_path, monkeypatch, scene):  # noqa: F811
    """The environment: fake uv, ffprobe, and the stand-in with the scene. Has `mode(word)` and `calls()`."""
    folder = tmp_path / "standin"
    write_gvhmr(folder / "result", scene)
    (folder / "mode").write_text("fine")
    path = tmp_path / "bin"
    use_fake_uv(path, monkeypatch, f"export PYTHONPATH={STANDIN}")
    (path / "ffprobe").write_text("#!/bin/sh\n")
    (path / "ffprobe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    monkeypatch.setenv("GVHMR_STANDIN", str(folder))
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "cache with, a blank"))

    class Standin:
        result = folder / "result"

        @staticmethod
        def mode(word):
            (folder / "mode").write_text(word)

        @staticmethod
        def calls():
            log = folder / "calls.jsonl"
            return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return Standin


def command(video, fetched, out, *more):
    words = [video, "--encoder", "gvhmr", "--encoder-weights", fetched, "--out", out, "--no-overlay", *more]
    return run(lambda: reconstruct.main([str(w) for w in words]))


# Output


def test_gvhmrs_world_motion_is_reconstructed(standin, video, fetched, scene, tmp_path, capsys):  # noqa: F811
    """The camera circles the man; pose, path and camera are those of the gravity view, on the floor."""
    out = tmp_path / "out"
    assert command(video, fetched, out, "--moving-camera", "--method", "kinematic") == 0
    said = capsys.readouterr()
    assert "non-profit use only" in said.err and "GVHMR: " in said.err
    assert f"{FRAMES} frames at 30 fps" in said.out
    clip, track = Clip.load(out / "reconstruction.npz"), VisualTrack.load(out / "track.npz")
    root, rot, camera, keypoints = scene
    apart = (clip.root_pos - root)[:, :2].norm(dim=-1)
    assert apart.max() < 0.03  # m
    assert 2 * (clip.joint_rot[:, 0] * rot[:, 0]).sum(-1).abs().clamp(max=1).acos().max() < 0.1  # rad
    torch.testing.assert_close(track.camera.R, camera.R, atol=1e-3, rtol=0)
    torch.testing.assert_close(track.centre[:, :2], camera.centre[:, :2], atol=1e-3, rtol=0)
    torch.testing.assert_close(track.keypoints, keypoints)
    assert track.scale == pytest.approx(1.0) and track.name == "a=b, c (1)"


def test_second_run_is_cached_unless_an_input_changed(standin, video, fetched):
    def ask(**options):
        assert len(run_gvhmr(video, Weights.find(fetched), progress=False, **options)) == FRAMES
        return len(standin.calls())

    assert [ask(), ask(), ask(scale=1.1), ask(focal=900.0), ask(moving=True)] == [1, 1, 1, 2, 3]
    (fetched / CHECKPOINTS[0]).write_bytes(b"9876543210")
    assert ask() == 4
    cache = Path(os.environ["PHYSHMR_CACHE"]) / "gvhmr"
    assert all(
        sorted(p.name for p in kept.rglob("*.pt")) == ["hmr4d_results.pt", "vitpose.pt"] for kept in cache.iterdir()
    )
    for kept in cache.iterdir():
        (kept / RESULTS[0]).write_bytes(b"PK")
    assert ask() == 5


# Input to GVHMR


def test_focal_length_and_camera_motion_reach_gvhmr(standin, video, fetched, tmp_path):
    run_gvhmr(video, Weights.find(fetched), focal=1400.0, progress=False)
    run_gvhmr(video, Weights.find(fetched), moving=True, progress=False)
    fixed, moving = standin.calls()
    assert (fixed["f_px"], fixed["static_camera"], moving["f_px"], moving["static_camera"]) == (
        1400.0,
        True,
        None,
        False,
    )
    assert fixed["video"] == "film.mp4" and fixed["film"] == str(video.resolve()) and not fixed["render"]
    assert fixed["body_model"] == str((fetched / "body_models/smplx/SMPLX_NEUTRAL.npz").resolve())
    assert fixed["offline"] == ["1", "true", os.devnull]


def test_smplx_is_also_found_in_the_body_models_folder(standin, video, fetched, tmp_path, monkeypatch):
    (fetched / "body_models/smplx/SMPLX_NEUTRAL.npz").unlink()
    elsewhere = write_smplx(tmp_path / "models/SMPLX_NEUTRAL.npz")
    monkeypatch.setenv("PHYSHMR_BODY_MODELS", str(elsewhere.parent))
    run_gvhmr(video, Weights.find(fetched), progress=False)
    assert standin.calls()[0]["body_model"] == str(elsewhere.resolve())


def test_frame_rate_is_30_or_the_videos_own(standin, fetched, tmp_path):
    fast = film(tmp_path / "60.mp4", [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * 2 * FRAMES, fps=60)
    assert run_gvhmr(fast, Weights.find(fetched), progress=False).fps == 30
    slow = film(tmp_path / "25.mp4", [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * FRAMES, fps=25)
    assert run_gvhmr(slow, Weights.find(fetched), progress=False).fps == pytest.approx(25)


def test_moving_camera_assumed_fixed_gives_a_warning(standin, fetched, tmp_path, capsys):
    wall = (
        np.random.default_rng(0)
        .integers(0, 255, (SIZE[1] // 16, SIZE[0] // 8, 3), np.uint8)
        .repeat(16, 0)
        .repeat(16, 1)
    )
    panned = film(tmp_path / "pan.mp4", [wall[:, 16 * n : 16 * n + SIZE[0]] for n in range(FRAMES)])
    assert command(panned, fetched, tmp_path / "out", "--method", "two_stage") == 0
    assert "the camera moves" in (said := capsys.readouterr().err) and said.count("one; give --moving-camera") == 1


# Errors are one line


def refused(capsys, code) -> str:
    said = capsys.readouterr().err.splitlines()
    assert code == 2 and sum(line.startswith("error: ") for line in said) == 1 and said[-1].startswith("error: ")
    return said[-1]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("nobody", "gvhmr: found nobody in the video; the person must be fully in view"),
        ("memory", "gvhmr: failed .RuntimeError: CUDA error: out of memory"),
        ("lacking", "gvhmr: ended without preprocess/vitpose.pt"),
        ("broken", "could not be built or does not start .*libcudart.*run: python -m data_prep.detect gvhmr$"),
    ],
)
def test_failed_run_is_an_error_and_leaves_nothing(standin, video, fetched, tmp_path, capsys, mode, words):
    standin.mode(mode)
    said = refused(capsys, command(video, fetched, tmp_path / "out"))
    assert re.search(words, said), said
    assert not (tmp_path / "out").exists() and not list((Path(os.environ["PHYSHMR_CACHE"]) / "gvhmr").iterdir())


def test_missing_uv_names_its_installation(standin, video, fetched, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("data_prep.environments.find_uv", find_uv)
    monkeypatch.setattr("data_prep.environments.sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    weights = Weights.find(fetched)
    assert "run: python -m pip install uv" in refused(capsys, run(lambda: run_gvhmr(video, weights)))


def test_failed_environment_names_the_command_that_builds_it(tmp_path, monkeypatch, capsys):
    """uv itself, with nothing cached and no network."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    said = refused(capsys, run(lambda: detect.main(["gvhmr"])))
    assert "could not be built" in said and said.endswith("run: python -m data_prep.detect gvhmr")


def test_missing_ffprobe_names_its_installation(standin, video, fetched, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin" / "ffprobe").unlink()
    use_fake_uv(tmp_path / "bin", monkeypatch, f"export PYTHONPATH={STANDIN} PATH=/nowhere")
    assert "install ffmpeg" in refused(capsys, command(video, fetched, tmp_path / "out"))


def test_weights_are_checked_before_any_work(standin, video, fetched, tmp_path, capsys):
    def find() -> str:
        return refused(capsys, run(lambda: Weights.find(fetched)))

    words = [str(video), "--encoder", "gvhmr", "--out", str(tmp_path / "out")]
    error = refused(capsys, run(lambda: reconstruct.main(words)))
    assert "gvhmr needs --encoder-weights: download a folder with gvhmr/" in error
    (fetched / "body_models/smplx/SMPLX_NEUTRAL.npz").rename(tmp_path / "away.npz")
    assert "register at https://smpl-x.is.tue.mpg.de" in find()
    write_smplx(fetched / "body_models/smplx/SMPLX_NEUTRAL.npz", 24)
    assert "a SMPL model, but these betas are of SMPL-X" in find()
    (fetched / "yolo/yolov8x.pt").unlink()
    assert "no yolo/yolov8x.pt in the folder; gvhmr needs a folder" in find()
    assert not standin.calls()


def test_wrong_checkpoint_is_refused_and_not_downloaded_again(standin, video, fetched, tmp_path, capsys):
    (fetched / "hmr2/epoch=10-step=25000.ckpt").write_bytes(b"cut")
    said = refused(capsys, command(video, fetched, tmp_path / "out"))
    assert "25000.ckpt: 3 bytes, the released file has 10; download it again" in said and not standin.calls()


def test_result_of_another_video_is_refused(standin, fetched, tmp_path, capsys):
    for name, size, frames, words in (
        ("small.mp4", (640, 360), FRAMES, f"640x360, but gvhmr saw {SIZE[0]}x{SIZE[1]}"),
        ("long.mp4", SIZE, 2 * FRAMES, "lasts 2.67 s, but gvhmr saw 40 frames, 1.33 s"),
    ):
        other = film(tmp_path / name, [np.zeros((size[1], size[0], 3), np.uint8)] * frames)
        assert words in refused(capsys, run(lambda video=other: run_gvhmr(video, Weights.find(fetched))))


def test_unwritable_cache_is_an_error(standin, video, fetched, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "file"))
    weights = Weights.find(fetched)
    assert "set PHYSHMR_CACHE" in refused(capsys, run(lambda: run_gvhmr(video, weights)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["v.mp4", "--encoder", "gvhmr", "--keypoints", "k.npz"], "leave out --keypoints"),
        (["v.mp4", "--encoder", "gvhmr", "--camera", "c.json", "--box", *"1234"], "leave out --camera, --box"),
        (["v.mp4", "--encoder", "gvhmr", "--person", "1", "--detector", "rtmlib"], "leave out --detector, --person"),
        (["v.mp4", "--encoder-weights", "folder"], "are for --encoder gvhmr"),
        (["v.mp4", "--moving-camera"], "are for --encoder gvhmr"),
    ],
)
def test_incompatible_options_are_refused(words, message, capsys):
    assert message in refused(capsys, run(lambda: reconstruct.main(words)))


# The script


def test_script_does_not_import_the_kit_and_declares_its_dependencies():
    text = GVHMR.script.read_text()
    imports = {n.module for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)}
    assert imports == {"pathlib", "detector_script", "gvhmr", "gvhmr.utils", "gvhmr.utils.preproc"}
    block = text[text.index("# /// script\n") : text.index("\n# ///\n")].splitlines()[1:]
    needs = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in block))
    assert "gvhmr==1.6.1" in needs["dependencies"] and needs["tool"]["uv"]["exclude-dependencies"] == ["chumpy"]
    assert all(name in GVHMR.weights for name in CHECKPOINTS)


def test_detect_command_builds_the_environment(standin, capsys):
    assert detect.main(["gvhmr"]) == 0
    assert capsys.readouterr().out == "gvhmr 1.6.1 is ready\n"
