"""Uncalibrated cameras: the estimate is exact if the encoder is, and the floor corrects its tilt."""

import math

import pytest
import roma
import torch

from physhmr_kit.body.skeleton import STANDING, mean_offsets, standing_height
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import Encoding
from physhmr_kit.vision.keypoints import KeypointTrack, coco_from_bodies
from physhmr_kit.vision.uncalibrated import (
    diagonal_focal,
    estimate_camera,
    level_camera,
    middle_direction,
    shortest_turn,
)

FRAMES = 60


def a_walk(along=(0.4, 0.0)):
    """A standing body that is moved over the floor at a velocity, m/s."""
    t = torch.arange(FRAMES) / 30
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(FRAMES, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.stack([along[0] * t, along[1] * t, 0 * t + standing_height()], dim=-1)
    return root, rot


class Oracle:
    """An encoder that returns the truth in the frame of the given camera, with the up direction pitched forward."""

    def __init__(self, camera: Camera, pitched: float = 0.0, contact: float = 1.0):
        self.camera, self.contact = camera, contact
        axis = camera.R.reshape(-1, 3, 3)[0, 0]  # of the image, in the world
        self.up = roma.rotvec_to_rotmat(math.radians(pitched) * axis) @ torch.tensor([0.0, 0.0, 1.0])

    def encode(self, keypoints, camera, image=None, guessed=False):
        first = [c.R.reshape(-1, 3, 3)[0] for c in (camera, self.camera)]
        turn = first[0].mT @ first[1]  # from the true world to that of the given camera
        _, rot = a_walk()
        rot[:, 0] = roma.quat_product(roma.rotmat_to_unitquat(turn).expand(FRAMES, 4), rot[:, 0])
        feature, uncertainty = torch.zeros(FRAMES, 512), torch.zeros(FRAMES, 24)
        contact = torch.full((FRAMES, 4), self.contact)
        return Encoding(feature, rot, contact, (turn @ self.up).expand(FRAMES, 3), uncertainty)


def filmed(camera: Camera, along=(0.4, 0.0)) -> KeypointTrack:
    root, rot = a_walk(along)
    points = coco_from_bodies(*forward_kinematics(root, rot, mean_offsets()))
    keypoints = torch.cat([camera.project(points), torch.ones(FRAMES, 17, 1)], dim=-1)
    return KeypointTrack(keypoints, 30.0, camera.image_size, "walk")


def from_the_front(down: float = 20.0) -> Camera:
    """5 m in front of a body that walks along y, pitched down by `down` degrees."""
    height = 1.0 + 5 * math.tan(math.radians(down))
    return Camera.look_at((0.0, -5.0, height), (0.0, 0.0, 1.0), focal=1500.0, roll=0.1)


def tilt_error(found, camera: Camera) -> float:
    """Angle between the estimated up and the true one, deg."""
    return math.degrees(float((found.camera.R[:, 2] @ camera.R[:, 2]).clamp(-1, 1).acos()))


@pytest.mark.parametrize("down", [-5.0, 20.0, 40.0])
def test_the_camera_is_exact_if_the_up_direction_is(down):
    height = 1.0 + 4 * math.sin(math.radians(down))
    camera = Camera.look_at((0.4, -4.0, height), (0.4, 0.0, 1.0), focal=1500.0, roll=0.1)
    found = estimate_camera(filmed(camera), Oracle(camera), focal=1500.0)
    assert tilt_error(found, camera) < 0.05
    assert found.height_m == pytest.approx(height, abs=2e-3)
    assert found.height_spread_m < 1e-3
    assert float(found.camera.centre[2]) == pytest.approx(found.height_m, abs=1e-4)
    assert found.camera.centre[:2].norm() < 1e-4
    assert f"{found.height_m:.2f} m above the floor" in str(found)


@pytest.mark.parametrize("pitched", [-4.0, 4.0])
def test_the_floor_under_a_run_corrects_the_pitch(pitched):
    camera = from_the_front()
    found = estimate_camera(filmed(camera, along=(0.0, 3.0)), Oracle(camera, pitched), focal=1500.0)
    assert tilt_error(found, camera) < 1.5
    assert found.height_m == pytest.approx(float(camera.centre[2]), rel=0.05)


@pytest.mark.parametrize("case", ["stands", "in the air"])
def test_without_floor_information_the_pitch_is_unchanged(case):
    camera = from_the_front()
    along, contact = ((0.0, 0.0), 1.0) if case == "stands" else ((0.0, 3.0), 0.0)
    found = estimate_camera(filmed(camera, along), Oracle(camera, 4.0, contact), focal=1500.0)
    assert tilt_error(found, camera) == pytest.approx(4.0, abs=0.3)
    assert any("no foot is in contact" in note for note in found.notes) == (case == "in the air")


def test_outlier_feet_hardly_tilt_the_floor():
    camera = from_the_front()
    track = filmed(camera, along=(0.0, 1.5))
    track.keypoints[-6:, :, :2] = track.keypoints[-6:, :, :2] * 0.5 + 400.0  # half the size, so twice as far away
    found = estimate_camera(track, Oracle(camera), focal=1500.0)
    assert tilt_error(found, camera) < 1.0


def test_a_moving_camera_keeps_its_path():
    centre = torch.stack(
        [torch.linspace(0, 1, FRAMES), torch.full((FRAMES,), -4.0), torch.full((FRAMES,), 1.5)], dim=-1
    )
    camera = Camera.look_at(centre, torch.tensor([0.4, 0.0, 1.0]).expand(FRAMES, 3))
    tilted = camera.in_world(roma.rotvec_to_rotmat(torch.tensor([0.3, -0.2, 0.5])), (1.0, 2.0, 3.0))
    found = estimate_camera(filmed(camera), Oracle(camera), lens=tilted)
    assert found.camera.batch_shape == (FRAMES,)
    moved = found.camera.centre - found.camera.centre[:1]
    torch.testing.assert_close(moved.norm(dim=-1), (centre - centre[:1]).norm(dim=-1), atol=1e-3, rtol=0)
    assert moved[:, 2].abs().max() < 0.05  # the path was level
    with pytest.raises(KitError, match="60 frames of keypoints but"):
        estimate_camera(filmed(camera), Oracle(camera), lens=camera[:20])


def test_unknown_focal_length_defaults_to_the_diagonal_with_a_note():
    camera = Camera.look_at((0.4, -4.0, 1.4), (0.4, 0.0, 1.0), focal=diagonal_focal((1920, 1080)))
    found = estimate_camera(filmed(camera), Oracle(camera))
    assert float(found.camera.K[0, 0]) == pytest.approx(2202.9, abs=0.1)
    assert any("focal length unknown" in note for note in found.notes)


def test_level_camera_looks_along_x():
    camera = level_camera((1080, 1920), 1000.0)
    ahead = camera.project(torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 1.0], [5.0, 1.0, 0.0]]))
    torch.testing.assert_close(ahead, torch.tensor([[540.0, 960.0], [540.0, 760.0], [340.0, 960.0]]))


def test_middle_direction_is_robust_to_outliers():
    up = torch.tensor([0.0, 0.0, 1.0]).repeat(20, 1)
    up[:6] = torch.tensor([1.0, 0.0, 0.0])
    assert middle_direction(up, torch.ones(20))[2] > 0.999
    assert middle_direction(up, torch.cat([torch.full((6,), 5.0), torch.ones(14)]))[0] > 0.999


def test_shortest_turn_rotates_one_vector_to_the_other():
    a, b = (torch.nn.functional.normalize(torch.tensor(v), dim=0) for v in ([1.0, 2.0, 0.5], [0.2, -1.0, 2.0]))
    turn = shortest_turn(a, b)
    torch.testing.assert_close(turn @ a, b, atol=1e-5, rtol=0)
    axis = torch.linalg.cross(a, b)
    torch.testing.assert_close(turn @ axis, axis, atol=1e-5, rtol=0)
    assert torch.equal(shortest_turn(a, a), torch.eye(3))


def test_the_track_of_the_estimate_belongs_to_the_estimated_camera():
    camera = Camera.look_at((0.4, -4.0, 2.0), (0.4, 0.0, 1.0), focal=1500.0)
    oracle = Oracle(camera)
    found = estimate_camera(filmed(camera), oracle, focal=1500.0)
    expected = track_from_keypoints(filmed(camera), found.camera, oracle)
    for key in ("keypoints", "ray_point", "ray_confidence", "centre", "joint_rot"):
        torch.testing.assert_close(getattr(found.track, key), getattr(expected, key), atol=1e-4, rtol=0)
    assert found.track.name == expected.name
