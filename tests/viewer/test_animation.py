"""Animations have the right panels and number of frames, and are written whole or not at all."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer.animation import _crop, animate, person_box
from physhmr_kit.viewer.palette import CONTACT, DETECTED, SIMULATED

sys.path.append(str(Path(__file__).parents[1] / "data_prep"))
from films import film


def pictures(path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        frames = []
        for k in range(picture.n_frames):
            picture.seek(k)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
        return frames


def share_like(image, colour, distance=40) -> float:
    return float((np.abs(image - np.array(colour)).max(-1) < distance).mean())


@pytest.fixture
def short(rollout, track):
    """Ten frames of a rollout and its track."""
    rollout.simulated, rollout.reference = rollout.simulated[:10], rollout.reference[:10]

    class Track(SimpleNamespace):
        def __len__(self):
            return len(self.keypoints)

    return rollout, Track(**{**vars(track), "keypoints": track.keypoints[:10], "image_size": track.camera.image_size})


def test_a_rollout_with_a_track_has_three_panels(tmp_path, short):
    rollout, track = short
    frames = pictures(animate(tmp_path / "a.webp", rollout, track, height=120))
    assert len(frames) == 5  # ten frames at 30 a second, shown at 15
    box = person_box(track.keypoints)
    seen = round(120 * (box[2] - box[0]) / (box[3] - box[1]))
    assert frames[0].shape[0] == 120 and abs(frames[0].shape[1] - (2 * seen + 192 + 16)) <= 4
    first, second, third = frames[0][:, :seen], frames[0][:, seen + 8 : 2 * seen + 8], frames[0][:, -192:]
    assert share_like(first, DETECTED, 90) > 0.005 and share_like(first, SIMULATED, 60) < 0.005
    assert share_like(second, SIMULATED, 90) > 0.02 and share_like(third, SIMULATED, 90) > 0.01
    assert (tmp_path / "a.webp").stat().st_size < 200_000 and not list(tmp_path.glob("*.part*"))


def test_the_video_is_behind_the_keypoints(tmp_path, short):
    rollout, track = short
    shot = film(tmp_path / "v.mp4", [np.full((1080, 1920, 3), (200, 60, 200), np.uint8)] * 10)
    frames = pictures(animate(tmp_path / "a.webp", rollout, track, shot, height=120))
    assert share_like(frames[2][:, :40], (200, 60, 200)) > 0.5
    small = film(tmp_path / "small.mp4", [np.zeros((90, 160, 3), np.uint8)] * 10)
    with pytest.raises(KitError, match="of another size"):
        animate(tmp_path / "b.webp", rollout, track, small, height=120)
    assert not (tmp_path / "b.webp").exists()


def test_the_camera_of_a_cropped_image_projects_relative_to_its_corner(track):
    camera = _crop(track.camera.at(0), (100, 50, 500, 650))
    points = torch.tensor([[0.1, -0.3, 1.2], [0.0, 0.4, 0.2]])
    pixels = track.camera.at(0).project(points) - torch.tensor([100.0, 50.0])
    torch.testing.assert_close(camera.project(points), pixels)
    assert camera.image_size == (400, 600)


def test_a_clip_has_one_panel_and_can_be_a_gif(tmp_path, clip):
    frames = pictures(animate(tmp_path / "c.gif", clip.cut(0, 8), height=100))
    assert len(frames) == 4 and frames[0].shape == (100, 160, 3) and share_like(frames[0], CONTACT) == 0
    assert share_like(frames[0], SIMULATED, 90) > 0.01


def test_other_suffixes_are_refused(tmp_path, clip):
    with pytest.raises(KitError, match=r"use \.webp or \.gif"):
        animate(tmp_path / "c.mp4", clip)
