"""3DPW, EMDB, AIST++ and Human3.6M: files in the published layouts, written from a known scene, are read back."""

import importlib
import json
import pickle
from dataclasses import replace

import benchmark_layouts as layouts
import numpy as np
import pytest
import torch

from data_prep import aistpp, emdb, human36m, threedpw
from data_prep.benchmark_sequence import JOINT_SETS
from data_prep.benchmark_set import MANIFEST, Prepared
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.cli import run
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack


@pytest.fixture(scope="module")
def scene():
    return layouts.scene()


def prepared(module, folder, tmp_path, *more):
    out = tmp_path / "out"
    assert run(lambda: module.main([str(folder), str(out), *map(str, more)])) == 0
    found = Prepared.open(out)
    return found, [found.load(entry) for entry in found.entries]


def joints_of(sequence):
    return forward_kinematics(sequence.clip.root_pos, sequence.clip.joint_rot, mean_offsets() * sequence.scale)[0]


def reprojection_error(sequence, joints):
    """Pixel distance of the shoulders, elbows, wrists, knees and ankles among the keypoints from the projected joints."""
    rows, smpl = (RAY_COCO[:6] + RAY_COCO[8:]), [16, 17, 18, 19, 20, 21, 4, 5, 7, 8]  # a detector's hips are not SMPL's
    return (sequence.camera.project(joints[:, smpl]) - sequence.keypoints.pixels[:, rows]).norm(dim=-1)


def close_to(joints, wanted, most=2e-3):
    """The same motion within `most` m apart from the floor height, which is within 2 cm."""
    lift = (joints - wanted)[..., 2].mean()
    off = joints - wanted - torch.tensor([0.0, 0.0, 1.0]) * lift
    assert off.norm(dim=-1).max() < most and abs(float(lift)) < 0.02


def test_3dpw_sequences_of_both_people(scene, tmp_path, capsys):
    found, people = prepared(threedpw, layouts.write_threedpw(tmp_path / "3dpw", scene), tmp_path)
    assert [p.name for p in people] == ["courtyard_00_0", "courtyard_00_1"] and not found.world
    first, second = people
    assert first.clip.gender == "male" and second.clip.gender == "female"
    assert first.valid.logical_not().nonzero().flatten().tolist() == [5, 6, 7, 8]
    assert second.valid.sum() == 4 and first.camera.image_size == (1080, 1920)
    close_to(first.joints, scene.joints)
    close_to(joints_of(first), scene.joints)
    close_to(second.joints - torch.tensor([1.0, 0.0, 0.0]), scene.joints)
    assert reprojection_error(first, first.joints).max() < 1.0
    assert first.keypoints.confidence.unique().tolist() == pytest.approx([0.8]), "all 17 of COCO are in OpenPose's 18"
    assert "2 sequences" in capsys.readouterr().out


def test_3dpw_pickles_of_python_2_and_3_are_read(scene, tmp_path):
    for protocol in (2, 4):
        folder = layouts.write_threedpw(tmp_path / str(protocol), scene, protocol=protocol)
        assert len(list(threedpw.read(folder, "test"))) == 2


def test_emdb_sequence_is_z_up_on_the_floor_with_its_valid_frames(scene, tmp_path):
    found, (sequence,) = prepared(emdb, layouts.write_emdb(tmp_path / "emdb", scene), tmp_path)
    assert found.world and found.entries[0]["splits"] == ["emdb1"]
    close_to(joints_of(sequence), scene.joints)
    assert sequence.valid.tolist() == [True] * 37 + [False] * 3
    assert reprojection_error(sequence, joints_of(sequence)).max() < 0.5
    assert "not detections" in found.keypoints
    with pytest.raises(KitError, match="no sequence of split 'emdb2'; available: emdb1"):
        found.select_split("emdb2")


def test_emdb_splits_follow_the_flags(scene, tmp_path):
    folder = layouts.write_emdb(tmp_path, scene)
    layouts.write_emdb(tmp_path, scene, "P0_09_outdoor_walk", emdb1=False, emdb2=True)
    assert [f.name for f in emdb.read(folder, "emdb2")] == ["P0_09_outdoor_walk"]
    assert len(list(emdb.read(folder))) == 2


def test_aistpp_sequences_in_metres_at_30_fps_with_their_scale(tmp_path):
    scene = layouts.scene(60.0, moving=False, frames=80, size=(1920, 1080))
    found, views = prepared(aistpp, layouts.write_aistpp(tmp_path / "aist", scene), tmp_path)
    assert [v.name for v in views] == [f"gBR_sBM_c{n:02d}_d04_mBR0_ch01" for n in range(1, 10)]
    first = views[0]
    assert first.scale == pytest.approx(0.95) and len(first.valid) == 40 and not first.camera.batch_shape
    close_to(joints_of(first), 0.95 * scene.joints[::2])
    assert reprojection_error(first, joints_of(first))[:, [0, 1, 2, 3, 6, 7]].max() < 1.0
    assert first.keypoints.confidence.min() == 0, "undetected keypoints have confidence 0, not NaN"
    assert (tmp_path / "out" / "cameras" / "gBR_sBM_c01_d04_mBR0_ch01.json").is_file()
    assert found.entries[0]["splits"] == ["pose_test"]


def test_aistpp_poses_of_shape_24_3_are_read(tmp_path):
    folder = layouts.write_aistpp(tmp_path, layouts.scene(60.0, moving=False, frames=20))
    path = next((folder / "motions").glob("*.pkl"))
    row = next(aistpp.read(folder)).clip
    data = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(data | {"smpl_poses": data["smpl_poses"].reshape(-1, 24, 3)}))
    assert np.array_equal(next(aistpp.read(folder)).clip.poses, row.poses)


def test_aistpp_split_and_ignore_list(tmp_path):
    scene = layouts.scene(60.0, moving=False, frames=20)
    folder = layouts.write_aistpp(tmp_path, scene)
    assert list(aistpp.read(folder, "pose_train")) == []
    (folder / "ignore_list.txt").write_text("gBR_sBM_cAll_d04_mBR0_ch01\n")
    assert list(aistpp.read(folder)) == []


def test_human36m_joints_and_cameras_from_videopose3d_files(tmp_path):
    scene = layouts.scene(50.0, moving=False, frames=60, size=(1000, 1002))
    folder = layouts.write_human36m(tmp_path / "h36m", scene)
    layouts.write_human36m(folder, scene, "gt")
    _, views = prepared(human36m, folder, tmp_path)
    assert [v.name for v in views][:2] == ["S9_Walking_1_54138969", "S9_Walking_1_55011271"] and len(views) == 4
    first = views[0]
    assert first.clip is None and first.joint_set == "limbs13" and first.keypoints.fps == 30
    fifty = layouts.scene(50.0, moving=False, frames=60).joints[:, JOINT_SETS["limbs13"]]
    at = torch.arange(len(first.joints)) * 50 / 30
    low, share = at.long(), (at - at.long()).float()[:, None, None]
    close_to(first.joints, torch.lerp(fifty[low], fifty[(low + 1).clamp(max=59)], share))
    assert (first.camera.project(first.joints[:, 1:3]) - first.keypoints.pixels[:, 11:13]).norm(dim=-1).max() < 0.5
    assert first.notes == ("keypoints of data_2d_h36m_cpn_ft_h36m_dbb.npz",), (
        "detections are preferred to projected ground truth"
    )


def test_human36m_camera_tables_are_parsed_without_running_the_file(tmp_path):
    scene = layouts.scene(50.0, moving=False, frames=20)
    cameras = human36m.read_cameras(layouts.write_human36m(tmp_path, scene) / "h36m_dataset.py")
    assert cameras["S2"] == [] and len(cameras["S9"]) == 4
    torch.testing.assert_close(cameras["S9"][0].centre, scene.camera.centre, atol=1e-4, rtol=0)
    torch.testing.assert_close(cameras["S9"][0].R, scene.camera.R, atol=1e-5, rtol=0)
    (tmp_path / "h36m_dataset.py").write_text("h36m_cameras_intrinsic_params = open('x')\n")
    with pytest.raises(KitError, match="no readable camera tables"):
        human36m.read_cameras(tmp_path / "h36m_dataset.py")


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["threedpw", "emdb", "aistpp", "human36m"])
def test_malicious_pickle_is_refused_and_not_run(name, tmp_path):
    module = importlib.import_module(f"data_prep.{name}")
    write = getattr(layouts, f"write_{name}")
    folder = write(tmp_path / "set", layouts.scene(60.0, moving=name not in ("aistpp", "human36m"), frames=20))
    bomb = Bomb(tmp_path / "it_ran")
    if name == "human36m":
        np.savez(folder / "data_3d_h36m.npz", positions_3d=np.array({"S9": bomb}, dtype=object))
    else:
        path = next(folder.rglob("*.pkl"))
        path.write_bytes(pickle.dumps({"poses": [bomb], "smpl": bomb, "emdb1": True}))
    with pytest.raises(KitError):
        list(module.read(folder, ""))
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("name", ["threedpw", "emdb", "aistpp", "human36m"])
def test_missing_data_names_where_to_get_it(name, tmp_path, capsys):
    module = importlib.import_module(f"data_prep.{name}")
    for folder in (tmp_path / "nowhere", tmp_path):
        assert run(lambda folder=folder: module.main([str(folder), str(tmp_path / "out")])) == 2
        error = capsys.readouterr().err
        assert str(folder) in error and module.SET.home in error and "no " in error
    assert not (tmp_path / "out").exists()


def test_missing_entry_is_named(scene, tmp_path):
    folder = layouts.write_threedpw(tmp_path, scene, cam_intrinsics=None)
    with pytest.raises(KitError, match=r"courtyard_00\.pkl: no 'cam_intrinsics'"):
        list(threedpw.read(folder))
    folder = layouts.write_threedpw(tmp_path, scene, poses2d=None)
    with pytest.raises(KitError, match=r"courtyard_00\.pkl: no 'poses2d'"):
        list(threedpw.read(folder))


def test_detected_keypoints_replace_the_sets_own(scene, tmp_path):
    folder, own = layouts.write_emdb(tmp_path / "emdb", scene), tmp_path / "found"
    rows = torch.cat([scene.pixels + 3.0, torch.full((layouts.FRAMES, 17, 1), 0.6)], dim=-1)
    track = KeypointTrack(rows, 30.0, scene.camera.image_size)
    track.save(own / "P1_14_outdoor_climb.npz")
    found, (sequence,) = prepared(emdb, folder, tmp_path, "--keypoints", own)
    assert found.keypoints == "of found"
    torch.testing.assert_close(sequence.keypoints.keypoints, rows)
    replace(track, keypoints=rows[:20]).save(own / "P1_14_outdoor_climb.npz")
    assert run(lambda: emdb.main([str(folder), str(tmp_path / "b"), "--keypoints", str(own)])) == 2
    (own / "P1_14_outdoor_climb.npz").unlink()
    assert run(lambda: emdb.main([str(folder), str(tmp_path / "b"), "--keypoints", str(own)])) == 2
    assert not (tmp_path / "b" / MANIFEST).exists()


def test_manifest_is_complete(scene, tmp_path):
    prepared(emdb, layouts.write_emdb(tmp_path / "emdb", scene), tmp_path)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["fps"] == 30 and "licence" in manifest["licence"] and manifest["title"] == "EMDB"
    (entry,) = manifest["sequences"]
    assert entry["frames"] == 40 and entry["invalid"] == [[37, 40]] and entry["clip"].startswith("clips/")
    (tmp_path / "out" / MANIFEST).write_text("{}")
    with pytest.raises(KitError, match="not a readable manifest"):
        Prepared.open(tmp_path / "out")
