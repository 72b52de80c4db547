"""Clips on disk: round trips, AMASS layouts, errors for broken files."""

import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body.skeleton import PELVIS_AT_REST
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.utils.errors import KitError


def random_clip(frames: int = 7, fps: float = 30.0) -> Clip:
    rng = np.random.default_rng(0)
    return Clip(rng.normal(0, 0.3, (frames, 72)), rng.normal(0, 1, (frames, 3)), fps, "walk", gender="female")


def write(path, **arrays):
    content = {"poses": np.zeros((4, 72)), "trans": np.zeros((4, 3)), "mocap_framerate": np.array(60.0)} | arrays
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_a_saved_clip_loads_unchanged_and_leaves_no_partial_file(tmp_path):
    clip = random_clip()
    path = clip.save(tmp_path / "deep" / "walk.npz")
    back = Clip.load(path)
    np.testing.assert_array_equal(back.poses, clip.poses)
    np.testing.assert_array_equal(back.trans, clip.trans)
    assert (back.fps, back.name, back.gender) == (30.0, "walk", "female")
    assert [p.name for p in path.parent.iterdir()] == ["walk.npz"]


def test_joint_rotations_survive_the_round_trip():
    rotation, pelvis = roma.random_unitquat((9, 24)), torch.randn(9, 3)
    clip = Clip.from_joints(pelvis, rotation, 30)
    torch.testing.assert_close(clip.root_pos, pelvis, atol=1e-6, rtol=0)
    assert roma.unitquat_geodesic_distance(clip.joint_rot, rotation).max() < 1e-3


def test_the_pelvis_is_the_translation_plus_smpls_rest_pelvis():
    clip = random_clip()
    np.testing.assert_allclose(clip.root_pos.numpy() - clip.trans, np.tile(PELVIS_AT_REST, (7, 1)), atol=1e-6)


@pytest.mark.parametrize("columns", [156, 165])
def test_amass_layouts_give_21_body_joints_and_flat_hands(tmp_path, columns):
    poses = np.random.default_rng(1).normal(0, 0.2, (5, columns))
    path = write(
        tmp_path / "a.npz", poses=poses, trans=np.ones((5, 3)), betas=np.arange(16.0), gender=np.array(b"male")
    )
    clip = Clip.load(path)
    np.testing.assert_allclose(clip.poses[:, :66], poses[:, :66], rtol=1e-6)
    assert not clip.poses[:, 66:].any()
    np.testing.assert_array_equal(clip.betas, np.arange(10.0))
    assert clip.gender == "male"


def test_the_frame_rates_of_amass_are_understood(tmp_path):
    assert Clip.load(write(tmp_path / "a.npz", mocap_framerate=np.array(120.00004))).fps == 120.0
    assert Clip.load(write(tmp_path / "b.npz", mocap_framerate=None, mocap_frame_rate=np.array(59.94))).fps == 59.94


def test_resampling_keeps_the_duration_and_the_common_frames():
    clip = random_clip(frames=9, fps=60.0)
    half = clip.resample(30.0)
    assert (len(half), half.fps, half.gender) == (5, 30.0, "female")
    assert half.duration == pytest.approx(clip.duration)
    torch.testing.assert_close(half.root_pos, clip.root_pos[::2], atol=1e-5, rtol=0)
    assert roma.unitquat_geodesic_distance(half.joint_rot, clip.joint_rot[::2]).max() < 2e-3
    assert clip.resample(60.0) is clip


def test_resampling_preserves_constant_velocities():
    t = torch.arange(25) / 24.0
    path = t[:, None] * torch.tensor([1.5, -0.5, 0.25])
    rot = roma.rotvec_to_unitquat(t[:, None, None] * torch.tensor([0.3, 0.0, 2.0]).expand(24, 3))
    again = Clip.from_joints(path, rot, 24.0).resample(30.0)
    assert len(again) == 31 and again.duration == pytest.approx(1.0)
    s = torch.arange(31) / 30
    torch.testing.assert_close(again.root_pos, s[:, None] * torch.tensor([1.5, -0.5, 0.25]), atol=1e-5, rtol=0)
    expected = roma.rotvec_to_unitquat(s[:, None, None] * torch.tensor([0.3, 0.0, 2.0]).expand(24, 3))
    assert roma.unitquat_geodesic_distance(again.joint_rot, expected).max() < 2e-3


def test_interpolation_runs_from_the_first_to_the_second_at_constant_speed():
    a, b = roma.random_unitquat((2, 20), dtype=torch.float64)
    for blend, end in ((0.0, a), (1.0, b)):
        found = slerp(a, b, torch.full((20,), blend, dtype=torch.float64))
        assert roma.unitquat_geodesic_distance(found, end).max() < 1e-6
    quarter = slerp(a, b, torch.full((20,), 0.25, dtype=torch.float64))
    whole = roma.unitquat_geodesic_distance(a, b)
    torch.testing.assert_close(roma.unitquat_geodesic_distance(a, quarter), whole / 4)


def test_resampling_never_runs_past_the_last_frame():
    clip = random_clip(frames=8, fps=120.0)  # 7/120 s holds one interval of 1/30 s
    assert len(clip.resample(30.0)) == 2


def test_interpolation_takes_the_shorter_arc():
    a = roma.random_unitquat((20,), dtype=torch.float64)
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(20, 3))
    b = -roma.quat_product(a, turn)  # the other sign of the same rotation
    middle = slerp(a, b, torch.full((20,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(roma.unitquat_geodesic_distance(a, middle), torch.full((20,), 0.5, dtype=torch.float64))


def test_cutting_takes_frames_by_slice_rules():
    clip = random_clip()
    np.testing.assert_array_equal(clip.cut(2, 5).poses, clip.poses[2:5])
    np.testing.assert_array_equal(clip.cut(2, 5).trans, clip.trans[2:5])
    assert len(clip.cut(-3)) == 3
    with pytest.raises(KitError, match="no frames"):
        clip.cut(5, 5)


def damaged(path):
    """A complete file with overwritten data in the middle; the zip directory at the end is intact."""
    content = bytearray(random_clip(200).save(path).read_bytes())
    content[1000:1400] = bytes(400)
    path.write_bytes(content)
    return path


def truncated(path):
    content = random_clip().save(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def text(path):
    path.write_text("this is not a clip\n")
    return path


def bare_array(path):
    with open(path, "wb") as f:
        np.save(f, np.zeros((4, 72)))
    return path


def nan_pose(frame):
    poses = np.zeros((4, 72))
    poses[frame] = np.nan
    return poses


BROKEN = {
    "missing": (lambda p: p, "no such clip"),
    "empty": (lambda p: (p.touch(), p)[1], r"not (a readable|an) .npz clip"),
    "truncated": (truncated, r"not (a readable|an) .npz clip"),
    "damaged": (damaged, r"not (a readable|an) .npz clip"),
    "text": (text, r"not (a readable|an) .npz clip"),
    "bare array": (bare_array, r"not (a readable|an) .npz clip"),
    "pickled": (lambda p: write(p, trans=np.array([None] * 4)), r"not (a readable|an) .npz clip"),
    "no poses": (lambda p: write(p, poses=None), "no 'poses'"),
    "no rate": (lambda p: write(p, mocap_framerate=None), "no mocap_framerate"),
    "rate of zero": (lambda p: write(p, mocap_framerate=np.array(0.0)), "frame rate 0.0"),
    "wrong width": (lambda p: write(p, poses=np.zeros((4, 63))), r"poses have shape \(4, 63\)"),
    "no frames": (lambda p: write(p, poses=np.zeros((0, 72)), trans=np.zeros((0, 3))), "no frames"),
    "unequal lengths": (lambda p: write(p, trans=np.zeros((3, 3))), r"trans has shape \(3, 3\); expected \(4, 3\)"),
    "not a number": (lambda p: write(p, poses=nan_pose(2)), r"poses is not finite in 1 frame\(s\), first 2"),
    "infinite": (lambda p: write(p, trans=np.full((4, 3), np.inf)), r"trans is not finite in 4 frame\(s\), first 0"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "fault"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_reported_in_one_line_with_its_path_and_fault(tmp_path, make, fault):
    path = make(tmp_path / "broken.npz")
    with pytest.raises(KitError, match=fault) as caught:
        Clip.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
