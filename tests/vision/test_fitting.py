"""Fitting a body to keypoints: from a wrong pose back to the one that was filmed."""

from dataclasses import replace

import pytest
import roma
import torch

from physhmr_kit.body.hinges import dof_to_rotation
from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_DOFS, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.vision.build_track import synthesize_track
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.fitting import fit_body
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.synthetic import KeypointNoise

CAMERA = Camera.look_at((3.5, -1.5, 1.6), (0.0, 0.0, 0.9), focal=1400.0)


def arms_up(frames=8) -> Clip:
    dof = torch.zeros(frames, NUM_DOFS)
    rot = torch.cat([torch.tensor(STANDING).expand(frames, 1, 4), dof_to_rotation(dof)], dim=1)
    for joint, side in (("left_shoulder", 1.0), ("right_shoulder", -1.0)):
        angle = side * (0.8 + 0.02 * torch.arange(frames))
        rot[:, JOINT_NAMES.index(joint)] = roma.rotvec_to_unitquat(torch.stack([0 * angle, 0 * angle, angle], dim=-1))
    return Clip.from_joints(torch.tensor([0.0, 0.0, standing_height()]).expand(frames, 3), rot, 30.0, "arms up")


@pytest.fixture(scope="module")
def scene():
    clip = arms_up()
    torch.manual_seed(0)
    track = synthesize_track(clip, CAMERA, VisionEncoder(width=32, layers=1, heads=2), KeypointNoise.none())
    wrong = clip.joint_rot.clone()
    wrong[:, 1:] = torch.tensor([0.0, 0.0, 0.0, 1.0])  # arms down
    bent = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.15, 0.0]))
    wrong[:, 0] = roma.quat_product(wrong[:, 0], bent.expand(len(clip), 4))
    return clip, replace(track, joint_rot=wrong, contact=torch.ones(len(clip), 4))


def test_the_fit_meets_the_keypoints(scene):
    clip, track = scene
    found = fit_body(track, steps=300)
    pose = forward_kinematics(found.root_pos, found.joint_rot, mean_offsets())
    start = forward_kinematics(clip.root_pos, track.joint_rot, mean_offsets())
    before, after = (
        (CAMERA.project(coco_from_bodies(*p)) - track.keypoints[..., :2]).norm(dim=-1) for p in (start, pose)
    )
    assert before.mean() > 25 and after.median() < 6 and after.mean() < 12
    ankles = [JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]
    truth, _ = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    assert (pose[0] - truth)[:, ankles].norm(dim=-1).mean() < 0.15  # depth of raised arms is anyone's guess
    assert len(found) == len(clip) and found.fps == 30


def test_keypoints_without_confidence_do_not_pull(scene):
    _, track = scene
    keypoints = track.keypoints.clone()
    keypoints[:, 9] = torch.tensor([0.0, 0.0, 0.0])  # the left wrist, lost and at the corner of the picture
    lost = fit_body(replace(track, keypoints=keypoints), steps=60)
    believed = keypoints.clone()
    believed[:, 9, 2] = 1.0
    pulled = fit_body(replace(track, keypoints=believed), steps=60)
    other = believed.clone()
    other[:, 9, :2] = torch.tensor([1900.0, 1000.0])
    other[:, 9, 2] = 0.0
    again = fit_body(replace(track, keypoints=torch.cat([keypoints[:, :9], other[:, 9:]], dim=1)), steps=60)
    wrist = JOINT_NAMES.index("left_wrist")
    place = [forward_kinematics(c.root_pos, c.joint_rot, mean_offsets())[0][:, wrist] for c in (lost, pulled, again)]
    assert (place[0] - place[2]).norm(dim=-1).max() < 0.02  # wherever it is, it does not matter
    assert (place[0] - place[1]).norm(dim=-1).mean() > 0.005


def test_a_start_from_rest_uses_only_the_root_of_the_track(scene):
    _, track = scene
    other = track.joint_rot.clone()
    other[:, 18] = roma.rotvec_to_unitquat(torch.tensor([0.0, 1.0, 0.0]).expand(len(other), 3))
    a, b = (fit_body(replace(track, joint_rot=r), steps=1, from_rest=True) for r in (track.joint_rot, other))
    torch.testing.assert_close(a.joint_rot, b.joint_rot, atol=0.1, rtol=0)
    c = fit_body(replace(track, joint_rot=other), steps=1)
    assert not torch.allclose(a.joint_rot, c.joint_rot, atol=0.1)
