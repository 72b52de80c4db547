"""From a video to a keypoint track: frame rates, gaps, and a one-line error for every kind of bad input."""

import wave

import numpy as np
import pytest
from films import fake_detector, film, grey, lay_down, use_fake_uv

from data_prep.detect import DETECTORS, Place
from data_prep.keypoints.people import LOW
from data_prep.video import every_nth, keypoints_of, main, on_constant_rate, rate_of, read_video_info
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.keypoints import KeypointTrack


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    """The fake detector replaces the default one, with a cache in the test's folder."""
    use_fake_uv(tmp_path / "bin", monkeypatch)
    monkeypatch.setitem(DETECTORS, "mediapipe", fake_detector(tmp_path, "mediapipe", single_person=True))
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clip(tmp_path):
    """A video with as many frames as the fake detector reports."""
    return film(tmp_path / "clip.mp4", grey(12))


def test_command_writes_a_loadable_track(clip, tmp_path, capsys):
    out = tmp_path / "k.npz"
    assert main([str(clip), "--out", str(out)]) == 0
    track = KeypointTrack.load(out)
    assert (len(track), track.fps, track.image_size) == (12, 30.0, (640, 480))
    assert float(track.pixels[3, 0, 0]) == 109.0 and float(track.confidence.min()) == pytest.approx(0.9)
    assert "12 frames at 30 fps, 640x480; the person is visible in 100 % of them" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.part*"))


def test_default_output_is_named_after_the_video_and_never_overwritten(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(clip)]) == 0
    assert (tmp_path / "clip_keypoints.npz").is_file()
    with pytest.raises(KitError, match="already exists"):
        main([str(clip)])


def test_frames_without_the_person_have_zero_confidence_and_can_be_filled(clip, monkeypatch):
    monkeypatch.setenv("FAKE", "gap")
    track = keypoints_of(clip, progress=False)
    assert not track.confidence[4:6].any() and (track.confidence[[3, 6]] > 0.8).all()
    assert (track.filled().confidence[4:6] > 0.4).all()


def test_variable_frame_rate_is_resampled_to_the_median(clip, monkeypatch, capsys):
    """The person moves at 90 px/s, and by 3 px over the missing tenth of a second."""
    monkeypatch.setenv("FAKE", "variable")
    track = keypoints_of(clip)
    assert track.fps == pytest.approx(30, abs=1e-3) and len(track) == 15
    x = track.pixels[:, 0, 0].numpy()
    np.testing.assert_allclose(x[:6], 100 + 3 * np.arange(6), atol=1e-3)
    np.testing.assert_allclose(x[5:10], 115 + 0.75 * np.arange(5), atol=1e-3)
    np.testing.assert_allclose(x[9:], 118 + 3 * np.arange(6), atol=1e-3)
    assert "variable frame rate; keypoints are resampled to the median, 30 fps" in capsys.readouterr().err


@pytest.mark.parametrize(("fps", "unit"), [(60, 1000), (29.97, 1000), (25, 90000), (59.94, 1000), (240, 90000)])
def test_rounded_time_stamps_count_as_a_constant_rate(fps, unit):
    times = np.round(np.arange(300) / fps * unit) / unit
    rate, constant = rate_of(times)
    assert constant and rate == pytest.approx(fps, rel=1e-3)


def test_one_dropped_frame_counts_as_a_variable_rate():
    times = np.delete(np.arange(100) / 30, 50)
    rate, constant = rate_of(times)
    assert not constant and rate == pytest.approx(30)
    rate, constant = rate_of(np.round(np.delete(np.arange(100) / 60, 50), 3))
    assert not constant and rate == pytest.approx(60, rel=1e-3)


def test_short_gaps_are_interpolated_and_long_ones_have_zero_confidence():
    times = np.array([0, 1, 2, 4, 5, 20, 21]) / 30
    rows = np.zeros((7, 17, 3), np.float32)
    rows[..., 0], rows[..., 2] = times[:, None] * 300, 0.8
    out = on_constant_rate(times, rows, 30.0)
    assert len(out) == 22
    np.testing.assert_allclose(out[:, 0, 0], np.arange(22) * 10.0, atol=1e-3)
    assert out[3, 0, 2] == pytest.approx(0.8)
    assert not out[6:20, :, 2].any() and (out[[5, 20], :, 2] > 0.79).all()


def test_undetected_neighbour_has_no_weight_in_interpolation():
    rows = np.zeros((3, 17, 3), np.float32)
    rows[0] = rows[2] = (100.0, 50.0, 0.9)
    out = on_constant_rate(np.array([0.0, 0.05, 0.1]), rows, 40.0)
    seen = out[..., 2] > 0
    assert (out[seen][:, 0] == 100).all() and not seen.all()


def test_rotated_phone_video_has_its_upright_size(tmp_path):
    info = read_video_info(lay_down(film(tmp_path / "phone.mp4", grey(9))))
    assert info.image_size == (64, 96) and info.frames == 9


def _audio(path):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(8000)
        out.writeframes(bytes(16000))
    return path


def _text(path):
    path.write_text("not a video\n" * 100)
    return path


def _without_its_end(path):
    film(path, grey(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the index of an .mp4 is at its end
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p, "no such video"),
        (lambda p: p.parent, "no such video"),
        (_text, "not a readable video"),
        (_audio, "no video stream"),
        (_without_its_end, "not a readable video"),
        (lambda p: film(p, grey(2)), "2 frame(s); a motion needs at least 8"),
    ],
)
def test_unreadable_video_is_a_one_line_error_before_any_environment_is_built(
    tmp_path, capsys, make, message, monkeypatch
):
    monkeypatch.setattr("data_prep.detect.uv_commands", lambda *_: pytest.fail("a detector was started"))
    path = make(tmp_path / ("a.wav" if make is _audio else "a.mp4"))
    assert run(lambda: main([str(path), "--out", str(tmp_path / "k.npz")])) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ") and message in said and str(path) in said
    assert not (tmp_path / "k.npz").exists()


@pytest.mark.parametrize(
    ("mode", "argv", "message"),
    [
        ("nobody", [], "mediapipe found nobody in 12 frames"),
        ("black", [], "all 12 frames are black or of one colour"),
        ("walk", ["--person", "4"], "only 1 detected"),
        ("walk", ["--person", "tallest"], "'largest', 'centre' or a number"),
        ("walk", ["--max-frames", "5"], "5 frame(s); a motion needs"),
        ("walk", ["--end", "-1"], "0 <= start < end"),
        ("walk", ["--detector", "rtmlib"], "rtmlib needs --weights: download"),
        ("walk", ["--detector", "openpose"], "--help"),
    ],
)
def test_impossible_request_is_a_one_line_error(clip, tmp_path, capsys, monkeypatch, mode, argv, message):
    monkeypatch.setenv("FAKE", mode)
    assert run(lambda: main([str(clip), "--out", str(tmp_path / "k.npz"), *argv])) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and message in said[-1]
    assert [line for line in said[:-1] if "preparing its environment" not in line] == []
    assert not list(tmp_path.glob("k.npz*"))


def test_another_person_is_selected_from_cached_detections(clip, tmp_path, monkeypatch):
    log = tmp_path / "log.txt"
    monkeypatch.setenv("FAKE_LOG", str(log))
    for person in ("largest", "centre", 0):
        assert keypoints_of(clip, person=person, progress=False).confidence.min() > LOW
    assert len(log.read_text().splitlines()) == 1


def test_high_frame_rate_video_is_strided_and_box_is_passed_on(tmp_path, monkeypatch):
    log = tmp_path / "log.txt"
    monkeypatch.setenv("FAKE_LOG", str(log))
    fast = film(tmp_path / "fast.mp4", grey(24), fps=60)
    keypoints_of(fast, progress=False, place=Place((90, 40, 30, 150), 0.1))
    words = log.read_text().split()
    assert words[words.index("--every") + 1] == "2"
    assert words[words.index("--box") + 1 : words.index("--at") + 2] == ["90", "40", "30", "150", "--at", "0.1"]
    assert [every_nth(fps) for fps in (24, 30, 50, 59.94, 60, 90, 119.88, 240, 0)] == [1, 1, 1, 2, 2, 3, 4, 8, 1]
