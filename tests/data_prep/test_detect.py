"""Running a detector: environments, caching, error messages, and that no process or file is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from films import FAKE_DETECTOR, fake_detector, use_fake_uv

from data_prep import detect as module
from data_prep.detect import DETECTORS, Detections, Span, detect, find_detector, main, prepare
from data_prep.environments import error_line, find_uv
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shell scripts and process groups")


@pytest.fixture(autouse=True)
def uv(tmp_path, monkeypatch):
    """Detectors run in the tests' interpreter."""
    use_fake_uv(tmp_path / "bin", monkeypatch)


@pytest.fixture
def video(tmp_path):
    """The fake detector never opens it; only its content matters."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a video, let us say")
    return path


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Counts how often the fake detector was started."""
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("FAKE_LOG", str(log))
    return lambda: len(log.read_text().splitlines()) if log.exists() else 0


def test_detections_are_loaded_and_cached(tmp_path, video, calls):
    fake, cache = fake_detector(tmp_path), tmp_path / "cache"
    found = detect(video, fake, cache=cache, progress=False)
    assert found.times == pytest.approx(np.arange(12) / 30) and found.image_size == (640, 480)
    assert found.keypoints.shape == (12, 17, 3) and found.frame.tolist() == list(range(12))
    again = detect(video, fake, cache=cache, progress=False)
    assert calls() == 1
    np.testing.assert_array_equal(again.keypoints, found.keypoints)
    assert [p.suffix for p in (cache / "detections").iterdir()] == [".npz"]


def test_cache_key_depends_on_video_script_span_and_weights(tmp_path, video, calls):
    fake, cache, weights = fake_detector(tmp_path), tmp_path / "cache", tmp_path / "weights"
    weights.mkdir()
    (weights / "model.onnx").write_bytes(b"1")

    def ask(span=None, weights=None):
        detect(video, fake, span or Span(), weights, cache, progress=False)
        return calls()

    assert ask() == 1
    assert ask(Span(max_frames=5)) == 2
    assert ask(weights=weights) == 3
    (weights / "model.onnx").write_bytes(b"2")
    assert ask(weights=weights) == 4
    fake.script.write_text(FAKE_DETECTOR + "# a new release\n")
    assert ask() == 5
    video.write_bytes(b"another video")
    assert ask() == 6
    moved = video.rename(tmp_path / "the same under another name.mp4")
    detect(moved, fake, cache=cache, progress=False)
    assert calls() == 6


def test_damaged_cache_entry_is_replaced(tmp_path, video, calls):
    fake, cache = fake_detector(tmp_path), tmp_path / "cache"
    detect(video, fake, cache=cache, progress=False)
    (kept,) = (cache / "detections").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(detect(video, fake, cache=cache, progress=False).frame) == 12
    assert calls() == 2 and Detections.load(kept).times.size == 12


def test_bodies_with_nan_are_dropped(tmp_path, video, monkeypatch):
    monkeypatch.setenv("FAKE", "nan")
    assert len(detect(video, fake_detector(tmp_path), cache=tmp_path / "cache", progress=False).frame) == 0


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fault", "^fake: the lens cap is on$"),
        ("crash", "^fake: failed .*RuntimeError: segmented"),
        ("half", "not a readable .npz file of detections"),
        ("unbuildable", "no wheel for this platform.*run: python -m data_prep.detect fake$"),
    ],
)
def test_failing_detector_is_a_one_line_error_and_leaves_nothing(tmp_path, video, monkeypatch, mode, message):
    monkeypatch.setenv("FAKE", mode)
    with pytest.raises(KitError, match=message) as fault:
        detect(video, fake_detector(tmp_path), cache=tmp_path / "cache", progress=False)
    assert "\n" not in str(fault.value) and "Traceback" not in str(fault.value)
    assert not list((tmp_path / "cache" / "detections").iterdir())


def test_keyboard_interrupt_leaves_no_process_and_no_file(tmp_path, video):
    code = (
        "import signal, sys; from pathlib import Path; from physhmr_kit.cli import run\n"
        "from data_prep.detect import Detector, detect\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever runs the tests may ignore it
        f"d = Detector('fake', Path({str(fake_detector(tmp_path).script)!r}))\n"
        f"sys.exit(run(lambda: detect({str(video)!r}, d, cache={str(tmp_path / 'cache')!r})))"
    )
    pids = tmp_path / "pids.txt"
    environment = os.environ | {"FAKE": "hang", "FAKE_PIDS": str(pids)}
    root = str(Path(module.__file__).parents[1])
    runner = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=root, stderr=subprocess.PIPE, text=True
    )
    try:
        assert _until(lambda: pids.exists() and pids.read_text().endswith("\n"), 60)
        started = [int(p) for p in pids.read_text().split()]
        assert all(_alive(p) for p in started)
        runner.send_signal(signal.SIGINT)
        said = runner.communicate(timeout=30)[1]
    finally:
        runner.kill()
    assert runner.returncode == 130 and said.splitlines()[-1] == "interrupted"
    assert _until(lambda: not any(_alive(p) for p in started), 10)
    assert not list((tmp_path / "cache" / "detections").iterdir())


def _until(true, seconds: float) -> bool:
    stop = time.monotonic() + seconds
    while not true() and time.monotonic() < stop:
        time.sleep(0.05)
    return true()


def _alive(pid: int) -> bool:
    """Whether a process runs; zombies do not."""
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(stat) and not stat.startswith("Z")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("openpose", None, "no detector 'openpose'; available: mediapipe, rtmlib, vitpose"),
        ("rtmlib", None, "rtmlib needs --weights: download .*yolox.*rtmpose"),
        ("vitpose", None, "vitpose needs --weights: download .*rtdetr.*vitpose-base-simple"),
        ("rtmlib", "nowhere", "nowhere: no such file or folder"),
        ("mediapipe", ".", "mediapipe comes with its own weights"),
    ],
)
def test_wrong_detector_or_weights_are_refused(name, weights, message):
    with pytest.raises(KitError, match=message):
        find_detector(name, weights)


@pytest.mark.parametrize("span", [(-1.0, None, None), (2.0, 1.0, None), (0.0, None, 0)])
def test_empty_spans_are_refused(span):
    with pytest.raises(KitError, match="expected"):
        Span(*span)


def test_error_line_is_the_informative_one():
    assert error_line("Downloading\nerror: no network\nhint: try again\n") == "error: no network"
    assert error_line("one\n  two  \n\n") == "two"
    assert error_line("") == "no message"


def test_uv_runs_offline_first_and_then_online(tmp_path, video, monkeypatch):
    log = tmp_path / "uv.txt"
    offline_fails = '[ "$2" = --offline ] && { echo "error: not cached" >&2; exit 1; }'
    use_fake_uv(tmp_path / "bin", monkeypatch, f'echo "$@" >> {log}\n{offline_fails}')
    found = detect(video, fake_detector(tmp_path), cache=tmp_path / "cache", progress=False)
    assert len(found.frame) == 12
    asked = log.read_text().splitlines()
    assert len(asked) == 2 and "--offline" in asked[0] and "--offline" not in asked[1]


def test_script_imports_the_module_beside_it_even_under_pythonsafepath(tmp_path, video, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    fake = fake_detector(tmp_path)
    (tmp_path / "neighbour.py").write_text("")
    fake.script.write_text(FAKE_DETECTOR.replace("mode = ", "import neighbour\nmode = ", 1))
    assert len(detect(video, fake, cache=tmp_path / "cache", progress=False).frame) == 12


def test_uv_is_found_beside_the_interpreter_or_reported_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr("data_prep.environments.sys.executable", str(tmp_path / "bin" / "python"))
    assert find_uv() == str(tmp_path / "bin" / "uv")
    monkeypatch.setattr("data_prep.environments.sys.executable", str(tmp_path / "empty" / "python"))
    with pytest.raises(KitError, match="run: python -m pip install uv"):
        find_uv()


def test_command_builds_an_environment_and_prints_the_version(tmp_path, monkeypatch, capsys):
    fake = fake_detector(tmp_path, "mediapipe")
    monkeypatch.setitem(DETECTORS, "mediapipe", fake)
    assert prepare(fake) == "fake 7"
    assert main(["mediapipe"]) == 0
    assert capsys.readouterr().out == "fake 7 is ready\n"
    assert run(lambda: main(["nonesuch"])) == 2


def test_unwritable_cache_is_an_error(tmp_path, video):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(KitError, match="PHYSHMR_CACHE"):
        detect(video, fake_detector(tmp_path), cache=tmp_path / "cache", progress=False)
