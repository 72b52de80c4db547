"""Frames come out of a video at their times, or the fault is named."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer import video_frames

sys.path.append(str(Path(__file__).parents[1] / "data_prep"))
from films import film, lay_down


@pytest.fixture
def video(tmp_path):
    """Two seconds at 30 fps, brighter by 4 in every frame."""
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for brightness in range(0, 240, 4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), brightness, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_are_thinned_by_time(video):
    frames = list(video_frames(video, fps=10.0))
    assert len(frames) == 20
    assert np.allclose([t for t, _ in frames], np.arange(20) / 10, atol=0.02)
    assert np.allclose([f.mean() for _, f in frames], np.arange(0, 240, 12), atol=6)
    assert frames[0][1].shape == (48, 64, 3)


def test_a_slow_video_gives_all_its_frames(video):
    assert len(list(video_frames(video, fps=100.0))) == 60


def test_phone_videos_are_turned_upright(tmp_path):
    """A bright left half, filmed lying down with the note to turn it a quarter clockwise, is a bright upper half."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :48] = 250
    path = lay_down(film(tmp_path / "phone.mp4", [picture] * 5))
    (_, image), *_ = video_frames(path)
    assert image.shape == (96, 64, 3) and image[10:38].mean() > 200 and image[58:86].mean() < 50


def test_a_missing_or_broken_video_is_named(tmp_path):
    with pytest.raises(KitError, match=r"nothing\.mp4: no such video"):
        list(video_frames(tmp_path / "nothing.mp4"))
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(KitError, match=r"text\.mp4: not a readable video"):
        list(video_frames(tmp_path / "text.mp4"))
