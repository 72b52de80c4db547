"""Every layout of SMPL arrays is read; errors say what a file without a motion is."""

import io
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import roma
import torch

from data_prep.imported import import_file
from data_prep.motion_file import read_file, to_clip
from data_prep.retargeting.compare import differences
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays


@pytest.fixture(scope="module")
def walk():
    return demo_clip("walk_forward")


def hands(clip, columns):
    return np.concatenate([clip.poses[:, :66], np.ones((len(clip), columns - 66))], axis=1)


LAYOUTS = {
    "AMASS SMPL+H": lambda c: {"poses": hands(c, 156), "trans": c.trans, "mocap_framerate": np.array(30.0), "gender": np.bytes_(b"female"), "betas": np.ones(16)},
    "AMASS SMPL-X stageii": lambda c: {"poses": hands(c, 165), "trans": c.trans, "mocap_frame_rate": np.array(30.0), "gender": "neutral"},
    "root_orient + pose_body": lambda c: {"root_orient": c.poses[:, :3], "pose_body": c.poses[:, 3:66], "trans": c.trans, "mocap_frame_rate": 30.0},
    "global_orient + body_pose + transl": lambda c: {"global_orient": c.poses[:, None, :3], "body_pose": c.poses[:, 3:].reshape(-1, 23, 3), "transl": c.trans, "fps": 30},
    "66 columns": lambda c: {"poses": c.poses[:, :66], "trans": c.trans, "fps": 30},
    "72 columns": lambda c: {"poses": c.poses, "trans": c.trans, "frame_rate": np.array([30.0])},
    "(T, 24, 3)": lambda c: {"poses": c.poses.reshape(-1, 24, 3), "trans": c.trans, "fps": [30]},
    "(T, 22, 3, 3) matrices": lambda c: {"poses": roma.rotvec_to_rotmat(torch.from_numpy(c.poses[:, :66]).reshape(-1, 22, 3)).numpy(), "trans": c.trans, "fps": 30},
    "gender as a list": lambda c: {"poses": c.poses, "trans": c.trans, "fps": 30, "gender": ["male", "male"]},
    "gender as a number, betas a frame each": lambda c: {"poses": c.poses, "trans": c.trans, "fps": 30, "gender": np.array(0), "betas": np.ones((len(c), 10))},
}  # fmt: skip


def only(path):
    ((clip, lines),) = read_file(path)
    return clip, lines


def assert_same(clip, truth):
    assert clip.fps == truth.fps and len(clip) == len(truth)
    assert (clip.root_pos - truth.root_pos).abs().max() < 1e-3
    body = slice(0, 22)
    turned = roma.unitquat_geodesic_distance(clip.joint_rot[:, body], truth.joint_rot[:, body])
    assert torch.rad2deg(turned).max() < 0.1


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_npz_of_each_layout_is_read(name, walk, tmp_path):
    np.savez(tmp_path / "walk.npz", **LAYOUTS[name](walk))
    clip, lines = only(tmp_path / "walk.npz")
    assert_same(clip, walk)
    assert [line.split(",")[0] for line in lines] == (["its body shape (betas) is ignored"] if clip.betas.any() else [])
    if "gender" in name:
        assert clip.gender == ("male" if "list" in name else "neutral")


@pytest.mark.parametrize("save", [joblib.dump, lambda d, p: p.write_bytes(pickle.dumps(d)), lambda d, p: p.write_bytes(pickle.dumps(d, 5))], ids=["joblib", "pickle", "protocol 5"])  # fmt: skip
def test_a_pickle_of_phc_with_several_clips_is_read(save, walk, tmp_path):
    one = {"pose_aa": walk.poses, "trans_orig": walk.trans, "fps": 30, "beta": np.zeros(16), "gender": "neutral"}
    two = {"pose_aa": walk.poses.reshape(-1, 24, 3), "root_trans_offset": walk.root_pos.numpy(), "fps": 30}
    save({"0-walk": one, "1-walk": two}, tmp_path / "motions.pkl")
    found = read_file(tmp_path / "motions.pkl")
    assert [clip.name for clip, _ in found] == ["0-walk", "1-walk"]
    for clip, _ in found:
        assert_same(clip, walk)


ROBOTS = {
    "ASAP": {"walk": {"pose_aa": np.zeros((9, 27, 3)), "root_trans_offset": np.zeros((9, 3)), "dof": np.zeros((9, 23)), "fps": 30}},
    "GMR": {"fps": 30, "root_pos": np.zeros((9, 3)), "root_rot": np.zeros((9, 4)), "dof_pos": np.zeros((9, 29))},
}  # fmt: skip


@pytest.mark.parametrize("tool", ROBOTS)
def test_a_robots_motion_is_refused_as_such(tool, tmp_path):
    joblib.dump(ROBOTS[tool], tmp_path / "robot.pkl")
    with pytest.raises(KitError, match="a robot's motion"):
        read_file(tmp_path / "robot.pkl")


def test_code_in_a_pickle_is_not_run(tmp_path):
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    with pytest.raises(KitError, match="not run") as caught:
        read_file(tmp_path / "bad.pkl")
    assert "\n" not in str(caught.value)


def turned(clip, matrix):
    quat = roma.rotmat_to_unitquat(torch.tensor(matrix, dtype=torch.float64))
    rot = clip.joint_rot.double()
    rot[:, 0] = roma.quat_product(quat.expand(len(clip), 4), rot[:, 0])
    return Clip.from_joints(clip.root_pos.double() @ torch.tensor(matrix, dtype=torch.float64).T, rot, clip.fps)


Y_UP = [[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]


def test_a_y_up_npz_is_turned_with_a_note(walk, tmp_path):
    wrong = turned(walk, Y_UP)
    np.savez(tmp_path / "walk.npz", poses=wrong.poses, trans=wrong.trans, fps=30)
    clip, lines = only(tmp_path / "walk.npz")
    assert lines == ["turned upright: y is up in the file, not z"]
    assert_same(clip, walk)


def test_an_ambiguous_up_axis_is_refused(tmp_path):
    still = demo_clip("stand").cut(0, 40)
    poses, trans = np.repeat(turned(still, Y_UP).poses[:1], 40, 0), np.zeros((40, 3))
    np.savez(tmp_path / "still.npz", poses=poses, trans=trans, fps=30)
    with pytest.raises(KitError, match="the up axis is ambiguous"):
        read_file(tmp_path / "still.npz")


def test_a_body_that_pedals_on_its_back_in_a_z_up_file_is_not_turned(walk, tmp_path):
    """A body that lies and moves its legs is not mistaken for one that stands on a wall."""
    lying = turned(walk, [[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    rot, root = lying.joint_rot, torch.tensor([0.0, 0.0, 0.1]).expand(len(walk), 3).clone()
    rot[:, 0] = rot[:1, 0]
    for hip, start in ((1, 0.0), (2, np.pi)):
        bend = -0.7 + 0.6 * torch.sin(torch.arange(len(walk)) / 4 + start)
        rot[:, hip] = roma.rotvec_to_unitquat(torch.stack([bend, 0 * bend, 0 * bend], dim=1))
    clip = Clip.from_joints(root, rot, 30.0)
    np.savez(tmp_path / "lies.npz", poses=clip.poses, trans=clip.trans, fps=30)
    found, lines = only(tmp_path / "lies.npz")
    assert lines == [] and (found.root_pos[:, 2] - 0.1).abs().max() < 1e-3


@pytest.mark.parametrize("metres, unit", [(1e-3, "millimetres"), (1e-2, "centimetres"), (0.0254, "inches")])
def test_a_path_in_another_unit_is_converted_with_a_note(metres, unit, walk, tmp_path):
    np.savez(tmp_path / "walk.npz", poses=walk.poses, trans=walk.trans / metres, fps=30)
    clip, lines = only(tmp_path / "walk.npz")
    assert lines == [f"trans is in {unit}: multiplied by {metres:g}"]
    assert_same(clip, walk)


def test_rotations_in_degrees_are_converted_with_a_note(walk, tmp_path):
    np.savez(tmp_path / "walk.npz", poses=np.rad2deg(walk.poses), trans=walk.trans, fps=30)
    clip, lines = only(tmp_path / "walk.npz")
    assert lines == ["rotations are in degrees, not radians"]
    assert_same(clip, walk)


def test_the_scaled_path_of_aist_and_the_camera_frame_of_romp_are_converted(walk, tmp_path):
    (tmp_path / "aist.pkl").write_bytes(
        pickle.dumps({"smpl_poses": walk.poses, "smpl_trans": walk.trans * 90, "smpl_scaling": np.array([90.0])})
    )
    clip, lines = only(tmp_path / "aist.pkl")
    assert "60 Hz" in lines[0] and (clip.root_pos - walk.root_pos).abs().max() < 1e-3
    seen = turned(walk, [[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # x right, y down, z ahead
    results = {
        f"{i:06d}.jpg": {"smpl_thetas": seen.poses[i : i + 1], "cam_trans": seen.trans[i : i + 1]}
        for i in range(len(walk))
    }
    np.savez(tmp_path / "video_results.npz", results=results)
    clip, lines = only(tmp_path / "video_results.npz")
    assert any("-y is up" in line for line in lines)
    head = forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)[0][:, 15]
    assert ((head - clip.root_pos)[:, 2] > 0.5).all()


def test_rotations_are_fitted_to_humanml3d_joint_positions(walk, tmp_path):
    pos, _ = forward_kinematics(walk.root_pos, walk.joint_rot, Humanoid.mean().offsets)
    y_up = torch.stack([pos[..., 1], pos[..., 2], pos[..., 0]], dim=-1)[:, :22]
    np.save(tmp_path / "000001.npy", y_up.numpy())
    found = import_file(tmp_path / "000001.npy", cached=False)
    assert found.refusal == "" and any("20 Hz" in note for note in found.notes)
    ((source, _),) = read_file(tmp_path / "000001.npy")
    assert len(source) == len(walk) and source.fps == 20
    off = differences(to_clip(source)[0], source)
    assert max(v for k, v in off.items() if k != "path") < 6 and off["path"] < 0.1


def zipped(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


KINDS = {
    "a Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n",
    "a text file": b"hello",
    "empty": b"",
    "an empty archive": zipped(),
    "a web page": b"<!DOCTYPE html><html>404</html>",
    "a zip archive of readme.txt": zipped(**{"readme.txt": "hello"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_says_what_another_kind_of_file_is(kind, tmp_path):
    path = tmp_path / "clip.npz"
    path.write_bytes(KINDS[kind])
    with pytest.raises(KitError, match=kind) as caught:
        read_file(path)
    assert "pickle" not in str(caught.value) and "\n" not in str(caught.value)
    if "readme" not in kind:
        with pytest.raises(KitError, match=kind):
            read_arrays(path, "clip")
    if "archive" not in kind:
        for suffix in (".bvh", ".pkl", ".npy"):
            path.with_suffix(suffix).write_bytes(KINDS[kind])
            with pytest.raises(KitError) as caught:
                read_file(path.with_suffix(suffix))
            assert "allow_pickle" not in str(caught.value)


FAULTS = {
    "no 'poses' in the file, which holds betas": lambda c: {"betas": np.zeros(10)},
    "no 'trans' in the file": lambda c: {"poses": c.poses, "fps": 30},
    "no mocap_framerate in the file": lambda c: {"poses": c.poses, "trans": c.trans},
    r"fps holds 2 numbers; expected one": lambda c: {"poses": c.poses, "trans": c.trans, "fps": [30, 60]},
    r"poses have shape \(.*, 75\); expected": lambda c: {
        "poses": np.zeros((9, 75)),
        "trans": np.zeros((9, 3)),
        "fps": 30,
    },
    r"trans has shape \(3, 3\); expected": lambda c: {"poses": c.poses, "trans": np.zeros((3, 3)), "fps": 30},
    "'poses' is not an array of numbers": lambda c: {"poses": np.array(["a"]), "trans": c.trans, "fps": 30},
    "poses is not finite": lambda c: {"poses": c.poses * np.nan, "trans": c.trans, "fps": 30},
    "frame rate 0.0 is not a positive number": lambda c: {"poses": c.poses, "trans": c.trans, "fps": 0},
    "the clip has no frames": lambda c: {"poses": c.poses[:0], "trans": c.trans[:0], "fps": 30},
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_faulty_array_is_a_one_line_error(said, walk, tmp_path):
    np.savez(tmp_path / "clip.npz", **FAULTS[said](walk))
    with pytest.raises(KitError, match=said) as caught:
        read_file(tmp_path / "clip.npz")
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)
