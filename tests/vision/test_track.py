"""VisualTrack and placement: from a body to rays, and from rays back to its position."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body.skeleton import STANDING, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.build_track import build_track, synthesize_track, track_from_keypoints, with_scale
from physhmr_kit.vision.camera import Camera, sample_cameras
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies
from physhmr_kit.vision.placement import bodies_on_rays, encoder_clip, estimate_scale, place
from physhmr_kit.vision.rays import perpendicular, place_on_rays
from physhmr_kit.vision.synthetic import KeypointNoise
from physhmr_kit.vision.track import VisualTrack

VIDEO = Path(os.environ.get("PHYSHMR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "video"
CAMERA = Camera.look_at((3.5, -1.5, 2.0), (0.2, 0.0, 0.9), focal=1400.0)


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(width=32, layers=1, heads=2).eval()


def a_clip(frames=45, fps=30.0) -> Clip:
    t = torch.arange(frames) / fps
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(frames, 24, 1)
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.stack([0.4 * t, 0.1 * t, 0 * t + standing_height()], dim=-1)
    return Clip.from_joints(root, rot, fps, "glide")


def bodies(clip):
    return forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())


def known_pose(track: VisualTrack, clip: Clip) -> VisualTrack:
    """The track with the true pose as the encoder's estimate, feet on the floor."""
    return replace(track, joint_rot=clip.joint_rot, contact=torch.ones(len(track), 4))


def person_of_size(size: float, encoder) -> VisualTrack:
    """A track with known pose of a person and path `size` times as large as the mean shape's."""
    points = size * coco_from_bodies(*bodies(a_clip()))
    keypoints = torch.cat([CAMERA.project(points), torch.ones(45, 17, 1)], dim=-1)
    return known_pose(build_track(keypoints, CAMERA, encoder), a_clip())


def test_rays_of_a_noise_free_synthetic_track_pass_through_the_keypoints(encoder):
    clip = a_clip()
    track = synthesize_track(clip, CAMERA, encoder, KeypointNoise.none())
    points = coco_from_bodies(*bodies(clip))[:, RAY_COCO]
    assert perpendicular(points, track.centre, track.ray_point).norm(dim=-1).max() < 1e-4
    assert (track.ray_confidence == 1).all() and len(track) == 45 and track.fps == 30 and track.name == "glide"
    torch.testing.assert_close(track.centre, CAMERA.centre.expand(45, 3))
    assert track.feature.shape == (45, 512) and track.root_rot.shape == (45, 4)


def test_clips_are_resampled_to_30_fps(encoder):
    assert len(synthesize_track(a_clip(181, 120.0), CAMERA, encoder)) == 46


def test_synthetic_tracks_are_reproducible_from_the_seed(encoder):
    tracks = [
        synthesize_track(a_clip(), CAMERA, encoder, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(tracks[0].keypoints, tracks[1].keypoints) and torch.equal(tracks[0].feature, tracks[1].feature)
    assert not torch.equal(tracks[0].keypoints, tracks[2].keypoints)


def test_a_track_round_trips_through_its_file(tmp_path, encoder):
    track = synthesize_track(a_clip(), CAMERA, encoder)
    again = VisualTrack.load(track.save(tmp_path / "t.npz"))
    for key in ("keypoints", "ray_point", "ray_confidence", "centre", "feature", "joint_rot", "contact", "uncertainty"):
        assert torch.equal(getattr(again, key), getattr(track, key)), key
    torch.testing.assert_close(again.camera.R, track.camera.R)
    assert (again.name, again.fps, again.scale, again.image_size) == ("glide", 30.0, 1.0, (1920, 1080))


def test_invalid_track_files_are_reported(tmp_path, encoder):
    path = synthesize_track(a_clip(), CAMERA, encoder).save(tmp_path / "t.npz")
    with np.load(path) as data:
        arrays = dict(data)
    np.savez(tmp_path / "short.npz", **(arrays | {"feature": arrays["feature"][:-1]}))
    np.savez(tmp_path / "nan.npz", **(arrays | {"ray_point": arrays["ray_point"] * np.nan}))
    np.savez(tmp_path / "less.npz", **{k: v for k, v in arrays.items() if k != "centre"})
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:100])
    for name, fault in (
        ("short", "feature has shape"),
        ("nan", "ray_point.*not finite"),
        ("less", "no 'centre'"),
        ("cut", "not a readable"),
        ("none", "no such"),
    ):
        with pytest.raises(KitError, match=fault) as error:
            VisualTrack.load(tmp_path / f"{name}.npz")
        assert f"{name}.npz" in str(error.value)


def test_missing_keypoints_give_rays_without_confidence(encoder):
    track = synthesize_track(a_clip(), CAMERA, encoder, KeypointNoise.none())
    keypoints = track.keypoints.clone()
    keypoints[3, 7, 2] = 0.0
    assert build_track(keypoints, CAMERA, encoder).ray_confidence[3, RAY_COCO.index(7)] == 0


def test_detected_keypoints_are_resampled_to_30_fps(encoder):
    clip = a_clip(90, 60.0)
    pixels = CAMERA.project(coco_from_bodies(*bodies(clip)))
    detected = KeypointTrack(
        torch.cat([pixels, torch.ones(90, 17, 1)], dim=-1), 60.0, CAMERA.image_size, "some/where.npz"
    )
    track = track_from_keypoints(detected, CAMERA, encoder)
    assert len(track) == 45 and track.name == "where"
    torch.testing.assert_close(track.keypoints[:, :, :2], pixels[::2])
    with pytest.raises(KitError, match="1920x1080"):
        track_from_keypoints(replace(detected, image_size=(640, 480)), CAMERA, encoder)


def test_placement_recovers_the_position_of_a_known_pose(encoder):
    clip = a_clip()
    track = known_pose(synthesize_track(clip, CAMERA, encoder, KeypointNoise.none()), clip)
    torch.testing.assert_close(place(track), clip.root_pos, atol=5e-3, rtol=0)
    torch.testing.assert_close(encoder_clip(track).root_pos, clip.root_pos, atol=5e-3, rtol=0)


@pytest.mark.parametrize("size", [0.9, 1.0, 1.12])
def test_scale_is_estimated_from_rays_and_floor(encoder, size):
    clip = a_clip()
    track = person_of_size(size, encoder)
    assert abs(estimate_scale(track) - size) < 0.03
    # the mean-shape body fits the divided world
    torch.testing.assert_close(place(with_scale(track, size)), clip.root_pos, atol=0.01, rtol=0)


def test_the_encoder_runs_once_per_track(encoder, monkeypatch):
    keypoints = synthesize_track(a_clip(), CAMERA, encoder, KeypointNoise.none()).keypoints
    detected, encode, calls = KeypointTrack(keypoints, 30.0, CAMERA.image_size, "walk.npz"), encoder.encode, []
    monkeypatch.setattr(encoder, "encode", lambda *args: calls.append(1) or encode(*args))
    tracks = [track_from_keypoints(detected, CAMERA, encoder, scale) for scale in (1.0, 1.2, None)]
    assert len(calls) == 3
    assert torch.equal(tracks[0].feature, tracks[1].feature) and tracks[1].scale == 1.2
    again = build_track(
        tracks[1].keypoints, tracks[1].camera, encoder
    )  # the encoder does not depend on the camera position
    torch.testing.assert_close(again.feature, tracks[1].feature, atol=1e-4, rtol=0)
    assert torch.equal(again.ray_point, tracks[1].ray_point)


def test_slicing_a_track(encoder):
    track = synthesize_track(a_clip(), CAMERA, encoder)
    part = track[10:12]
    assert len(part) == 2 and torch.equal(part.feature, track.feature[10:12]) and part.camera.batch_shape == ()
    moving = replace(CAMERA, R=CAMERA.R.expand(45, 3, 3), t=CAMERA.t.expand(45, 3))
    assert synthesize_track(a_clip(), moving, encoder)[10:12].camera.batch_shape == (2,)


@pytest.mark.parametrize("size, expected", [(0.6, 0.8), (1.6, 1.25)])
def test_estimated_scale_is_clamped(encoder, size, expected):
    assert estimate_scale(person_of_size(size, encoder)) == pytest.approx(expected)


def test_scale_of_an_unseen_person_is_1(encoder):
    track = known_pose(synthesize_track(a_clip(), CAMERA, encoder), a_clip())
    blind = replace(track, ray_confidence=torch.zeros(45, 12), contact=torch.zeros(45, 4))
    assert estimate_scale(blind) == pytest.approx(1.0)


@pytest.mark.parametrize("contact, grip", [(1.0, 4.0), (0.75, 2.0), (0.5, 0.0), (0.1, 0.0)])
def test_floor_weight_follows_the_contact_probability(encoder, contact, grip):
    track = person_of_size(1.1, encoder)  # rays and floor disagree about the distance
    joints, rot = forward_kinematics(torch.zeros(45, 3), track.joint_rot, mean_offsets())
    floor = (sole_height(joints, rot), torch.full((45, 4), grip))
    points = coco_from_bodies(joints, rot)[:, RAY_COCO]
    expected = place_on_rays(points, track.centre, track.ray_point, track.ray_confidence, floor)
    placed = place(replace(track, contact=torch.full((45, 4), contact)))
    torch.testing.assert_close(placed, expected)
    if grip:
        assert (placed - place(replace(track, contact=torch.zeros(45, 4)))).norm(dim=-1).min() > 0.05


def test_bodies_on_rays_ignore_the_floor(encoder):
    track = person_of_size(1.1, encoder)
    pos, rot = bodies_on_rays(track)
    torch.testing.assert_close(pos[:, 0], place(replace(track, contact=torch.zeros(45, 4))))
    expected = forward_kinematics(pos[:, 0], track.joint_rot, mean_offsets())
    torch.testing.assert_close((pos, rot), expected)


def test_encoder_clip_keeps_pose_rate_and_name(encoder):
    track = replace(synthesize_track(a_clip(), CAMERA, encoder), fps=25.0)
    clip = encoder_clip(track)
    assert (clip.fps, clip.name) == (25.0, "glide")
    assert roma.unitquat_geodesic_distance(clip.joint_rot, track.joint_rot).max() < 2e-3


def test_a_real_video_gives_a_finite_track(encoder):
    if not (VIDEO / "balance_cam01_keypoints.npz").is_file():
        pytest.skip(f"{VIDEO} is absent; set PHYSHMR_DATA")
    keypoints = KeypointTrack.load(VIDEO / "balance_cam01_keypoints.npz")
    track = track_from_keypoints(keypoints, Camera.load(VIDEO / "balance_cam01_camera.json"), encoder)
    assert len(track) == 50 and (track.ray_confidence > 0.5).float().mean() > 0.9
    assert torch.isfinite(place(track)).all()


@pytest.mark.parametrize("name", ["walk_forward", "squat"])
def test_bundled_encoder_estimates_orientation_and_position(name):
    from physhmr_kit.motion.demo import demo_clips
    from physhmr_kit.vision.pretrained import BUNDLED, load_encoder

    assert BUNDLED.stat().st_size < 8e6
    clip = next(c for c in demo_clips() if c.name == name)
    pos, _ = bodies(clip)
    camera = sample_cameras(pos, torch.Generator().manual_seed(4))
    track = synthesize_track(clip, camera, load_encoder())
    off = roma.unitquat_geodesic_distance(track.root_rot, clip.joint_rot[:, 0])
    assert torch.rad2deg(off).mean() < 12
    assert (place(track) - clip.root_pos).norm(dim=-1).mean() < 0.25
