"""A clip with betas is retargeted from its own shape without floating or sliding, tested with a made-up body model."""

import numpy as np
import pytest
import torch

from data_prep.imported import import_file
from data_prep.motion_file import read_file
from data_prep.retargeting.own_shape import leg_scale, own_offsets, own_shape
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import PELVIS_AT_REST, SOLE_DEPTH, rest_joints
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.grounding import stance_of
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import contact_point, sole_corners
from physhmr_kit.utils.errors import KitError

BELOW_KNEE = (7, 8, 10, 11, 24, 25)
LEFT, RIGHT = (1, 4, 7, 10, 24), (2, 5, 8, 11, 25)


def body_model(path, joints=24):
    """24 vertices that are the joints and two under the ankles. Betas: size, shanks, width of the hips, feet."""
    rest = (rest_joints() + torch.tensor(PELVIS_AT_REST)).numpy().astype(np.float64)
    soles = rest[[7, 8]] - np.array([0.0, SOLE_DEPTH, 0.0])
    vertices = np.concatenate([rest, soles])
    directions = np.zeros((26, 3, 10))
    directions[:, :, 0] = 0.1 * vertices
    directions[BELOW_KNEE, 1, 1] = -0.05
    directions[LEFT, 0, 2], directions[RIGHT, 0, 2] = 0.01, -0.01
    directions[(10, 11), 2, 3] = 0.02
    regressor = np.eye(joints, 26)
    np.savez(path, v_template=vertices, shapedirs=directions, J_regressor=regressor)
    return path


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of body models, of which there is only the neutral one."""
    monkeypatch.setenv("PHYSHMR_BODY_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "smpl").mkdir(parents=True)
    body_model(tmp_path / "models" / "smpl" / "SMPL_NEUTRAL.npz")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def walk():
    return demo_clip("walk_forward")


def save_as(path, clip, betas):
    """The clip walked by a person of this shape, as AMASS saves it: the same angles on longer or shorter legs."""
    betas = np.array([*betas, *[0.0] * (10 - len(betas))], np.float32)
    shape, _ = own_shape(betas, "neutral", "SMPL")
    root = clip.root_pos / leg_scale(shape)
    root[:, 2] += shape.sole - SOLE_DEPTH / leg_scale(shape)
    trans = root - shape.pelvis
    np.savez(path, poses=clip.poses, trans=trans.numpy(), betas=betas, mocap_framerate=clip.fps, gender="neutral")
    return shape, root


def soles(corners, stance, fps):
    """Median height (m) and mean horizontal speed (m/s) of the lowest corners of standing feet."""
    _, velocity = contact_point(corners, fps)
    return float(corners[..., 2].amin(-1)[stance].median()), float(velocity[..., :2].norm(dim=-1)[stance].mean())


def measured(clip: Clip, stance):
    pos, rot = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), Humanoid.mean().offsets.double())
    return soles(sole_corners(pos, rot), stance, clip.fps)


def test_a_tall_person_walks_as_the_humanoid_would(walk, models, tmp_path):
    save_as(tmp_path / "tall.npz", walk, [2.0])
    ((clip, lines),) = read_file(tmp_path / "tall.npz")
    assert lines == ["retargeted from its own body shape (SMPL_NEUTRAL.npz) to the humanoid's"]
    assert (clip.root_pos - walk.root_pos).abs().max() < 1e-3 and not clip.betas.any()
    pos, truth = (forward_kinematics(c.root_pos, c.joint_rot, Humanoid.mean().offsets)[0] for c in (clip, walk))
    assert (pos - truth).abs().max() < 2e-3


@pytest.mark.parametrize(
    "betas", [(1.5,), (-1.5,), (0.0, 1.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0, 1.0), (1.0, -0.8, -1.0, 1.0)]
)
def test_feet_float_and_slide_no_more_than_in_the_source(betas, walk, models, tmp_path):
    shape, root = save_as(tmp_path / "walk.npz", walk, betas)
    ((clip, _),) = read_file(tmp_path / "walk.npz")
    stance = stance_of(walk)
    pos, rot = forward_kinematics(root.double(), walk.joint_rot.double(), own_offsets(shape).double())
    scale = leg_scale(shape)
    source = sole_corners(pos * scale + torch.tensor([0.0, 0.0, SOLE_DEPTH - scale * shape.sole]), rot)
    (height, speed), (own_height, own_speed) = measured(clip, stance), soles(source, stance, walk.fps)
    assert abs(height) < abs(own_height) + 2e-3
    assert speed < own_speed + 0.005


def test_ignored_betas_make_a_tall_person_float_and_slide(walk, models, tmp_path, monkeypatch):
    save_as(tmp_path / "tall.npz", walk, [1.5])
    stance = stance_of(walk)
    ((own, _),) = read_file(tmp_path / "tall.npz")
    monkeypatch.delenv("PHYSHMR_BODY_MODELS")
    ((ignored, lines),) = read_file(tmp_path / "tall.npz")
    assert len(lines) == 1 and "(betas) is ignored" in lines[0] and "SMPL_NEUTRAL.npz" in lines[0]
    assert ignored.betas[0] == 1.5
    (height, speed), (floating, sliding) = measured(own, stance), measured(ignored, stance)
    assert abs(height) < 0.005 and floating > 0.10
    assert sliding > 2 * speed


def test_a_model_of_another_gender_is_not_used(walk, models, tmp_path):
    betas = np.array([2.0] + [0.0] * 9, np.float32)
    shape, lines = own_shape(betas, "female", "SMPL-H")
    assert shape is None and "no SMPL_FEMALE.npz or .pkl" in lines[0]
    assert own_shape(np.zeros(10, np.float32), "female", "SMPL-H") == (None, [])
    body_model(models / "SMPL_FEMALE.npz")
    assert leg_scale(own_shape(betas, "female", "SMPL-H")[0]) == pytest.approx(1 / 1.2, abs=1e-4)
    body_model(models / "SMPLX_FEMALE.npz", joints=55)
    assert len(own_shape(betas, "female", "SMPL-X")[0].joints) == 22


def test_a_pelvis_position_in_the_file_is_not_moved_by_the_shape(walk, models, tmp_path):
    _, root = save_as(tmp_path / "tall.npz", walk, [2.0])
    betas = np.array([2.0] + [0.0] * 9, np.float32)
    np.savez(tmp_path / "phc.npz", pose_aa=walk.poses, root_trans_offset=root.numpy(), betas=betas, fps=walk.fps)
    ((clip, _),) = read_file(tmp_path / "phc.npz")
    assert (clip.root_pos - walk.root_pos).abs().max() < 1e-3


def test_a_clip_is_imported_again_when_a_body_model_is_added(walk, models, tmp_path):
    save_as(tmp_path / "tall.npz", walk, [1.0])
    hidden = (models / "smpl" / "SMPL_NEUTRAL.npz").rename(tmp_path / "elsewhere.npz")
    assert "(betas) is ignored" in import_file(tmp_path / "tall.npz").notes[0]
    hidden.rename(models / "SMPL_NEUTRAL.npz")
    found = import_file(tmp_path / "tall.npz")
    assert not found.kept and "its own body shape" in found.notes[0] and not found.clips[0].betas.any()
    assert import_file(tmp_path / "tall.npz").kept


def test_a_damaged_body_model_is_a_one_line_error(walk, models, tmp_path):
    save_as(tmp_path / "tall.npz", walk, [1.0])
    (models / "smpl" / "SMPL_NEUTRAL.npz").write_text("half a fi")
    with pytest.raises(KitError, match="SMPL_NEUTRAL"):
        read_file(tmp_path / "tall.npz")
