import pytest
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.metrics.reprojection import ray_distance, reprojection_error
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, RAY_JOINTS, coco_from_bodies
from physhmr_kit.vision.rays import lift

CAMERA = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0), focal=1000.0, image_size=(1920, 1080))


def body(frames=3, shift=(0.0, 0.0, 0.0)):
    rot = torch.zeros(frames, 24, 4)
    rot[..., 3] = 1
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.tensor([0.0, 0.0, standing_height()]).expand(frames, 3) + torch.tensor(shift)
    return forward_kinematics(root, rot, Humanoid.mean().offsets)


def seen(pos, rot):
    points = coco_from_bodies(pos, rot)
    return torch.cat([CAMERA.project(points), torch.ones(*points.shape[:2], 1)], dim=-1)


def rays_of(pos):
    return CAMERA.centre.expand(len(pos), 3), lift(CAMERA.project(pos[:, RAY_JOINTS]), CAMERA), torch.ones(len(pos), 12)


def test_the_observed_body_has_no_error():
    pos, rot = body()
    assert reprojection_error(pos, rot, seen(pos, rot), CAMERA).max() < 1e-2
    assert ray_distance(pos, *rays_of(pos)).max() < 0.05


def test_ray_distance_measures_only_across_the_ray():
    pos, _ = body()
    centre, point, confidence = rays_of(pos)
    nearer = centre[:, None] + 0.8 * (pos - centre[:, None])
    assert ray_distance(nearer, centre, point, confidence).max() < 0.05
    sideways = pos + torch.tensor([0.0, 0.05, 0.0])
    ray = torch.nn.functional.normalize(pos[:, RAY_JOINTS] - centre[:, None], dim=-1)
    expected = 50 * (1 - ray[..., 1] ** 2).sqrt()  # the part of the shift across the ray
    torch.testing.assert_close(ray_distance(sideways, centre, point, confidence), expected, atol=0.05, rtol=0)


def test_reprojection_error_by_hand_in_pixels():
    pos, rot = body()
    keypoints = seen(pos, rot)
    keypoints[..., 0] += 3.0
    keypoints[..., 1] -= 4.0
    torch.testing.assert_close(
        reprojection_error(pos, rot, keypoints, CAMERA), torch.full((3, 12), 5.0), atol=0.02, rtol=0
    )


def test_keypoints_of_low_confidence_are_ignored():
    pos, rot = body()
    keypoints = seen(pos, rot)
    keypoints[:, RAY_COCO[0]] = torch.tensor([9999.0, 9999.0, 0.1])
    error = reprojection_error(pos, rot, keypoints, CAMERA)
    assert error[:, 0].isnan().all() and error[:, 1:].max() < 1e-2


def test_rays_of_low_confidence_are_ignored():
    pos, _ = body()
    centre, point, confidence = rays_of(pos)
    confidence[:, 3:] = 0.0
    distance = ray_distance(pos + torch.tensor([0.0, 0.0, 0.1]), centre, point, confidence)
    assert distance[:, 3:].isnan().all() and 90 < distance[:, :3].mean() < 100


@pytest.mark.parametrize("frames", [1, 3])
def test_reprojection_with_a_moving_camera(frames):
    pos, rot = body(frames)
    moving = Camera(
        CAMERA.K, CAMERA.R.expand(frames, 3, 3), CAMERA.t.expand(frames, 3), CAMERA.distortion, CAMERA.image_size
    )
    assert reprojection_error(pos, rot, seen(pos, rot), moving).max() < 1e-2
