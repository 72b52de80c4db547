"""Keypoints, images, overlay and rays of a camera are in the right place in a recording."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from physhmr_kit.viewer import record_rollout
from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.camera_view import image_scale


@pytest.fixture(scope="module")
def file(tmp_path_factory, make_rollout, make_track, recorded):
    images = ((frame / 10, np.full((540, 960, 3), 10 * frame, np.uint8)) for frame in range(40))
    path = tmp_path_factory.mktemp("camera") / "r.rrd"
    return recorded(record_rollout(path, make_rollout(), make_track(), images))


def test_keypoints_are_scaled_with_the_image_and_undetected_ones_omitted(file, track):
    drawn = file.array("world/camera/keypoints", "positions")
    assert image_scale(track.camera) == 720 / 1080
    assert np.allclose(drawn, track.keypoints[:, 2:, :2] * 2 / 3, atol=1e-3)
    assert file.array("world/camera/keypoints", "keypoint_ids")[0].tolist() == list(range(2, 17))


def test_video_frames_are_small_jpegs_up_to_the_end_of_the_body(file):
    blobs = file.column("world/camera/image", "blob")
    assert len(blobs) == 15  # the body has 45 frames at 30 fps, the images come at 10 fps and continue for longer
    last = Image.open(io.BytesIO(bytes(blobs[14][0])))
    assert last.format == "JPEG" and last.size == (1280, 720)
    assert np.allclose(np.asarray(last), 140, atol=2)


def test_the_overlay_is_the_simulated_body_projected_with_distortion(file, rollout, track):
    pixels = track.camera.project(rollout.simulated.body_pos.flatten(0, 1)).unflatten(0, (45, 24)).numpy() * 2 / 3
    assert np.allclose(file.array("world/camera/simulated", "strips"), pixels[:, BONES], atol=1e-2)


def test_rays_start_at_the_camera_and_pass_the_joints(file, rollout, track):
    strips = file.array("world/rays", "strips")
    start, tip = strips[:, :, 0], strips[:, :, 1]
    assert strips.shape == (45, 12, 2, 3) and np.allclose(start, track.camera.centre, atol=1e-5)
    direction = (tip - start) / np.linalg.norm(tip - start, axis=-1, keepdims=True)
    knees = rollout.reference.body_pos[:, [4, 5]].numpy() - start[:, :2]
    drawn = direction[:, 8:10]  # the ninth and tenth ray are the knees'
    beside = knees - (knees * drawn).sum(-1, keepdims=True) * drawn
    assert np.linalg.norm(beside, axis=-1).max() < 0.03  # a detector's knee is not exactly SMPL's


def test_the_distance_from_the_rays_is_a_curve_beside_the_body_error(file):
    errors = file.array("errors/rays", "scalars")
    assert errors.shape == (45, 1) and 5 < errors.mean() < 60  # the body is 30 mm beside the reference


def test_the_frustum_has_the_scaled_camera(file, track):
    matrix = np.array(file.static("world/camera", "image_from_camera")).reshape(3, 3).T
    assert np.allclose(matrix[:2], track.camera.K[:2] * 2 / 3, atol=1e-3) and np.allclose(matrix[2], [0, 0, 1])


def test_a_moving_camera_moves_in_the_recording(tmp_path, rollout, track, recorded):
    still = track.camera
    track.camera = dataclasses.replace(still, R=still.R.expand(45, 3, 3), t=still.t.expand(45, 3))
    file = recorded(record_rollout(tmp_path / "m.rrd", rollout, track))
    assert np.allclose(file.array("world/camera", "translation")[:, 0], still.centre, atol=1e-5)


def test_a_track_shorter_than_the_rollout_leaves_gaps(tmp_path, rollout, track, recorded):
    track.keypoints = track.keypoints[:30]
    file = recorded(record_rollout(tmp_path / "s.rrd", rollout, track))
    assert len(file.column("world/rays", "strips")) == 30
    errors = file.column("errors/rays", "scalars")
    assert len(errors) == 45 and errors[29] and not errors[30]
