"""Mirrored motions: bodies swap sides, and mirroring twice is the identity."""

import roma
import torch

from physhmr_kit.body.skeleton import MIRROR, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.mirror import mirrored, mirrored_clip


def some_motion() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, dtype=torch.float64), roma.random_unitquat((6, 24), dtype=torch.float64)


def test_every_joint_is_at_the_mirror_image_of_its_counterpart():
    root, joints = some_motion()
    pos, _ = forward_kinematics(root, joints, mean_offsets().double())
    image, _ = forward_kinematics(*mirrored(root, joints), mean_offsets().double())
    torch.testing.assert_close(image, pos[:, list(MIRROR)] * torch.tensor([1.0, -1.0, 1.0]), atol=1e-6, rtol=0)


def test_mirroring_twice_is_the_identity():
    root, joints = some_motion()
    again, turned = mirrored(*mirrored(root, joints))
    torch.testing.assert_close(again, root)
    assert roma.unitquat_geodesic_distance(turned, joints).max() < 1e-6


def test_a_mirrored_clip_keeps_everything_but_its_name():
    root, joints = some_motion()
    clip = Clip.from_joints(root, joints, 25.0, "wave")
    clip.betas[0] = 2.0
    image = mirrored_clip(clip)
    assert (image.name, image.fps, image.betas[0], len(image)) == ("wave_mirrored", 25.0, 2.0, 6)
    torch.testing.assert_close(image.root_pos, mirrored(clip.root_pos, clip.joint_rot)[0], atol=1e-6, rtol=0)
