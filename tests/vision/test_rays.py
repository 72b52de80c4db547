"""Pixel-as-ray: definition and invariances of the residual, and placement on rays."""

import math

import roma
import torch

from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.kinematics import heading, yaw_quaternion
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.rays import lift, perpendicular, place_on_rays, ray_confidence, ray_direction, ray_residual

LENS = torch.tensor([-0.05, 0.14, 0.0006, -0.0007, 0.0])


def a_camera(position=(4.0, -1.0, 1.7)) -> Camera:
    camera = Camera.look_at(position, (0.0, 0.0, 1.0), focal=1300.0, image_size=(1080, 1920), roll=0.05)
    return Camera(camera.K, camera.R, camera.t, LENS, camera.image_size)


def some_joints(n: int = 50, seed: int = 0) -> torch.Tensor:
    spread = torch.tensor([0.5, 0.5, 0.6])
    return torch.randn(n, 12, 3, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2) * spread + torch.tensor(
        [0, 0, 1.0]
    )


def residual_of_pixels(joints, pixels, camera, yaw):
    return ray_residual(joints, camera.centre.expand(len(joints), 3), lift(pixels, camera), yaw)


def test_lift_follows_the_formula_of_the_paper():
    camera = Camera.look_at((4.0, -1.0, 1.7), (0.0, 0.0, 1.0), focal=1300.0)
    u, v = 700.0, 300.0
    p = camera.centre + camera.R.T @ torch.linalg.inv(camera.K) @ torch.tensor([u, v, 1.0])
    torch.testing.assert_close(lift(torch.tensor([u, v]), camera), p)


def test_residual_is_zero_when_the_joint_projects_to_its_pixel():
    camera, joints = a_camera(), some_joints()
    e = residual_of_pixels(joints, camera.project(joints), camera, torch.zeros(50))
    assert e.abs().max() < 1e-5


def test_residual_of_a_pixel_offset_has_the_expected_size():
    camera, joints = a_camera(), some_joints()
    e = residual_of_pixels(joints, camera.project(joints) + torch.tensor([10.0, 0.0]), camera, torch.zeros(50))
    # ten pixels at focal length 1300 and a depth of about 4 m are about 3 cm
    assert e.norm(dim=-1).min() > 0.01 and e.norm(dim=-1).max() < 0.08


def test_residual_is_invariant_to_motion_along_the_ray():
    camera, joints = a_camera(), some_joints()
    pixels = camera.project(joints) + 25.0
    d = ray_direction(lift(pixels, camera), camera.centre.expand(50, 3))
    before = residual_of_pixels(joints, pixels, camera, torch.zeros(50))
    after = residual_of_pixels(joints + 0.7 * d, pixels, camera, torch.zeros(50))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_residual_does_not_depend_on_the_point_that_defines_the_ray():
    camera, joints = a_camera(), some_joints()
    point, centre = lift(camera.project(joints) + 25.0, camera), camera.centre.expand(50, 3)
    further = centre.unsqueeze(1) + 7.3 * (point - centre.unsqueeze(1))
    yaw = torch.full((50,), 0.4)
    torch.testing.assert_close(
        ray_residual(joints, centre, point, yaw), ray_residual(joints, centre, further, yaw), atol=1e-5, rtol=0
    )


def test_residual_is_perpendicular_and_points_from_ray_to_joint():
    camera, joints = a_camera(), some_joints()
    point, centre = lift(camera.project(joints) + 25.0, camera), camera.centre.expand(50, 3)
    e, d = perpendicular(joints, centre, point), ray_direction(point, centre)
    assert (e * d).sum(-1).abs().max() < 1e-5
    assert perpendicular(joints - e, centre, point).norm(dim=-1).max() < 1e-5


def test_observation_is_invariant_to_rotating_the_scene_about_the_vertical():
    joints, yaw = some_joints(), torch.linspace(-3, 3, 50)
    point, centre = some_joints(seed=1) + 2.0, torch.tensor([4.0, -1.0, 1.7]).expand(50, 3)
    turn = yaw_quaternion(torch.full((50,), 1.1))

    def turned(x):
        return roma.quat_action(turn.reshape(50, *[1] * (x.ndim - 2), 4).expand(*x.shape[:-1], 4), x)

    root = roma.quat_product(yaw_quaternion(yaw), torch.tensor(STANDING).expand(50, 4))
    before = ray_residual(joints, centre, point, heading(root))
    after = ray_residual(turned(joints), turned(centre), turned(point), heading(roma.quat_product(turn, root)))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_rotating_only_the_body_rotates_the_observation_backwards():
    joints, point = some_joints(1), some_joints(1, seed=1) + 2.0
    centre = torch.tensor([[4.0, -1.0, 1.7]])
    e = ray_residual(joints, centre, point, torch.zeros(1))
    quarter = ray_residual(joints, centre, point, torch.full((1,), math.pi / 2))
    torch.testing.assert_close(quarter, torch.stack([e[..., 1], -e[..., 0], e[..., 2]], dim=-1), atol=1e-6, rtol=0)


def test_rays_of_two_views_intersect_at_the_joint():
    joints = some_joints()
    views = [a_camera(), a_camera((-1.0, 4.0, 1.2))]
    centres = [c.centre.expand(50, 3) for c in views]
    d = [ray_direction(lift(c.project(joints), c), o) for c, o in zip(views, centres, strict=True)]
    # the point nearest to both lines, by least squares
    flat = [torch.eye(3) - x.unsqueeze(-1) * x.unsqueeze(-2) for x in d]
    right = sum((f @ o[:, None, :, None]).squeeze(-1) for f, o in zip(flat, centres, strict=True))
    met = torch.linalg.solve(flat[0] + flat[1], right)
    assert (met - joints).norm(dim=-1).max() < 1e-3


def test_degenerate_rays_have_a_finite_direction_and_no_confidence():
    centre = torch.tensor([[1.0, 2.0, 3.0]])
    point = torch.stack([centre[0], centre[0] + 1.0]).unsqueeze(0)
    assert torch.equal(ray_confidence(point, centre, torch.full((1, 2), 0.9)), torch.tensor([[0.0, 0.9]]))
    torch.testing.assert_close(ray_direction(point, centre).norm(dim=-1), torch.ones(1, 2))
    e = ray_residual(some_joints(1)[:, :2], centre, point, torch.zeros(1))
    assert torch.isfinite(e).all()


def test_a_body_of_known_pose_is_placed_correctly():
    camera, where = a_camera(), torch.tensor([0.3, -0.2, 0.9])
    joints = some_joints(1)[0] - torch.tensor([0, 0, 1.0])
    point = lift(camera.project(joints + where), camera)
    placed = place_on_rays(joints, camera.centre, point, torch.ones(12))
    torch.testing.assert_close(placed, where, atol=2e-3, rtol=0)


def test_floor_contact_corrects_the_distance_of_a_body_of_the_wrong_size():
    camera = a_camera((3.0, -2.0, 2.5))
    joints = some_joints(1)[0] - torch.tensor([0, 0, 1.0])
    where = torch.tensor([0.3, -0.2, 0.9])
    point = lift(camera.project(1.1 * joints + where), camera)  # the person is 10 % larger than our body
    blind = place_on_rays(joints, camera.centre, point, torch.ones(12))
    foot = torch.tensor([-0.9])  # the sole is on the floor when the pelvis is at 0.9 m
    helped = place_on_rays(joints, camera.centre, point, torch.ones(12), (foot, torch.full((1,), 50.0)))
    assert (blind - where).norm() > 0.2
    assert (helped - where).norm() < 0.5 * (blind - where).norm()
    assert abs(float(helped[2]) - 0.9) < 0.02


def test_the_placement_is_the_least_squares_solution():
    """Check against `torch.linalg.lstsq`: three rows per ray, weighted by the root of its confidence, and one per sole."""
    draw = torch.Generator().manual_seed(3)
    joints, point = some_joints(4), some_joints(4, seed=1) + torch.tensor([3.0, 0, 0])
    centre, weight = 5 * torch.randn(4, 3, generator=draw), torch.rand(4, 12, generator=draw)
    height, grip = torch.randn(4, 2, generator=draw), 3 * torch.rand(4, 2, generator=draw)
    d = torch.nn.functional.normalize(point - centre[:, None], dim=-1)
    flat = torch.eye(3) - d.unsqueeze(-1) * d.unsqueeze(-2)
    rays = (weight.sqrt()[..., None, None] * flat).flatten(1, 2)
    aim = (weight.sqrt().unsqueeze(-1) * (flat @ (centre[:, None] - joints).unsqueeze(-1)).squeeze(-1)).flatten(1)
    soles = grip.sqrt().unsqueeze(-1) * torch.tensor([0.0, 0.0, 1.0])
    alone = torch.linalg.lstsq(rays, aim.unsqueeze(-1)).solution.squeeze(-1)
    both = torch.linalg.lstsq(torch.cat([rays, soles], 1), torch.cat([aim, -grip.sqrt() * height], 1).unsqueeze(-1))
    torch.testing.assert_close(place_on_rays(joints, centre, point, weight), alone, atol=1e-3, rtol=1e-3)
    placed = place_on_rays(joints, centre, point, weight, (height, grip))
    torch.testing.assert_close(placed, both.solution.squeeze(-1), atol=1e-3, rtol=1e-3)


def test_a_ray_without_confidence_has_no_effect():
    camera, where = a_camera(), torch.tensor([0.3, -0.2, 0.9])
    joints = some_joints(1)[0] - torch.tensor([0, 0, 1.0])
    pixels = camera.project(joints + where)
    pixels[5] += 400.0
    placed = place_on_rays(joints, camera.centre, lift(pixels, camera), (torch.arange(12) != 5).float())
    torch.testing.assert_close(placed, where, atol=2e-3, rtol=0)


def test_non_finite_rays_have_no_confidence():
    centre = torch.tensor([[1.0, 2.0, 3.0]])
    ends = torch.tensor([[[1.0, 2.0, 3.001], [math.inf, 0, 0], [math.nan, 0, 0]]])
    assert torch.equal(ray_confidence(ends, centre, torch.full((1, 3), 0.9)), torch.tensor([[0.9, 0.0, 0.0]]))
    near = torch.stack([centre[0] + torch.tensor([0, 0, 1e-3]), centre[0]]).unsqueeze(0)
    torch.testing.assert_close(ray_direction(near, centre), torch.tensor([[[0.0, 0, 1], [1, 0, 0]]]), atol=1e-3, rtol=0)
