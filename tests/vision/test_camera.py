"""Cameras: projection, lens, validation, synthetic placement."""

import json
import math
import os
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


def test_a_point_is_projected_by_the_textbook_formula():
    camera = Camera(
        torch.tensor([[1000.0, 0, 500], [0, 900, 400], [0, 0, 1]]),
        torch.eye(3),
        torch.tensor([0.1, 0.0, 1.0]),
        image_size=(1000, 800),
    )
    pixels = camera.project(torch.tensor([0.3, -0.2, 1.0]))  # x_cam = (0.4, -0.2, 2)
    torch.testing.assert_close(pixels, torch.tensor([1000 * 0.2 + 500, 900 * -0.1 + 400]))


def test_the_lens_moves_a_point_as_opencv_says():
    k1, k2, p1, p2, k3 = LENS.double().tolist()
    x, y = 0.21, -0.13
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    K = torch.tensor([[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]])
    camera = Camera(K, torch.eye(3), torch.zeros(3), LENS, (10, 10))
    torch.testing.assert_close(camera.project(torch.tensor([2 * x, 2 * y, 2.0])), torch.tensor([1000 * u, 1000 * v]))


def test_undistorting_and_projecting_again_returns_to_the_pixel():
    camera = lensed_camera()
    grid = torch.cartesian_prod(torch.linspace(0, 1080, 12), torch.linspace(0, 1920, 12))
    depth = torch.rand(len(grid), generator=torch.Generator().manual_seed(0)) * 5 + 1
    again = camera.project(camera.unproject(grid, depth))
    assert (again - grid).abs().max() < 0.01
    assert (camera.undistort(grid) - grid).abs().max() > 1.0  # the lens does do something


def test_a_camera_that_looks_at_a_point_sees_it_in_the_middle_with_the_sky_above():
    camera = Camera.look_at((4.0, 1.0, 1.5), (0.0, 0.0, 1.0), image_size=(1920, 1080))
    torch.testing.assert_close(
        camera.project(torch.tensor([0.0, 0.0, 1.0])), torch.tensor([960.0, 540.0]), atol=1e-2, rtol=0
    )
    assert camera.project(torch.tensor([0.0, 0.0, 2.0]))[1] < 540
    torch.testing.assert_close(camera.centre, torch.tensor([4.0, 1.0, 1.5]))


def test_a_batch_of_cameras_agrees_with_each_camera_alone():
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


def test_points_behind_the_camera_are_not_seen():
    camera = Camera.look_at((4.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    assert camera.is_visible(torch.tensor([[0.0, 0, 1], [8.0, 0, 1]])).tolist() == [True, False]


def test_scaling_the_world_leaves_the_image_alone():
    camera = lensed_camera()
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    torch.testing.assert_close(camera.scaled(0.8).project(points * 0.8), camera.project(points), atol=0.01, rtol=0)


@pytest.mark.parametrize("image_size", [(1080, 1920), (1920, 1080), None])
def test_sampled_cameras_hold_the_whole_motion_and_stay_above_the_floor(image_size):
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(64, 10, 24, 3, generator=generator) * torch.tensor([0.5, 0.5, 0.3]) + torch.tensor(
        [0.0, 0.0, 1.0]
    )
    camera = sample_cameras(points, generator, image_size)
    assert camera.is_visible(points).all()
    assert camera.centre[:, 2].min() > 0.1
    assert camera.centre.norm(dim=-1).max() < 40
    assert camera.K[:, 0, 0].std() > 100


def test_one_body_gets_one_camera_that_sees_it():
    points = torch.randn(30, 24, 3, generator=torch.Generator().manual_seed(1)) * 0.3 + torch.tensor([5.0, 0.0, 1.0])
    camera = sample_cameras(points, torch.Generator().manual_seed(0))
    assert camera.batch_shape == () and camera.is_visible(points).all()


def test_a_saved_camera_loads_the_same(tmp_path):
    camera = lensed_camera()
    again = Camera.load(camera.save(tmp_path / "camera.json"))
    for key in ("K", "R", "t", "distortion"):
        torch.testing.assert_close(getattr(again, key), getattr(camera, key))
    assert again.image_size == camera.image_size
    assert [p.name for p in tmp_path.iterdir()] == ["camera.json"]


def broken(tmp_path, **changes) -> Path:
    path = tmp_path / "camera.json"
    data = json.loads(lensed_camera().save(path).read_text())
    for key, value in changes.items():
        data.pop(key) if value is None else data.update({key: value})
    path.write_text(json.dumps(data))
    return path


EYE = torch.eye(3).tolist()


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
    ],
)
def test_a_faulty_camera_file_is_told_by_name_and_fault(tmp_path, changes, fault):
    path = broken(tmp_path, **changes)
    with pytest.raises(KitError, match=fault) as told:
        Camera.load(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_missing_and_unreadable_camera_files_are_told(tmp_path):
    with pytest.raises(KitError, match="no such camera"):
        Camera.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"K": [[1,')
    with pytest.raises(KitError, match="not a readable"):
        Camera.load(tmp_path / "cut.json")


def test_the_real_calibration_loads_and_its_lens_inverts():
    path = VIDEO / "balance_cam01_camera.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set PHYSHMR_DATA")
    camera = Camera.load(path)
    assert camera.image_size == (1080, 1920)
    assert 0.5 < camera.centre[2] < 3.0  # it stands on a tripod
    grid = torch.cartesian_prod(torch.linspace(0, 1080, 9), torch.linspace(0, 1920, 9))
    assert (camera.project(camera.unproject(grid, torch.full((81,), 4.0))) - grid).abs().max() < 0.01


def test_a_rotation_with_few_digits_is_taken_to_the_nearest_rotation():
    R = roma.random_rotmat().float()
    rough = (R * 1e4).round() / 1e4
    camera = Camera(torch.eye(3), rough, torch.zeros(3))
    assert (camera.R @ camera.R.mT - torch.eye(3)).abs().max() < 1e-6
    torch.testing.assert_close(camera.R, R, atol=2e-4, rtol=0)


def test_a_moving_camera_is_saved_as_npz_and_loads_the_same(tmp_path):
    centre = torch.stack([torch.linspace(3, 4, 5), torch.zeros(5), torch.ones(5)], dim=-1)
    camera = Camera.look_at(centre, torch.zeros(5, 3) + torch.tensor([0.0, 0.0, 0.9]), image_size=(640, 480))
    again = Camera.load(camera.save(tmp_path / "c.npz"))
    for key in ("K", "R", "t", "distortion"):
        torch.testing.assert_close(getattr(again, key), getattr(camera, key))
    assert again.image_size == (640, 480) and [p.name for p in tmp_path.iterdir()] == ["c.npz"]
    with pytest.raises(KitError, match=r"holds one camera, not a batch of \(5,\); name a \.npz"):
        camera.save(tmp_path / "c.json")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:100])
    with pytest.raises(KitError, match=r"cut\.npz: not a readable \.npz camera"):
        Camera.load(tmp_path / "cut.npz")


def test_another_name_for_the_world_leaves_the_image_alone():
    camera = Camera.look_at((4.0, -1.0, 1.7), (0.0, 0.0, 1.0))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 1.0]))
    points, shift = torch.randn(6, 3), torch.tensor([1.0, 2.0, 3.0])
    there = camera.in_world(turn, shift)
    torch.testing.assert_close(there.project(points @ turn.mT + shift), camera.project(points), atol=1e-2, rtol=0)
    torch.testing.assert_close(there.centre, turn @ camera.centre + shift, atol=1e-4, rtol=0)


def test_pitch_and_roll_are_those_it_was_aimed_with():
    camera = Camera.look_at((4.0, 0.0, 2.0), (0.0, 0.0, 2.0 - 4 * math.tan(0.3)))
    assert float(camera.pitch) == pytest.approx(0.3, abs=1e-4) and float(camera.roll) == pytest.approx(0.0, abs=1e-5)
    rolled = Camera.look_at((4.0, 0.0, 2.0), (0.0, 0.0, 2.0), roll=0.2)
    assert abs(float(rolled.roll)) == pytest.approx(0.2, abs=1e-4)
    up = rolled.project(torch.tensor([[0.0, 0.5, 2.0], [0.0, -0.5, 2.0]]))
    left, right = sorted(up.tolist())
    assert (right[1] < left[1]) == (
        float(rolled.roll) > 0
    )  # the picture turns against the camera; pixels count downwards
