"""Training data of the encoder: mirroring, body shapes, floor contact, cameras, and consistent ground truth."""

import math
from dataclasses import replace

import pytest
import roma
import torch

from physhmr_kit.body.hinges import dof_limits, rotation_to_dof
from physhmr_kit.body.skeleton import MIRROR, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics, heading, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.motion.soles import foot_contact, sole_height
from physhmr_kit.vision.camera import Camera, sample_cameras, sample_wild_cameras
from physhmr_kit.vision.camera_motion import move_cameras
from physhmr_kit.vision.filming import (
    TRUNK,
    UPPER,
    chosen,
    joint_positions,
    miscalibrate,
    mix_windows,
    on_floor,
    random_poses,
    synthesize_batch,
    varied_offsets,
)
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.person_view import person_view
from physhmr_kit.vision.settings import NO_AUGMENTATION, Augmentation


def random_pose(frames=6):
    generator = torch.Generator().manual_seed(0)
    rot = roma.rotvec_to_unitquat(0.6 * torch.randn(frames, 24, 3, generator=generator))
    rot[:, 0] = roma.quat_product(rot[:, 0], torch.tensor(STANDING).expand(frames, 4))
    return torch.randn(frames, 3, generator=generator), rot


def stepping(frames=120) -> Clip:
    """A body that stands on its left foot and swings the right leg."""
    t = torch.arange(frames) / 30
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    swing = torch.stack([-0.9 * (0.5 - 0.5 * (3 * t).cos()), 0 * t, 0 * t], dim=-1)
    rot[:, 2], rot[:, 5] = roma.rotvec_to_unitquat(swing), roma.rotvec_to_unitquat(-swing)
    return Clip.from_joints(torch.tensor([0.0, 0.0, standing_height()]).expand(frames, 3), rot, 30.0, "stepping")


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([stepping()])


def filmed(library, windows: int, frames: int, seed: int, augmentation=NO_AUGMENTATION):
    """Windows of the first clip."""
    clips = torch.zeros(windows, dtype=torch.long)
    return synthesize_batch(library, clips, frames, torch.Generator().manual_seed(seed), augmentation)


def test_mirroring_swaps_left_and_right_in_the_world():
    root, rot = random_pose()
    there, _ = forward_kinematics(*mirrored(root, rot), mean_offsets())
    here, _ = forward_kinematics(root, rot, mean_offsets())
    torch.testing.assert_close(there, here[:, MIRROR] * torch.tensor([1.0, -1.0, 1.0]), atol=1e-5, rtol=0)


def test_mirroring_twice_is_the_identity():
    root, rot = random_pose()
    again_root, again = mirrored(*mirrored(root, rot))
    torch.testing.assert_close(again_root, root)
    assert roma.unitquat_geodesic_distance(again, rot).abs().max() < 2e-3


def test_joint_positions_agree_with_forward_kinematics():
    _, rot = random_pose()
    expected, _ = forward_kinematics(torch.zeros(6, 3), rot, mean_offsets())
    torch.testing.assert_close(joint_positions(roma.unitquat_to_rotmat(rot)), expected, atol=1e-5, rtol=0)


def test_varied_offsets_are_symmetric():
    offsets = varied_offsets(0.1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(offsets[list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0]), offsets)
    assert (offsets - mean_offsets()).abs().max() > 0.005
    assert torch.equal(varied_offsets(0.0, torch.Generator()), mean_offsets())


def test_only_the_stance_foot_is_in_contact(library):
    state = library.clip(0)
    contact = foot_contact(state.body_pos, state.body_rot, 30.0)
    assert (contact[:, 0] == 1).all() and (contact[:, 2] == 1).all()  # left ankle and toe
    high = state.body_pos[:, 8, 2] > 0.2
    assert high.any() and (contact[high][:, [1, 3]] == 0).all()


def test_a_batch_has_the_documented_shapes_and_is_reproducible(library):
    a, b = (filmed(library, 3, 20, 5, Augmentation()) for _ in range(2))
    assert a.tokens.shape == (3, 20, 61) and a.rotmat.shape == (3, 20, 24, 3, 3)
    assert a.position.shape == (3, 20, 24, 3) and a.contact.shape == (3, 20, 4)
    for key in ("tokens", "rotmat", "position", "contact"):
        assert torch.equal(getattr(a, key), getattr(b, key)) and torch.isfinite(getattr(a, key)).all()


def test_ground_truth_is_in_the_gravity_view_frame(library):
    """Seen from cameras all around the body, its heading varies but it stays upright."""
    batch = filmed(library, 40, 4, 1)
    root = roma.rotmat_to_unitquat(batch.rotmat[:, 0, 0])
    assert heading(root).std() > 1.0
    up = batch.rotmat[:, :, 0] @ torch.tensor([0.0, 1.0, 0.0])  # the body's y axis
    torch.testing.assert_close(up[..., 2], torch.ones(40, 4), atol=1e-4, rtol=0)


def test_left_is_on_the_right_of_the_image_for_a_body_facing_the_camera(library):
    batch = filmed(library, 60, 4, 2)
    facing = (heading(roma.rotmat_to_unitquat(batch.rotmat[:, 0, 0])).abs() - math.pi).abs() < 0.6
    shoulders = batch.tokens[:, 0, :34].unflatten(-1, (17, 2))[:, [5, 6], 0]  # left, right; x to the right
    assert facing.any()
    assert (shoulders[facing, 0] > shoulders[facing, 1]).all()


def test_a_clip_shorter_than_the_window_holds_its_last_pose():
    batch = filmed(MotionLibrary([stepping(10)]), 2, 30, 0)
    still = batch.position[:, 12:]
    assert still.norm(dim=-1).std(1).max() < 1e-5 and torch.isfinite(batch.tokens).all()


def some_cameras(count=6) -> Camera:
    return sample_cameras(
        torch.randn(count, 5, 4, 3, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    )


def test_a_miscalibrated_camera_sees_the_same_image_in_its_assumed_world():
    camera, points = some_cameras(), torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(3))
    assumed, Q, guessed = miscalibrate(camera, 1.0, torch.Generator().manual_seed(4))
    assert guessed.all()
    truth, claim = camera.to_camera(points), assumed.to_camera(points @ Q.mT)
    torch.testing.assert_close(
        truth - truth[:, :1], claim - claim[:, :1], atol=1e-4, rtol=0
    )  # apart from the translation
    tilt = torch.acos(Q[:, 2, 2].clamp(-1, 1))
    assert (tilt > 0.01).all() and tilt.max() < math.radians(60)
    level = assumed.R[:, 2, 2].abs() < 1e-4  # horizontal optical axis
    assert level.any() and not level.all()
    zoom = assumed.K[:, 0, 0] / camera.K[:, 0, 0]
    assert (zoom != 1).any() and (zoom == 1).any()
    same, Q, guessed = miscalibrate(camera, 0.0, torch.Generator().manual_seed(4))
    assert not guessed.any() and torch.equal(Q, torch.eye(3).expand(6, 3, 3)) and torch.equal(same.R, camera.R)


def test_ground_truth_of_a_miscalibrated_camera_is_in_its_assumed_frame(library):
    """In the frame of a camera wrongly assumed level, the true up direction and the body are tilted alike."""
    batch = filmed(library, 30, 4, 1, replace(NO_AUGMENTATION, miscalibrated=1.0))
    assert batch.guessed.all()
    torch.testing.assert_close(batch.up.norm(dim=-1), torch.ones(30, 4), atol=1e-4, rtol=0)
    spine = batch.rotmat[:, :, 0] @ torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(spine, batch.up, atol=1e-4, rtol=0)  # the body of this clip stands upright
    assert (batch.up[..., 2] < 0.99).any()


def test_moving_cameras_move_smoothly_and_keep_the_person_in_view(library):
    path = torch.stack([torch.linspace(0, 2, 60), torch.zeros(60), torch.ones(60)], dim=-1).expand(8, 60, 3)
    fixed = sample_cameras(path.unsqueeze(2), torch.Generator().manual_seed(0))
    camera = move_cameras(fixed, path, 1.0, torch.Generator().manual_seed(5))
    assert camera.batch_shape == (8, 60)
    assert (camera.centre.std(1).norm(dim=-1) > 1e-3).all()
    steps = camera.centre.diff(dim=1).norm(dim=-1)
    assert steps.max() < 0.5 and (steps.diff(dim=1).abs() < 0.03).all()
    pixels = camera.project(path.unsqueeze(2))[:, :, 0]
    inside = ((pixels > -200) & (pixels < pixels.new_tensor(camera.image_size) + 200)).all(-1)
    assert inside.float().mean() > 0.9
    still = move_cameras(fixed, path, 0.0, torch.Generator().manual_seed(5))
    torch.testing.assert_close(still.R, fixed.R.unsqueeze(1).expand(8, 60, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(still.centre, fixed.centre.unsqueeze(1).expand(8, 60, 3), atol=1e-4, rtol=0)


def test_tokens_hold_the_angular_velocity_of_the_camera_in_view_axes(library):
    """An orbiting camera rotates about the vertical, which is -y of the level view (y down)."""
    angle = 0.02 * torch.arange(10)
    centre = roma.quat_action(yaw_quaternion(angle), torch.tensor([4.0, 0.0, 1.0]).expand(10, 3))
    camera = Camera.look_at(centre, torch.tensor([0.0, 0.0, 1.0]).expand(10, 3))
    state = library.clip(0)
    points = coco_from_bodies(state.body_pos[:10], state.body_rot[:10])
    keypoints = torch.cat([camera.project(points), torch.ones(10, 17, 1)], dim=-1)
    turning = person_view(keypoints, camera).tokens[:, 57:60]
    expected = torch.tensor([0.0, -0.2, 0.0]).expand(9, 3)  # ten times the rotation per frame
    torch.testing.assert_close(turning[1:], expected, atol=0.02, rtol=0)
    assert (turning[0] == 0).all()


def test_mixing_changes_arms_and_keeps_legs():
    _, rot = random_pose(12)
    windows = rot.unflatten(0, (4, 3))
    out = mix_windows(windows, replace(NO_AUGMENTATION, mix=1.0, bend=0.1), torch.Generator().manual_seed(0))
    lower = [j for j in range(24) if j not in (*UPPER, *TRUNK)]
    assert torch.equal(out[:, :, lower], windows[:, :, lower]) and len(UPPER) == 12
    assert (out[:, :, list(UPPER)] != windows[:, :, list(UPPER)]).any(-1).all()
    assert torch.equal(mix_windows(windows, NO_AUGMENTATION, torch.Generator()), windows)


def test_random_poses_stay_within_joint_limits_and_some_are_static():
    rot = random_poses(30, 20, torch.Generator().manual_seed(0))
    assert rot.shape == (30, 20, 23, 4)
    dof, (low, high) = rotation_to_dof(rot.flatten(0, 1)), dof_limits().unbind(-1)
    assert (dof > low - 1e-3).all() and (dof < high + 1e-3).all()
    dof = dof.unflatten(0, (30, 20))
    assert dof[:, 0].std(0).min() > 0.05  # every hinge varies
    moving = dof.std(1).amax(-1) > 1e-3
    assert 10 <= int(moving.sum()) < 30
    assert dof.diff(dim=1).abs().max() < 0.5  # slowly


def test_on_floor_puts_the_lower_foot_on_the_floor():
    root, rot = random_pose()
    there = on_floor(root, rot)
    low = sole_height(*forward_kinematics(there, rot, mean_offsets())).amin(-1)
    torch.testing.assert_close(low, torch.zeros(6), atol=1e-5, rtol=0)
    assert torch.equal(there[:, :2], root[:, :2])


def test_random_poses_in_a_batch_touch_the_floor(library):
    plain, posed = (filmed(library, 8, 8, 3, a) for a in (NO_AUGMENTATION, replace(NO_AUGMENTATION, poses=1.0)))
    assert (plain.position - posed.position).norm(dim=-1).mean() > 0.1
    assert posed.contact.any(-1).float().mean() > 0.3 and torch.isfinite(posed.tokens).all()


def test_wild_cameras_follow_their_distributions():
    points = torch.randn(400, 10, 24, 3, generator=torch.Generator().manual_seed(0)) * 0.3 + torch.tensor([0, 0, 1.0])
    size = (1920, 1080)
    wild = sample_wild_cameras(points, torch.Generator().manual_seed(1), size)
    distance = (wild.centre - points.mean((1, 2))).norm(dim=-1)
    assert distance.min() > 0.7 and (distance < 4).float().mean() == pytest.approx(0.24, abs=0.08)
    assert (wild.centre[:, 2] > 0.15).all()
    right, forward = wild.R[:, 0], wild.R[:, 2]
    level = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]).expand(400, 3))
    roll = torch.rad2deg((torch.nn.functional.normalize(level, dim=-1) * right).sum(-1).clamp(-1, 1).acos())
    assert 4 < roll.mean() < 10 and roll.max() > 15
    down = torch.rad2deg(torch.asin(-forward[:, 2]))
    assert 0 < down.mean() < 12 and 12 < down.std() < 25
    aimed = torch.nn.functional.normalize(points.mean((1, 2)) - wild.centre, dim=-1)
    assert (aimed * forward).sum(-1).min() > 0.9
    still = (points[:, :, 0].amax(1) - points[:, :, 0].amin(1)).norm(dim=-1)
    assert (distance > 0.8 * still).all()


def test_cameras_are_chosen_per_row():
    points = torch.randn(4, 5, 24, 3, generator=torch.Generator().manual_seed(0))
    one = sample_cameras(points, torch.Generator().manual_seed(1), (1920, 1080))
    other = sample_wild_cameras(points, torch.Generator().manual_seed(1), (1920, 1080))
    rows = torch.tensor([True, False, False, True])
    mixed = chosen(rows, one, other)
    for i, row in enumerate(rows.tolist()):
        for key in "KRt":
            assert torch.equal(getattr(mixed, key)[i], getattr(one if row else other, key)[i])
