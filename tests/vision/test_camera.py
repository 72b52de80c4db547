"""Cameras: projection, lens, validation, synthetic placement."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import roma
import torch

from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera, sample_cameras

VIDEO = Path(os.environ.get("PHYSHMR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "video"
LENS = torch.tensor([-0.05, 0.14, 0.0006, -0.0007, 0.01])


def lensed_camera() -> Camera:
    plain = Camera.look_at((3.0, -2.0, 1.6), (0.0, 0.0, 1.0), focal=1200.0, image_size=(1080, 1920), roll=0.1)
    return Camera(plain.K, plain.R, plain.t, LENS, plain.image_size)


def test_projection_follows_the_pinhole_formula():
    camera = Camera(
        torch.tensor([[1000.0, 0, 500], [0, 900, 400], [0, 0, 1]]),
        torch.eye(3),
        torch.tensor([0.1, 0.0, 1.0]),
        image_size=(1000, 800),
    )
    pixels = camera.project(torch.tensor([0.3, -0.2, 1.0]))  # x_cam = (0.4, -0.2, 2)
    torch.testing.assert_close(pixels, torch.tensor([1000 * 0.2 + 500, 900 * -0.1 + 400]))


def test_lens_distortion_follows_opencv():
    k1, k2, p1, p2, k3 = LENS.double().tolist()
    x, y = 0.21, -0.13
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    K = torch.tensor([[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]])
    camera = Camera(K, torch.eye(3), torch.zeros(3), LENS, (10, 10))
    torch.testing.assert_close(camera.project(torch.tensor([2 * x, 2 * y, 2.0])), torch.tensor([1000 * u, 1000 * v]))


def test_unproject_inverts_project_with_distortion():
    camera = lensed_camera()
    grid = torch.cartesian_prod(torch.linspace(0, 1080, 12), torch.linspace(0, 1920, 12))
    depth = torch.rand(len(grid), generator=torch.Generator().manual_seed(0)) * 5 + 1
    again = camera.project(camera.unproject(grid, depth))
    assert (again - grid).abs().max() < 0.01
    assert (replace(camera, distortion=torch.zeros(5)).project(camera.unproject(grid, depth)) - grid).abs().max() > 1.0


def test_look_at_centres_the_target_with_up_at_the_top():
    camera = Camera.look_at((4.0, 1.0, 1.5), (0.0, 0.0, 1.0), image_size=(1920, 1080))
    torch.testing.assert_close(
        camera.project(torch.tensor([0.0, 0.0, 1.0])), torch.tensor([960.0, 540.0]), atol=1e-2, rtol=0
    )
    assert camera.project(torch.tensor([0.0, 0.0, 2.0]))[1] < 540
    torch.testing.assert_close(camera.centre, torch.tensor([4.0, 1.0, 1.5]))


def test_a_batch_of_cameras_projects_like_single_cameras():
    points = torch.randn(5, 7, 24, 3, generator=torch.Generator().manual_seed(1)) * 0.3
    cameras = sample_cameras(points, torch.Generator().manual_seed(2))
    together = cameras.project(points)
    assert together.shape == (5, 7, 24, 2)
    for i in range(5):
        torch.testing.assert_close(cameras[i].project(points[i]), together[i])


def test_a_moving_camera_projects_each_frame_with_its_own_pose():
    position = torch.tensor([[4.0, 0, 1], [4, 1, 1], [4, 2, 1]])
    camera = Camera.look_at(position, torch.zeros(3), image_size=(800, 600))
    pixels = camera.project(torch.zeros(3, 17, 3))
    torch.testing.assert_close(pixels, torch.tensor([400.0, 300.0]).expand(3, 17, 2), atol=1e-2, rtol=0)


def test_points_behind_the_camera_are_not_visible():
    camera = Camera.look_at((4.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    assert camera.is_visible(torch.tensor([[0.0, 0, 1], [8.0, 0, 1]])).tolist() == [True, False]


def test_scaling_the_world_does_not_change_the_image():
    camera = lensed_camera()
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    torch.testing.assert_close(camera.scaled(0.8).project(points * 0.8), camera.project(points), atol=0.01, rtol=0)


@pytest.mark.parametrize("image_size", [(1080, 1920), (1920, 1080), None])
def test_sampled_cameras_see_the_whole_motion_and_stay_above_the_floor(image_size):
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(64, 10, 24, 3, generator=generator) * torch.tensor([0.5, 0.5, 0.3]) + torch.tensor(
        [0.0, 0.0, 1.0]
    )
    camera = sample_cameras(points, generator, image_size)
    assert camera.is_visible(points).all()
    assert camera.centre[:, 2].min() > 0.1
    assert camera.centre.norm(dim=-1).max() < 40
    assert camera.K[:, 0, 0].std() > 100


def test_sampling_for_one_body_gives_a_single_camera():
    points = torch.randn(30, 24, 3, generator=torch.Generator().manual_seed(1)) * 0.3 + torch.tensor([5.0, 0.0, 1.0])
    camera = sample_cameras(points, torch.Generator().manual_seed(0))
    assert camera.batch_shape == () and camera.is_visible(points).all()


def check_round_trip(camera: Camera, path: Path) -> None:
    again = Camera.load(camera.save(path))
    for key in ("K", "R", "t", "distortion"):
        torch.testing.assert_close(getattr(again, key), getattr(camera, key))
    assert again.image_size == camera.image_size and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_camera_round_trips_through_json(tmp_path):
    check_round_trip(lensed_camera(), tmp_path / "camera.json")


def broken(tmp_path, **changes) -> Path:
    path = tmp_path / "camera.json"
    data = json.loads(lensed_camera().save(path).read_text())
    for key, value in changes.items():
        data.pop(key) if value is None else data.update({key: value})
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"R_world_to_camera": (torch.eye(3) * 1.1).tolist()}, "not a rotation"),
        ({"R_world_to_camera": torch.diag(torch.tensor([1.0, 1, -1])).tolist()}, "mirror image"),
        ({"R_world_to_camera": torch.eye(4).tolist()}, "shape"),
        ({"R_world_to_camera": None}, "R_world_to_camera"),
        ({"K": [[-1000, 0, 0], [0, 1000, 0], [0, 0, 1]]}, "focal length"),
        ({"K": [[1000, 0, 0], [0, 1000, 0], [500, 500, 1]]}, "upper triangular"),
        ({"K": None}, "'K'"),
        ({"t_world_to_camera": [0.0, math.nan, 0.0]}, "not finite"),
        ({"t_world_to_camera": "here"}, "numbers"),
        ({"width": 0}, "image_size"),
        ({"dist": [0.1, 0.2]}, "dist has 2"),
        ({"image_size": [640]}, "image_size has 1"),
    ],
)
def test_invalid_camera_files_are_reported(tmp_path, changes, fault):
    path = broken(tmp_path, **changes)
    with pytest.raises(KitError, match=fault) as error:
        Camera.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_and_unreadable_camera_files_are_reported(tmp_path):
    with pytest.raises(KitError, match="no such camera"):
        Camera.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"K": [[1,')
    with pytest.raises(KitError, match="not a readable"):
        Camera.load(tmp_path / "cut.json")


def test_real_calibration_loads_and_its_distortion_inverts():
    path = VIDEO / "balance_cam01_camera.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set PHYSHMR_DATA")
    camera = Camera.load(path)
    assert camera.image_size == (1080, 1920)
    assert 0.5 < camera.centre[2] < 3.0  # it stands on a tripod
    grid = torch.cartesian_prod(torch.linspace(0, 1080, 9), torch.linspace(0, 1920, 9))
    assert (camera.project(camera.unproject(grid, torch.full((81,), 4.0))) - grid).abs().max() < 0.01


def test_a_rounded_rotation_is_orthonormalised():
    R = roma.random_rotmat().float()
    rough = (R * 1e4).round() / 1e4
    camera = Camera(torch.eye(3), rough, torch.zeros(3))
    assert (camera.R @ camera.R.mT - torch.eye(3)).abs().max() < 1e-6
    torch.testing.assert_close(camera.R, R, atol=2e-4, rtol=0)


def test_a_moving_camera_round_trips_through_npz(tmp_path):
    centre = torch.stack([torch.linspace(3, 4, 5), torch.zeros(5), torch.ones(5)], dim=-1)
    camera = Camera.look_at(centre, torch.zeros(5, 3) + torch.tensor([0.0, 0.0, 0.9]), image_size=(640, 480))
    check_round_trip(camera, tmp_path / "c.npz")
    with pytest.raises(KitError, match=r"holds one camera, not a batch of \(5,\); save it as \.npz"):
        camera.save(tmp_path / "c.json")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:100])
    with pytest.raises(KitError, match=r"cut\.npz: not a readable \.npz camera"):
        Camera.load(tmp_path / "cut.npz")


def test_transforming_the_world_does_not_change_the_image():
    camera = Camera.look_at((4.0, -1.0, 1.7), (0.0, 0.0, 1.0))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 1.0]))
    points, shift = torch.randn(6, 3), torch.tensor([1.0, 2.0, 3.0])
    there = camera.in_world(turn, shift)
    torch.testing.assert_close(there.project(points @ turn.mT + shift), camera.project(points), atol=1e-2, rtol=0)
    torch.testing.assert_close(there.centre, turn @ camera.centre + shift, atol=1e-4, rtol=0)


def test_pitch_and_roll_match_look_at():
    camera = Camera.look_at((4.0, 0.0, 2.0), (0.0, 0.0, 2.0 - 4 * math.tan(0.3)))
    assert float(camera.pitch) == pytest.approx(0.3, abs=1e-4) and float(camera.roll) == pytest.approx(0.0, abs=1e-5)
    rolled = Camera.look_at((4.0, 0.0, 2.0), (0.0, 0.0, 2.0), roll=0.2)
    assert abs(float(rolled.roll)) == pytest.approx(0.2, abs=1e-4)
    up = rolled.project(torch.tensor([[0.0, 0.5, 2.0], [0.0, -0.5, 2.0]]))
    left, right = sorted(up.tolist())
    assert (right[1] < left[1]) == (float(rolled.roll) > 0)  # the image rotates against the camera; v points down
