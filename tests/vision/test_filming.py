"""Filming motion capture: the mirror image, other bodies, floor contact, and truth that agrees with what is seen."""

import math

import pytest
import roma
import torch

from physhmr_kit.body.skeleton import MIRROR, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.vision.filming import STILL, Variety, film, floor_contact, joint_positions, varied_offsets


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


def test_the_mirror_image_swaps_left_and_right_in_the_world():
    root, rot = random_pose()
    there, _ = forward_kinematics(*mirrored(root, rot), mean_offsets())
    here, _ = forward_kinematics(root, rot, mean_offsets())
    torch.testing.assert_close(there, here[:, MIRROR] * torch.tensor([1.0, -1.0, 1.0]), atol=1e-5, rtol=0)


def test_mirroring_twice_changes_nothing():
    root, rot = random_pose()
    again_root, again = mirrored(*mirrored(root, rot))
    torch.testing.assert_close(again_root, root)
    assert roma.unitquat_geodesic_distance(again, rot).abs().max() < 2e-3


def test_joint_positions_agree_with_forward_kinematics():
    _, rot = random_pose()
    expected, _ = forward_kinematics(torch.zeros(6, 3), rot, mean_offsets())
    torch.testing.assert_close(joint_positions(roma.unitquat_to_rotmat(rot)), expected, atol=1e-5, rtol=0)


def test_other_bodies_keep_both_sides_alike():
    offsets = varied_offsets(0.1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(offsets[list(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0]), offsets)
    assert (offsets - mean_offsets()).abs().max() > 0.005
    assert torch.equal(varied_offsets(0.0, torch.Generator()), mean_offsets())


def test_the_standing_foot_is_in_contact_and_the_swinging_one_is_not(library):
    state = library.clip(0)
    contact = floor_contact(state.body_pos.unsqueeze(0), state.body_rot.unsqueeze(0))[0]
    assert (contact[:, 0] == 1).all() and (contact[:, 2] == 1).all()  # left ankle and toe
    high = state.body_pos[:, 8, 2] > 0.2
    assert high.any() and (contact[high][:, [1, 3]] == 0).all()


def test_a_batch_has_the_promised_shapes_and_is_the_same_for_the_same_seed(library):
    clips = torch.zeros(3, dtype=torch.long)
    a, b = (film(library, clips, 20, torch.Generator().manual_seed(5), Variety()) for _ in range(2))
    assert a.tokens.shape == (3, 20, 57) and a.rotmat.shape == (3, 20, 24, 3, 3)
    assert a.position.shape == (3, 20, 24, 3) and a.velocity.shape == (3, 20, 3) and a.contact.shape == (3, 20, 4)
    for key in ("tokens", "rotmat", "position", "velocity", "contact"):
        assert torch.equal(getattr(a, key), getattr(b, key)) and torch.isfinite(getattr(a, key)).all()


def test_truth_is_told_from_where_the_camera_looks(library):
    """Cameras stand all around the body, so its heading seen from them is anything; upright it stays."""
    batch = film(library, torch.zeros(40, dtype=torch.long), 4, torch.Generator().manual_seed(1), STILL)
    root = roma.rotmat_to_unitquat(batch.rotmat[:, 0, 0])
    assert heading(root).std() > 1.0
    up = batch.rotmat[:, :, 0] @ torch.tensor([0.0, 1.0, 0.0])  # the body's y axis
    torch.testing.assert_close(up[..., 2], torch.ones(40, 4), atol=1e-4, rtol=0)


def test_a_body_that_faces_the_camera_has_its_left_on_the_right_of_the_picture(library):
    batch = film(library, torch.zeros(60, dtype=torch.long), 4, torch.Generator().manual_seed(2), STILL)
    facing = (heading(roma.rotmat_to_unitquat(batch.rotmat[:, 0, 0])).abs() - math.pi).abs() < 0.6
    shoulders = batch.tokens[:, 0, :34].unflatten(-1, (17, 2))[:, [5, 6], 0]  # left, right; x to the right
    assert facing.any()
    assert (shoulders[facing, 0] > shoulders[facing, 1]).all()


def test_a_clip_shorter_than_the_window_holds_its_last_pose():
    short = MotionLibrary([stepping(10)])
    batch = film(short, torch.zeros(2, dtype=torch.long), 30, torch.Generator().manual_seed(0), STILL)
    still = batch.position[:, 12:]
    turned = (still[:, :, 5] - still[:, :, 2]).norm(dim=-1)  # a bone: rigid whatever the frame
    assert turned.std() < 1e-5 and torch.isfinite(batch.tokens).all()
