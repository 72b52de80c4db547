"""Keypoint tracks: order, files, resampling by time, gaps."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import (
    COCO_NAMES,
    RAY_COCO,
    RAY_JOINTS,
    KeypointTrack,
    coco_from_bodies,
    fill_gaps,
    person_size,
)

VIDEO = Path(os.environ.get("PHYSHMR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "video"


def standing_body():
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(1, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    return forward_kinematics(torch.tensor([[0.0, 0.0, standing_height()]]), rot, mean_offsets())


def a_track(frames=60, fps=60.0) -> KeypointTrack:
    t = torch.arange(frames) / fps
    pixels = torch.stack([100 + 50 * t, 200 + 20 * t], dim=-1)[:, None].expand(frames, 17, 2)
    return KeypointTrack(torch.cat([pixels, torch.full((frames, 17, 1), 0.9)], dim=-1), fps, (640, 480))


def test_ray_joints_match_the_paper():
    assert RAY_JOINTS == (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)
    assert list(RAY_COCO) == list(range(5, 17))
    assert [COCO_NAMES[c] for c in RAY_COCO] == [JOINT_NAMES[j] for j in RAY_JOINTS]


def test_keypoints_of_a_standing_body_are_anatomically_plausible():
    points = dict(zip(COCO_NAMES, coco_from_bodies(*standing_body())[0], strict=True))
    assert points["nose"][0] > points["left_ear"][0] + 0.05  # it faces +x
    assert points["left_eye"][1] > 0 > points["right_eye"][1]  # its left is +y
    names = ("left_eye", "nose", "left_shoulder", "left_hip", "left_knee", "left_ankle")
    heights = [float(points[n][2]) for n in names]
    assert heights == sorted(heights, reverse=True)
    assert 1.4 < heights[0] < 1.7 and 0 < heights[-1] < 0.12
    hips = points["left_hip"] - points["right_hip"]
    assert 0.18 < hips.norm() < 0.25  # wider than SMPL's joint centres


def test_keypoints_move_rigidly_with_the_body():
    pos, rot = standing_body()
    shift = torch.tensor([1.0, -2.0, 0.3])
    torch.testing.assert_close(coco_from_bodies(pos + shift, rot), coco_from_bodies(pos, rot) + shift)


def test_resampling_60_to_30_fps_takes_every_second_frame():
    track = a_track(100).resample(30)
    assert len(track) == 50 and track.fps == 30
    torch.testing.assert_close(track.keypoints, a_track(100).keypoints[::2])


def test_resampling_from_25_fps_interpolates():
    track = a_track(51, 25.0).resample(30)
    t = torch.arange(len(track)) / 30
    torch.testing.assert_close(track.pixels[:, 3, 0], 100 + 50 * t, atol=1e-3, rtol=0)
    assert abs((len(track) - 1) / 30 - 2.0) < 1 / 30


def test_resampling_ignores_a_missing_neighbour():
    keypoints = a_track(3, 20.0).keypoints.clone()
    keypoints[1, 4] = torch.tensor([9999.0, 9999.0, 0.0])
    between = KeypointTrack(keypoints, 20.0, (640, 480)).resample(30)
    assert between.keypoints[1, 4, 0] < 200  # at 1/30 s, two thirds of the way to the frame where it was lost


def test_gaps_are_interpolated_and_long_ones_have_no_confidence():
    keypoints = a_track(60, 30.0).keypoints.clone()
    truth = keypoints.clone()
    for gap in (slice(10, 14), slice(30, 50)):
        keypoints[gap, 9] = 0.0
    filled = fill_gaps(keypoints, longest_gap=6)
    torch.testing.assert_close(filled[..., :2], truth[..., :2], atol=1e-3, rtol=0)
    torch.testing.assert_close(filled[10:14, 9, 2], torch.full((4,), 0.45))
    assert (filled[30:50, 9, 2] == 0).all()
    assert torch.equal(filled[:, :9], truth[:, :9])


def test_gaps_at_the_ends_are_held_without_confidence():
    keypoints = a_track(20, 30.0).keypoints.clone()
    keypoints[:3, 5], keypoints[17:, 5] = 0.0, 0.0
    filled = fill_gaps(keypoints)
    assert torch.equal(filled[:3, 5, :2], keypoints[3, 5, :2].expand(3, 2)) and (filled[:3, 5, 2] == 0).all()
    assert torch.equal(filled[17:, 5, :2], keypoints[16, 5, :2].expand(3, 2)) and (filled[17:, 5, 2] == 0).all()


def test_a_keypoint_never_detected_gets_a_position_near_the_body_without_confidence():
    keypoints = a_track(20, 30.0).keypoints.clone()
    keypoints[:, 0] = 0.0
    filled = fill_gaps(keypoints)
    assert (filled[:, 0, 2] == 0).all() and (filled[:, 0, :2] > 90).all()
    assert torch.isfinite(fill_gaps(torch.zeros(5, 17, 3))).all()


def test_a_track_round_trips_through_its_file(tmp_path):
    track = a_track()
    again = KeypointTrack.load(track.save(tmp_path / "k.npz"))
    assert torch.equal(again.keypoints, track.keypoints) and again.fps == 60 and again.image_size == (640, 480)
    assert [p.name for p in tmp_path.iterdir()] == ["k.npz"]


def written(tmp_path, **changes) -> Path:
    arrays = {"keypoints": a_track().keypoints.numpy(), "fps": 60.0, "image_size": [640, 480]} | changes
    path = tmp_path / "k.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def with_nan() -> np.ndarray:
    keypoints = a_track().keypoints.numpy().copy()
    keypoints[7, 3, 0] = math.nan
    return keypoints


@pytest.mark.parametrize(
    "changes, fault",
    [
        ({"keypoints": None}, "no 'keypoints'"),
        ({"fps": None}, "no 'fps'"),
        ({"image_size": None}, "no 'image_size'"),
        ({"keypoints": np.zeros((10, 33, 3), np.float32)}, "shape"),
        ({"keypoints": np.zeros((0, 17, 3), np.float32)}, "no frames"),
        ({"keypoints": with_nan()}, "not finite in 1 frame.*first 7"),
        ({"keypoints": np.full((4, 17, 3), 50.0, np.float32)}, "confidence outside"),
        ({"fps": np.array(0.0)}, "frame rate"),
        ({"fps": np.array([30.0, 30.0])}, "fps one number"),
        ({"layout": np.array("mediapipe33")}, "layout"),
        ({"keypoints": np.array([{"a": 1}], dtype=object)}, "not a readable"),
    ],
)
def test_invalid_keypoint_files_are_reported(tmp_path, changes, fault):
    path = written(tmp_path, **changes)
    with pytest.raises(KitError, match=fault) as error:
        KeypointTrack.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_and_truncated_files_are_reported(tmp_path):
    with pytest.raises(KitError, match="no such keypoint file"):
        KeypointTrack.load(tmp_path / "none.npz")
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(KitError, match="not a readable"):
        KeypointTrack.load(path)


def test_a_mismatch_with_video_or_camera_is_reported():
    track = a_track(60)
    track.check_video(60, "video.mp4")
    with pytest.raises(KitError, match=r"60 frames of keypoints but 61 frames in video\.mp4"):
        track.check_video(61, "video.mp4")
    with pytest.raises(KitError, match="640x480"):
        track.check_camera(Camera.look_at((4, 0, 1), (0, 0, 1), image_size=(1920, 1080)))
    moving = Camera.look_at(torch.rand(59, 3) + 3.0, (0, 0, 1), image_size=(640, 480))
    with pytest.raises(KitError, match="cameras"):
        track.check_camera(moving)


def test_real_keypoints_load_and_match_their_camera():
    path = VIDEO / "balance_cam01_keypoints.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set PHYSHMR_DATA")
    track = KeypointTrack.load(path)
    assert len(track) == 100 and track.fps == 60
    track.check_camera(Camera.load(VIDEO / "balance_cam01_camera.json"))
    assert len(track.resample(30)) == 50


def test_person_size_uses_confident_keypoints_only():
    keypoints = torch.ones(3, 17, 3)
    keypoints[:, 0, 1] = torch.tensor([101.0, 201.0, 301.0])  # 100, 200 and 300 pixels high
    keypoints[2, 5] = torch.tensor([5000.0, 5000.0, 0.0])  # low confidence
    assert person_size(keypoints) == 200.0
    keypoints[..., 2] = 0.0
    assert person_size(keypoints) == 1.0


def test_cuts_split_a_track_into_shots(tmp_path):
    points = torch.ones(30, 17, 3)
    points[..., 0] = torch.arange(30)[:, None]
    track = KeypointTrack(points, 30.0, (64, 48), "k", cuts=(0.4, 2.0 / 3.0))
    again = KeypointTrack.load(track.save(tmp_path / "k.npz"))
    assert again.cuts == track.cuts
    parts = again.shots()
    assert [(seconds, len(shot), float(shot.pixels[0, 0, 0])) for seconds, shot in parts] == [
        (0.0, 12, 0.0),
        (0.4, 8, 12.0),
        (pytest.approx(2 / 3), 10, 20.0),
    ]
    assert all(shot.cuts == () for _, shot in parts)
    assert [len(shot) for _, shot in KeypointTrack(points, 30.0, (64, 48)).shots()] == [30]
