"""Frames of a video come at their times and upright; unreadable videos are refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer import video_frames
from physhmr_kit.viewer.frames import frames_at

sys.path.append(str(Path(__file__).parents[1] / "data_prep"))
from films import film, lay_down


@pytest.fixture
def video(tmp_path):
    """Two seconds at 30 fps, each frame brighter by 4."""
    return film(tmp_path / "v.mp4", [np.full((48, 64, 3), level, np.uint8) for level in range(0, 240, 4)])


def test_frames_are_thinned_by_time(video):
    frames = list(video_frames(video, fps=10.0))
    assert len(frames) == 20
    assert np.allclose([t for t, _ in frames], np.arange(20) / 10, atol=0.02)
    assert np.allclose([f.mean() for _, f in frames], np.arange(0, 240, 12), atol=6)
    assert frames[0][1].shape == (48, 64, 3)


def test_a_slow_video_gives_all_its_frames(video):
    assert len(list(video_frames(video, fps=100.0))) == 60


def test_frames_at_given_times_are_the_nearest_ones_and_none_after_the_end(tmp_path):
    shots = [np.full((48, 64, 3), 40 * n, np.uint8) for n in range(5)]
    video = film(tmp_path / "v.mp4", shots, times=(0.0, 0.1, 0.2, 0.4, 0.5))
    found = frames_at(video, (-0.2, 0.0, 0.11, 0.16, 0.3, 0.5, 2.0), 10.0)
    levels = [None if frame is None else round(frame.mean() / 40) for frame in found]
    assert levels == [None, 0, 1, 2, 2, 4, None]


def test_phone_videos_are_rotated_upright(tmp_path):
    """A bright left half, recorded lying down and marked to be turned a quarter clockwise, is a bright upper half."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48] = 250
    path = lay_down(film(tmp_path / "phone.mp4", [picture] * 5))
    (_, image), *_ = video_frames(path)
    assert image.shape == (96, 64, 3) and image[10:38].mean() > 200 and image[58:86].mean() < 50


def test_a_missing_or_broken_video_is_refused(tmp_path):
    with pytest.raises(KitError, match=r"nothing\.mp4: no such video"):
        list(video_frames(tmp_path / "nothing.mp4"))
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(KitError, match=r"text\.mp4: not a readable video"):
        list(video_frames(tmp_path / "text.mp4"))
