"""The picture of a track has the horizon and the floor in the right place; the track check warns of wrong cameras."""

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.reconstruction.track_check import check_track
from physhmr_kit.viewer.track_picture import floor_lines, horizon_line, track_picture
from physhmr_kit.vision.build_track import build_track, synthesize_track
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.synthetic import KeypointNoise
from physhmr_kit.vision.track import VisualTrack

CAMERA = Camera.look_at((3.5, -1.5, 1.6), (0.0, 0.0, 0.9), focal=1400.0, roll=0.1)


def a_track(camera=CAMERA, frames=12) -> VisualTrack:
    """A standing body that glides along x, with ground-truth pose and contact."""
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    at = 0.01 * torch.arange(frames)
    root = torch.stack([at, 0 * at, 0 * at + standing_height()], dim=-1)
    clip = Clip.from_joints(root, rot, 30.0, "glide")
    track = synthesize_track(clip, camera, VisionEncoder(width=32, layers=1, heads=2), KeypointNoise.none())
    return replace(track, joint_rot=rot, contact=torch.ones(frames, 4))


def with_camera(track: VisualTrack, camera: Camera) -> VisualTrack:
    """The track of the same keypoints with a wrong camera, but the same pose."""
    seen = build_track(track.keypoints, camera, VisionEncoder(width=32, layers=1, heads=2))
    return replace(seen, joint_rot=track.joint_rot, contact=track.contact)


def test_a_good_track_has_no_warnings_and_its_figures_are_right():
    found = check_track(a_track())
    assert found.warnings == ()
    assert found.figures["reprojection, median"].startswith("0 px")
    assert found.figures["camera"] == "1.60 m above the floor, looking 10 degrees down, rolled 6 degrees"
    assert found.figures["person"].startswith("3.8") and "1.00 times" in found.figures["person"]


def test_wrong_cameras_and_tracks_give_warnings():
    track = a_track()
    flipped = replace(CAMERA, R=CAMERA.R @ torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    below = CAMERA.in_world(torch.eye(3), (0.0, 0.0, -3.0))
    lifted = CAMERA.in_world(torch.eye(3), (0.0, 0.0, 0.6))
    sideways = Camera.look_at((3.5, -1.5, 1.6), (0.0, 0.0, 0.9), focal=1400.0, roll=1.3)
    turned = track.joint_rot.clone()
    half = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, math.pi]))
    turned[6:, 0] = roma.quat_product(half.expand(6, 4), turned[6:, 0])
    doubtful = track.keypoints.clone()
    doubtful[..., 2] = 0.1
    cases = {
        "far from the keypoints": with_camera(track, flipped),
        "below the floor": with_camera(track, below),
        "soles in contact miss": with_camera(track, lifted),
        "rolled by more": with_camera(track, sideways),
        "turns round within a frame, 1 time": replace(track, joint_rot=turned),
        "fewer than half": replace(track, keypoints=doubtful),
        "faster than anybody": replace(track, ray_point=_jumping(track)),
        "the end of what is allowed": replace(track, scale=1.25),
    }
    for words, case in cases.items():
        assert any(words in warning for warning in check_track(case).warnings), words


def _jumping(track: VisualTrack) -> torch.Tensor:
    """Ray points of a person who jumps elsewhere at frame 6."""
    point = track.ray_point.clone()
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.3]))
    point[6:] = (point[6:] - track.centre[6:, None]) @ turn.mT + track.centre[6:, None]
    return point


def test_the_horizon_is_where_distant_points_at_camera_height_project():
    line = horizon_line(CAMERA)
    forward = CAMERA.camera_to_world[:, 2]
    flat = torch.nn.functional.normalize(forward * torch.tensor([1.0, 1.0, 0.0]), dim=0)
    for side in (-0.3, 0.0, 0.3):
        way = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, side])) @ flat
        u, v = CAMERA.project(CAMERA.centre + 1e4 * way).tolist()
        (u0, v0), (u1, v1) = line
        assert v == pytest.approx(v0 + (v1 - v0) * (u - u0) / (u1 - u0), abs=1.0)
    assert horizon_line(Camera.look_at((0.5, 0.0, 5.0), (0.0, 0.0, 0.0))) is None  # looking at its feet


def test_the_floor_is_a_grid_of_metres_in_front_of_the_camera():
    lines = floor_lines(CAMERA, torch.tensor([0.2, -0.3, 0.9]))
    assert len(lines) == 10
    corner = CAMERA.project(torch.tensor([-2.0, -2.0, 0.0])).numpy()
    assert min(np.abs(line - corner).sum(1).min() for line in lines) < 0.1
    assert floor_lines(CAMERA, torch.tensor([40.0, -20.0, 0.0])) == []  # behind it


def test_the_picture_is_written_atomically(tmp_path):
    track = a_track()
    figure = track_picture(track, check_track(track).body, None, tmp_path / "t.png", frames=3)
    assert len(figure.axes) == 3 and (tmp_path / "t.png").stat().st_size > 5000
    assert [p.name for p in tmp_path.iterdir()] == ["t.png"]
