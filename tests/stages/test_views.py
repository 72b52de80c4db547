"""The views of a student: bodies with other proportions keep their feet on the floor, and cameras may move."""

import torch
from motions import rest_clip

from physhmr_kit.body.skeleton import JOINT_NAMES, mean_offsets
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.views import film_library, other_proportions
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.rays import perpendicular
from physhmr_kit.vision.settings import Filming, KeypointNoise


def a_library():
    return MotionLibrary([rest_clip(20, "stand")])


def filmed(filming):
    torch.manual_seed(0)
    encoder = VisionEncoder(width=32, layers=1, heads=2).eval()
    return film_library(a_library(), encoder, 4, seed=3, filming=filming)[1][0]


def away(track) -> torch.Tensor:
    """Distance of the mean-shape body's joints from the rays, m."""
    from physhmr_kit.vision.keypoints import RAY_COCO, coco_from_bodies

    state = a_library().clip(0)
    joints = coco_from_bodies(state.body_pos, state.body_rot)[:, list(RAY_COCO)]
    return perpendicular(joints, track.centre, track.ray_point).norm(dim=-1)


def test_other_proportions_keep_the_legs_and_change_the_rest():
    generator = torch.Generator().manual_seed(0)
    legs = [JOINT_NAMES.index(f"left_{part}") for part in ("knee", "ankle")]
    for _ in range(5):
        offsets = other_proportions(0.1, generator)
        torch.testing.assert_close(offsets[legs].norm(dim=-1).sum(), mean_offsets()[legs].norm(dim=-1).sum())
        assert (offsets - mean_offsets()).norm(dim=-1).max() > 0.005


def test_a_view_may_be_of_another_body_and_a_moving_camera():
    quiet = KeypointNoise.none()
    plain, other = filmed(Filming(noise=quiet)), filmed(Filming(limbs=0.1, noise=quiet))
    assert away(plain).max() < 1e-3 < 0.01 < away(other).max()
    assert away(other)[:, -2:].max() < 0.04  # ankles stay nearly in place
    assert plain.camera.batch_shape == ()
    moving = filmed(Filming(moving=1.0, noise=quiet))
    assert moving.camera.batch_shape == (20,) and moving.centre.std(0).norm() > 1e-3
    assert away(moving).max() < 1e-3
