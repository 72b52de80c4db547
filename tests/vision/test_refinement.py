"""Refinement over time: each term, the gradient, and whole motions."""

from dataclasses import replace

import pytest
import roma
import torch

from physhmr_kit.body.hinges import dof_to_rotation
from physhmr_kit.body.quaternions import product
from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_DOFS, STANDING, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.vision import refinement as R
from physhmr_kit.vision.body_points import (
    JOINTS,
    KEYPOINTS,
    NUM_POINTS,
    SOLES,
    Coordinates,
    pose_points,
    pull_back,
    turned,
)
from physhmr_kit.vision.build_track import synthesize_track
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.settings import KeypointNoise
from physhmr_kit.vision.track import VisualTrack

CAMERA = Camera.look_at((4.0, -1.5, 1.9), (0.3, 0.0, 0.9), focal=1400.0)
FRAMES = 40
QUICK = R.Refinement(rounds=1)


def walker(frames: int = FRAMES) -> Clip:
    """A body that glides forwards, bends its knees and waves."""
    dof = torch.zeros(frames, NUM_DOFS)
    phase = torch.arange(frames) / 12.0
    for name, size, delay in (
        ("left_knee", 0.4, 0),
        ("right_knee", 0.4, 0),
        ("left_elbow", -0.6, 1),
        ("right_elbow", 0.6, 1),
    ):
        dof[:, 3 * (JOINT_NAMES.index(name) - 1)] = size * (1 + (phase + delay).sin())
    rot = torch.cat([torch.tensor(STANDING).expand(frames, 1, 4), dof_to_rotation(dof)], dim=1)
    root = torch.stack([0.015 * torch.arange(frames), 0 * phase, standing_height() + 0.2 + 0 * phase], dim=-1)
    return Clip.from_joints(root, rot, 30.0, "walker")


def positions(clip: Clip) -> torch.Tensor:
    return forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())[0]


@pytest.fixture(scope="module")
def seen():
    """A motion, and its track with the true pose and no contact, as the feet are in the air."""
    torch.manual_seed(0)
    clip = walker()
    track = synthesize_track(clip, CAMERA, VisionEncoder(width=32, layers=1, heads=2), KeypointNoise.none())
    return clip, replace(track, joint_rot=clip.joint_rot, contact=torch.zeros(FRAMES, 4))


def random_coordinates(count: int = 5) -> Coordinates:
    generator = torch.Generator().manual_seed(1)
    turn = torch.nn.functional.normalize(torch.randn(4, count, generator=generator), dim=0)
    return Coordinates(
        torch.randn(3, count, generator=generator), turn, 0.3 * torch.randn(NUM_DOFS, count, generator=generator)
    )


# Points and their gradient


def test_points_are_joints_keypoints_and_soles():
    at = random_coordinates()
    pos, rot = forward_kinematics(
        at.root_pos.T, torch.cat([at.root_rot.T.unsqueeze(1), dof_to_rotation(at.dof.T)], 1), mean_offsets()
    )
    points = pose_points(at).points.permute(2, 1, 0)
    torch.testing.assert_close(points[:, JOINTS], pos, atol=1e-5, rtol=0)
    torch.testing.assert_close(points[:, KEYPOINTS], coco_from_bodies(pos, rot), atol=1e-5, rtol=0)
    corners = sole_corners(pos, rot).unflatten(2, (2, 4)).transpose(1, 2).flatten(1, 3)
    torch.testing.assert_close(points[:, SOLES], corners, atol=1e-5, rtol=0)


def test_pull_back_equals_autograd():
    at = random_coordinates()
    force = torch.randn(3, NUM_POINTS, 5, generator=torch.Generator().manual_seed(2))
    step = Coordinates(torch.zeros(3, 5), torch.zeros(3, 5), torch.zeros(NUM_DOFS, 5))
    step = Coordinates(*(x.requires_grad_() for x in step))
    turn = roma.rotvec_to_unitquat(step.root_rot.T).T
    moved = Coordinates(
        at.root_pos + step.root_pos, product(at.root_rot[:, None], turn[:, None])[:, 0], at.dof + step.dof
    )
    (pose_points(moved).points * force).sum().backward()
    found = pull_back(pose_points(at), force)
    for ours, theirs in zip(found, step, strict=True):
        torch.testing.assert_close(ours, theirs.grad, atol=2e-5, rtol=1e-4)


def test_rotation_updates_are_in_the_local_frame():
    start = roma.rotvec_to_unitquat(torch.tensor([[0.3, -0.2, 0.9]]))
    turn = torch.tensor([[0.1, 0.5, -0.2]])
    expected = roma.quat_product(start, roma.rotvec_to_unitquat(turn))
    torch.testing.assert_close(turned(start.T, turn.T).T, expected)


# Terms


def descend(term, x: torch.Tensor, rate: float) -> torch.Tensor:
    x = x.clone().requires_grad_()
    term(x).backward()
    return (x - rate * x.grad).detach()


def test_keypoint_term_acts_across_the_ray_only():
    centre, direction = torch.zeros(3, 1), torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    on, off = torch.tensor([4.0, 0, 0]).view(3, 1, 1), torch.tensor([4.0, 0.05, 0]).view(3, 1, 1)

    def term(x, outlier=0.1):
        return R.keypoint_term(x, centre, direction, torch.tensor([4.0]), torch.ones(1, 1), outlier)

    assert float(term(on)) == 0 and float(term(2 * on)) == 0
    assert float(term(off)) == pytest.approx(0.05**2 / (1 + 0.25), rel=1e-3)
    assert float(term(2 * off)) == pytest.approx(float(term(off)))  # the same pixel
    moved = descend(term, off, 0.1)
    assert 0 < moved[1] < 0.05 and float(moved[2]) == 0
    assert float(term(torch.tensor([4.0, 3.0, 0]).view(3, 1, 1))) < 0.1**2  # the cost of an outlier is bounded


def test_encoder_term_ignores_translation():
    joints = torch.randn(3, 24, 2, generator=torch.Generator().manual_seed(3))
    expected = joints - joints[:, :1]
    assert float(R.encoder_term(joints + 5.0, expected, torch.ones(24, 2))) < 1e-8
    moved = joints.clone()
    moved[0, 5, 1] += 0.1
    assert float(R.encoder_term(moved, expected, torch.full((24, 2), 2.0))) == pytest.approx(0.02, rel=1e-4)
    assert float(R.hinge_term(torch.ones(69, 2), torch.zeros(69, 2), torch.tensor([1.0, 0.0]))) == 69


def test_acceleration_term_ignores_constant_velocity_and_track_boundaries():
    line = torch.arange(6.0).expand(3, 2, 6)
    linked = torch.ones(5, dtype=torch.bool)
    assert float(R.acceleration_term(line, linked)) == 0
    bent = line.clone()
    bent[0, 0, 3:] += 1.0
    assert float(R.acceleration_term(bent, linked)) == 2
    linked[2] = False  # frames 2 and 3 belong to different tracks
    assert float(R.acceleration_term(bent, linked)) == 0


def test_sole_terms_by_hand():
    soles = torch.zeros(3, 4, 4, 3)
    linked = torch.ones(2, dtype=torch.bool)
    all_stand, none = torch.ones(4, 3), torch.zeros(4, 3)
    soles[0, :, :, 1:] = 0.02  # a slip of 2 cm between the first two frames
    assert float(R.slip_term(soles, all_stand, linked)) == pytest.approx(4 * 0.02**2 / (1 + 0.16))
    assert float(R.slip_term(soles, none, linked)) == 0
    one_after_the_other = torch.eye(3)[torch.tensor([0, 0, 1, 1])]
    assert float(R.slip_term(soles, one_after_the_other, linked)) == 0
    soles[2] = 0.03
    assert float(R.height_term(soles, all_stand)) == pytest.approx(12 * 0.03**2 / (1 + 0.04))
    assert float(R.height_term(soles, none)) == float(R.floor_term(soles)) == 0
    on_edge = soles.clone()
    on_edge[2, :, 1:] = 0.2
    assert float(R.height_term(on_edge, all_stand)) == float(R.height_term(soles, all_stand))
    soles[2, 0, 0, 0] = -0.01
    assert float(R.floor_term(soles)) == pytest.approx(1e-4)
    assert descend(R.floor_term, soles, 0.25)[2, 0, 0, 0] == pytest.approx(-0.005)


def standing(seen) -> VisualTrack:
    """A track with certain contact and no visible keypoints."""
    _, track = seen
    blind = torch.cat([track.keypoints[..., :2], torch.zeros(FRAMES, 17, 1)], dim=-1)
    return replace(track, keypoints=blind, contact=torch.ones(FRAMES, 4))


def objective(track: VisualTrack, dof: torch.Tensor | None = None, root: torch.Tensor | None = None) -> float:
    """The objective at the encoder's pose, with hinges (69, N) and pelvis (3, N) replaced if given."""
    at, evidence = R._start([track])
    at = at._replace(root_pos=at.root_pos if root is None else root, dof=at.dof if dof is None else dof)
    return float(R._objective(at, pose_points(at).points, at.root_pos, evidence, R.Refinement(), 0.1))


def test_objective_penalises_feet_in_contact_that_slip_or_float(seen):
    track = standing(seen)
    on_floor = torch.tensor([0.0, 0.0, standing_height()]).unsqueeze(1).expand(3, FRAMES)
    raised = objective(track, root=on_floor + torch.tensor([[0.0], [0.0], [0.1]]))
    lying = replace(track, joint_rot=track.joint_rot[:1].expand(FRAMES, 24, 4))
    assert raised > objective(track, root=on_floor) + 1
    glide = on_floor + 0.02 * torch.arange(FRAMES) * torch.tensor([[1.0], [0.0], [0.0]])
    assert objective(lying, root=glide) > objective(lying, root=on_floor) + 1
    flying = replace(lying, contact=torch.zeros(FRAMES, 4))
    assert objective(flying, root=glide) == pytest.approx(objective(flying, root=on_floor), rel=1e-3)


def test_gradient_equals_finite_differences(seen):
    _, track = seen
    at, evidence = R._start([track])
    generator = torch.Generator().manual_seed(6)
    dof = at.dof + 0.1 * torch.randn(at.dof.shape, generator=generator)
    found = R._gradient(at._replace(dof=dof), at.root_pos, evidence, R.Refinement(), 0.1)
    for hinge, frame in ((3, 5), (30, 20), (60, 39)):
        step = torch.zeros_like(dof)
        step[hinge, frame] = 1e-2
        slope = (objective(track, dof + step) - objective(track, dof - step)) / 2e-2
        assert float(found.dof[hinge, frame]) == pytest.approx(slope, rel=0.05, abs=2.0)
    free = R._gradient(at._replace(dof=dof), at.root_pos, evidence, R.Refinement(hinge=float("inf")), 0.1)
    held = 2 * (0.1 + evidence.seen) / R.Refinement().hinge ** 2 * (dof - at.dof)
    torch.testing.assert_close(found.dof - free.dof, held, atol=0.05, rtol=1e-3)


def test_adam_steps_move_the_pelvis_too(seen):
    at, evidence = R._start([standing(seen)])
    raised = torch.tensor([0.0, 0.0, standing_height() + 0.1]).unsqueeze(1).expand(3, FRAMES)
    found = R._adam(at._replace(root_pos=raised), raised, evidence, R.Refinement(steps=3))
    assert (found.root_pos[2] < raised[2] - 0.003).all()


def test_smoothing_keeps_constants():
    steady = torch.ones(2, 30)
    torch.testing.assert_close(R.smooth_in_time(steady, 4.0), steady)
    torch.testing.assert_close(R.smooth_in_time(steady, 0.2), steady)


def test_the_path_uses_the_lowest_corner_of_each_foot(seen):
    _, track = seen
    at, evidence = R._start([track])
    soles = pose_points(at).points[2, SOLES].unflatten(0, (4, 4))
    torch.testing.assert_close(R._path_problem(at, evidence).soles[..., 2], soles.amin(1).T)


# Whole motions


def test_zero_rounds_keep_the_pose_and_solve_the_path(seen):
    clip, track = seen
    found = R.refined_clip(track, R.Refinement(rounds=0))
    assert roma.unitquat_geodesic_distance(found.joint_rot[:, 0], clip.joint_rot[:, 0]).max() < 0.02
    assert (found.root_pos - clip.root_pos).norm(dim=-1).max() < 0.05


def test_a_wrong_heading_is_corrected(seen):
    clip, track = seen
    wrong = track.joint_rot.clone()
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, 0.3])).expand(FRAMES, 4)
    wrong[:, 0] = roma.quat_product(turn, wrong[:, 0])
    found = R.refined_clip(replace(track, joint_rot=wrong), R.Refinement(rounds=3))
    assert roma.unitquat_geodesic_distance(found.joint_rot[:, 0], clip.joint_rot[:, 0]).mean() < 0.25


def test_a_correct_pose_stays_unchanged(seen):
    clip, track = seen
    found = R.refined_clip(track, QUICK)
    assert (len(found), found.fps, found.name) == (len(track), 30.0, track.name)
    assert (positions(found) - positions(clip)).norm(dim=-1).mean() < 0.02


def test_a_wrong_pose_improves(seen):
    clip, track = seen
    bent = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.25, 0.0])).expand(FRAMES, 4)
    wrong = track.joint_rot.clone()
    for joint in ("left_shoulder", "right_hip"):
        wrong[:, JOINT_NAMES.index(joint)] = roma.quat_product(wrong[:, JOINT_NAMES.index(joint)], bent)
    track = replace(track, joint_rot=wrong)
    before, after = (
        (positions(R.refined_clip(track, s)) - positions(clip)).norm(dim=-1).mean()
        for s in (R.Refinement(rounds=0), R.Refinement(rounds=3))
    )
    assert after < 0.7 * before


def test_a_gap_in_detection_is_bridged(seen):
    clip, track = seen
    gone = slice(15, 22)
    keypoints, rot = track.keypoints.clone(), track.joint_rot.clone()
    keypoints[gone] = torch.tensor([5.0, 5.0, 0.0])
    rot[gone] = torch.nn.functional.normalize(torch.randn(7, 24, 4, generator=torch.Generator().manual_seed(4)), dim=-1)
    confidence, point = track.ray_confidence.clone(), track.ray_point.clone()
    confidence[gone], point[gone] = 0.0, 0.0
    lost = replace(track, keypoints=keypoints, joint_rot=rot, ray_confidence=confidence, ray_point=point)
    found = R.refined_clip(lost, QUICK)
    off = (positions(found) - positions(clip)).norm(dim=-1).mean(-1)
    assert off[gone].max() < 0.15 and found.root_pos.diff(dim=0).norm(dim=-1).max() < 0.06


def test_outlier_keypoints_in_one_frame_do_not_displace_the_body(seen):
    clip, track = seen
    keypoints = track.keypoints.clone()
    keypoints[20, ::2, :2] += 300.0
    found = R.refined_clip(replace(track, keypoints=keypoints), QUICK)
    assert (found.root_pos - clip.root_pos).norm(dim=-1).max() < 0.1


def test_feet_in_contact_are_on_the_floor_and_do_not_slide(seen):
    _, track = seen
    rest = torch.cat([torch.tensor([STANDING]), torch.tensor([0.0, 0, 0, 1]).expand(23, 4)]).expand(FRAMES, 24, 4)
    root = torch.tensor([0.0, 0.0, standing_height()]).expand(FRAMES, 3)
    pixels = CAMERA.project(coco_from_bodies(*forward_kinematics(root, rest, mean_offsets())))
    noisy = pixels + 6.0 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(5))
    keypoints = torch.cat([noisy, torch.ones(FRAMES, 17, 1)], dim=-1)
    track = replace(track, keypoints=keypoints, joint_rot=rest, contact=torch.ones(FRAMES, 4))
    found = R.refined_clip(track, QUICK)
    corners = sole_corners(*forward_kinematics(found.root_pos, found.joint_rot, mean_offsets()))
    assert corners[..., 2].amin((1, 2)).abs().max() < 0.02
    assert corners.mean((1, 2)).diff(dim=0).norm(dim=-1).mean() < 0.004


def test_refining_tracks_together_equals_refining_each_alone(seen):
    _, track = seen
    short = track[:9]
    both = R.refined_clips([track, short], QUICK)
    alone = [R.refined_clip(t, QUICK) for t in (track, short)]
    assert [len(c) for c in both] == [FRAMES, 9]
    for a, b in zip(both, alone, strict=True):
        assert (positions(a) - positions(b)).norm(dim=-1).max() < 0.04


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_tracks_are_refined(seen, frames):
    clip, track = seen
    found = R.refined_clip(track[:frames], QUICK)
    assert len(found) == frames and (found.root_pos - clip.root_pos[:frames]).norm(dim=-1).max() < 0.1


def test_bridging_weights_frames_by_visibility():
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, 0.4]))
    rot = turn.repeat(9, 2, 1)
    rot[::2] *= -1  # the same rotation
    rot[4] = roma.rotvec_to_unitquat(torch.tensor([2.0, 0.0, 0.0]))
    seen = torch.ones(9)
    seen[4] = 0.0
    found = R.bridged(rot, seen)
    assert roma.unitquat_geodesic_distance(found, turn.expand(9, 2, 4)).max() < 0.01


def test_bridging_is_invariant_to_quaternion_signs():
    angle = 0.2 * torch.arange(9.0)
    rot = roma.rotvec_to_unitquat(angle[:, None, None] * torch.tensor([0.0, 0.0, 1.0]).expand(9, 2, 3))
    flipped = rot.clone()
    flipped[::2] *= -1
    apart = roma.unitquat_geodesic_distance(R.bridged(flipped, torch.ones(9)), R.bridged(rot, torch.ones(9)))
    assert apart.max() < 0.01


def test_joints_with_low_uncertainty_stay_closer_to_the_encoder(seen):
    clip, track = seen
    bent = track.joint_rot.clone()
    left, right = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.7, 0.0]).expand(FRAMES, 3))
    for joint in (left, right):
        bent[:, joint] = roma.quat_product(bent[:, joint], turn)
    uncertainty = torch.full((FRAMES, 24), 0.05)
    uncertainty[:, [JOINT_NAMES.index(n) for n in ("left_wrist", "left_hand")]] = 0.01
    uncertainty[:, [JOINT_NAMES.index(n) for n in ("right_wrist", "right_hand")]] = 0.3
    found = R.refined_clip(replace(track, joint_rot=bent, uncertainty=uncertainty), QUICK)
    start = forward_kinematics(clip.root_pos, bent, mean_offsets())[0]
    moved = (positions(found) - positions(found)[:, :1] - start + start[:, :1]).norm(dim=-1).mean(0)
    wrists = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")
    assert moved[wrists[0]] < 0.7 * moved[wrists[1]]
