"""Points of ground truth and prediction, on the kit's skeleton and on a synthetic model of SMPL's size."""

import numpy as np
import pytest
import torch
from full_size_model import VERTICES, write_models
from motions import waving_clip

from data_prep.benchmark_sequence import BenchmarkSequence
from data_prep.retargeting.own_shape import FOLDER
from physhmr_kit.benchmark.bodies import FOOT_VERTICES, LSP_14, REGRESSOR, KitBody, SmplBody, find_bodies
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack


def sequence(clip, **more) -> BenchmarkSequence:
    count = len(clip)
    camera = Camera.look_at((4.0, 0.0, 1.0), (0.0, 0.0, 1.0), image_size=(640, 480))
    track = KeypointTrack(torch.zeros(count, 17, 3), 30.0, (640, 480))
    return BenchmarkSequence("waving", ("test",), track, camera, torch.ones(count, dtype=torch.bool), clip, **more)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models") / "smpl", "neutral", "male")


def test_prediction_is_scaled_back_to_the_real_world():
    """A person 1.2 times the mean shape: ground truth in metres, prediction in a world 1.2 times smaller."""
    clip = waving_clip(6)
    truth = KitBody().truth(sequence(Clip.from_joints(1.2 * clip.root_pos, clip.joint_rot, 30.0), scale=1.2))
    pred = KitBody().predicted(MotionLibrary([clip]).clip(0), 1.2, "smpl24")
    torch.testing.assert_close(pred.joints, truth.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(pred.feet, truth.feet, atol=1e-5, rtol=0)
    height = truth.joints[0, :, 2].max() - truth.feet[0, :, 2].min()
    small = KitBody().predicted(MotionLibrary([clip]).clip(0), 1.0, "smpl24")
    assert height / (small.joints[0, :, 2].max() - small.feet[0, :, 2].min()) == pytest.approx(1.2, rel=1e-4)


def test_sets_own_joints_are_the_ground_truth():
    clip = waving_clip(6)
    own = torch.randn(6, 24, 3)
    assert torch.equal(KitBody().truth(sequence(clip, joints=own)).joints, own)
    limbs = KitBody().predicted(MotionLibrary([clip]).clip(0), 1.0, "limbs13").joints
    whole = KitBody().predicted(MotionLibrary([clip]).clip(0), 1.0, "smpl24").joints
    assert limbs.shape == (6, 13, 3)
    assert torch.equal(limbs[:, 1:3], whole[:, 1:3]) and torch.equal(limbs[:, 7], whole[:, 16])


def test_smpl_points_have_the_clips_pelvis_gender_and_betas(models, monkeypatch):
    monkeypatch.setenv(FOLDER, str(models))
    bodies = find_bodies(False, {"male"}, lsp=False)
    assert isinstance(bodies, SmplBody) and bodies.regressor is None
    clip = waving_clip(5)
    betas = np.zeros(10, np.float32)
    betas[0] = 2.0  # 20 % larger in this model
    truth = bodies.truth(sequence(Clip(clip.poses, clip.trans, 30.0, "waving", betas, "male")))
    joints, _ = forward_kinematics(clip.root_pos, clip.joint_rot, 1.2 * mean_offsets())
    torch.testing.assert_close(truth.joints, joints, atol=1e-4, rtol=0)
    assert truth.surface.shape == (5, VERTICES, 3) and torch.equal(truth.feet, truth.surface[:, FOOT_VERTICES])

    pred = bodies.predicted(MotionLibrary([clip]).clip(0), 1.2, "smpl24")
    joints, _ = forward_kinematics(1.2 * clip.root_pos, clip.joint_rot, 1.2 * mean_offsets())
    torch.testing.assert_close(pred.joints, joints, atol=1e-4, rtol=0)


def test_3dpw_uses_14_joints_if_the_regressor_is_found(models, monkeypatch, tmp_path):
    folder = tmp_path / "smpl"
    folder.mkdir()
    for gender in ("MALE", "NEUTRAL"):
        (folder / f"SMPL_{gender}.npz").symlink_to(models / f"SMPL_{gender}.npz")
    rows = np.zeros((17, VERTICES), np.float32)
    rows[np.arange(17), np.arange(17)] = 1
    np.save(tmp_path / REGRESSOR, rows)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    bodies = find_bodies(False, {"male"}, lsp=True)
    clip = waving_clip(3)
    pred = bodies.predicted(MotionLibrary([clip]).clip(0), 1.0, "smpl24")
    assert pred.hips == (2, 3) and "14 joints" in bodies.label
    torch.testing.assert_close(pred.joints, pred.surface[:, LSP_14])


def test_label_without_models_and_error_for_a_missing_one(models, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    assert "no SMPL model" in find_bodies(False, {"male"}, False).label
    assert "Human3.6M" in find_bodies(True, set(), False).label
    monkeypatch.setenv(FOLDER, str(models))
    with pytest.raises(KitError, match="no SMPL_FEMALE"):
        find_bodies(False, {"male", "female"}, False)
