"""A moving camera is detected from its background; a static one is not mistaken for moving, whatever the person does."""

import av
import numpy as np
import pytest
import torch

from data_prep.keypoints.moving_camera import MOVES, background_path, drift, phase_shift
from physhmr_kit.reconstruct import check_stillness
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack


def texture(height=300, width=600, seed=0):
    rough = np.random.default_rng(seed).normal(size=(height // 10, width // 10))
    return np.clip(128 + 50 * np.kron(rough, np.ones((10, 10))), 0, 255).astype(np.uint8)


def film(path, offsets, person_at):
    """A 384 x 216 window onto a texture, moved by offsets, with a 40 x 120 person walking through it."""
    wall = texture()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 384, 216, "yuv420p"
        for offset, x in zip(offsets, person_at, strict=True):
            picture = wall[40 : 40 + 216, offset : offset + 384].copy()
            picture[60:180, x : x + 40] = texture(120, 40, seed=x)
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, 2), "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    points = torch.ones(len(offsets), 17, 3)
    at = torch.tensor(person_at, dtype=torch.float32)[:, None]
    points[..., 0] = at + torch.linspace(2, 38, 17)
    points[..., 1] = torch.linspace(62, 178, 17)
    return KeypointTrack(points, 30.0, (384, 216))


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A video of a panning camera, and the person's keypoints."""
    path = tmp_path_factory.mktemp("pan") / "pan.mp4"
    return path, film(path, range(10, 130, 4), [170] * 30)


def test_fixed_camera_with_a_walking_person_has_no_drift(tmp_path):
    track = film(tmp_path / "fixed.mp4", [50] * 30, range(20, 320, 10))
    assert drift(background_path(tmp_path / "fixed.mp4", track)) < 0.2 * MOVES


def test_pan_is_measured(pan):
    path = background_path(*pan)
    assert drift(path) == pytest.approx(29 * 4 / 384, rel=0.15)
    assert path[-1, 0] < 0 and abs(path[-1, 1]) < 0.01  # the camera pans right, the image moves left


def test_shift_is_subpixel_and_zero_between_unrelated_images():
    wall = texture().astype(np.float32)
    a, b = wall[40:148, 50:242], wall[37:145, 56:248]
    np.testing.assert_allclose(phase_shift(a, b), (-6, 3), atol=0.3)
    assert phase_shift(a, a) == pytest.approx((0, 0), abs=1e-6)
    noise = np.random.default_rng(1).normal(size=a.shape)
    assert phase_shift(a, noise) == pytest.approx((0, 0))
    assert drift(np.zeros((0, 2))) == 0


def test_warning_only_for_a_moving_camera_assumed_fixed(pan, capsys):
    video, track = pan
    fixed = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0), image_size=(384, 216))
    for known in (None, fixed):
        check_stillness(video, track, known)
        assert "the camera moves" in capsys.readouterr().err
    check_stillness(video, track, fixed[None][[0] * 30])
    check_stillness(None, track, None)
    assert capsys.readouterr().err == ""
