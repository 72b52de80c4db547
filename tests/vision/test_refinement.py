"""The refinement over time: what each term asks for, and whole motions recovered, bridged and kept on their feet."""

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


def walker(frames: int = FRAMES) -> Clip:
    """A body that glides forwards, bends its knees and waves: smooth, with its hands seen from everywhere."""
    dof = torch.zeros(frames, NUM_DOFS)
    phase = torch.arange(frames) / 12.0
    for name, size, axis in (
        ("left_knee", 0.4, 0),
        ("right_knee", 0.4, 0),
        ("left_elbow", -0.6, 1),
        ("right_elbow", 0.6, 1),
    ):
        dof[:, 3 * (JOINT_NAMES.index(name) - 1)] = size * (1 + (phase + axis).sin())
    rot = torch.cat([torch.tensor(STANDING).expand(frames, 1, 4), dof_to_rotation(dof)], dim=1)
    root = torch.stack([0.015 * torch.arange(frames), 0 * phase, standing_height() + 0.2 + 0 * phase], dim=-1)
    return Clip.from_joints(root, rot, 30.0, "walker")


def positions(clip: Clip) -> torch.Tensor:
    return forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())[0]


@pytest.fixture(scope="module")
def seen():
    """A motion, and its track with the true pose and no contact: the feet are in the air."""
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


# Points and the way back


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


def test_a_pull_on_points_is_the_gradient_that_autograd_finds():
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


def test_a_turn_is_in_the_root_s_own_frame():
    start = roma.rotvec_to_unitquat(torch.tensor([[0.3, -0.2, 0.9]]))
    turn = torch.tensor([[0.1, 0.5, -0.2]])
    expected = roma.quat_product(start, roma.rotvec_to_unitquat(turn))
    torch.testing.assert_close(turned(start.T, turn.T).T, expected)


# Terms


def descend(term, x: torch.Tensor, rate: float) -> torch.Tensor:
    x = x.clone().requires_grad_()
    term(x).backward()
    return (x - rate * x.grad).detach()


def test_a_keypoint_is_pulled_across_its_ray_and_not_along_it():
    centre, direction = torch.zeros(3, 1), torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    on, off = torch.tensor([4.0, 0, 0]).view(3, 1, 1), torch.tensor([4.0, 0.05, 0]).view(3, 1, 1)

    def term(x, outlier=0.1):
        return R.keypoint_term(x, centre, direction, torch.tensor([4.0]), torch.ones(1, 1), outlier)

    assert float(term(on)) == 0 and float(term(2 * on)) == 0
    assert float(term(off)) == pytest.approx(0.05**2 / (1 + 0.25), rel=1e-3)
    assert float(term(2 * off)) == pytest.approx(float(term(off)))  # the same pixel
    moved = descend(term, off, 0.1)
    assert 0 < moved[1] < 0.05 and float(moved[2]) == 0
    assert float(term(torch.tensor([4.0, 3.0, 0]).view(3, 1, 1))) < 0.1**2  # an outlier costs no more than its bound


def test_the_encoder_holds_shape_and_not_place():
    joints = torch.randn(3, 24, 2, generator=torch.Generator().manual_seed(3))
    expected = joints - joints[:, :1]
    assert float(R.encoder_term(joints + 5.0, expected, torch.ones(24, 2))) < 1e-8
    moved = joints.clone()
    moved[0, 5, 1] += 0.1
    assert float(R.encoder_term(moved, expected, torch.full((24, 2), 2.0))) == pytest.approx(0.02, rel=1e-4)
    assert float(R.hinge_term(torch.ones(69, 2), torch.zeros(69, 2), torch.tensor([1.0, 0.0]))) == 69


def test_only_bends_of_a_path_cost_and_not_across_tracks():
    line = torch.arange(6.0).expand(3, 2, 6)
    linked = torch.ones(5, dtype=torch.bool)
    assert float(R.acceleration_term(line, linked)) == 0
    bent = line.clone()
    bent[0, 0, 3:] += 1.0
    assert float(R.acceleration_term(bent, linked)) == 2
    linked[2] = False  # frames 2 and 3 are of two tracks
    assert float(R.acceleration_term(bent, linked)) == 0


def test_standing_soles_stay_and_lie_on_the_floor_and_none_is_below():
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
    """A track of feet that surely stand, of which nothing else is known."""
    _, track = seen
    blind = torch.cat([track.keypoints[..., :2], torch.zeros(FRAMES, 17, 1)], dim=-1)
    return replace(track, keypoints=blind, contact=torch.ones(FRAMES, 4))


def objective(track: VisualTrack, dof: torch.Tensor | None = None, root: torch.Tensor | None = None) -> float:
    """The sum of all terms for the encoder's pose, its hinges (69, N) and pelvis (3, N) replaced."""
    at, evidence = R._start([track])
    at = at._replace(root_pos=at.root_pos if root is None else root, dof=at.dof if dof is None else dof)
    return float(R._objective(at, pose_points(at).points, at.root_pos, evidence, R.Refinement(), 0.1))


def test_the_sum_asks_for_feet_that_stand_and_stay(seen):
    track = standing(seen)
    on_floor = torch.tensor([0.0, 0.0, standing_height()]).unsqueeze(1).expand(3, FRAMES)
    raised = objective(track, root=on_floor + torch.tensor([[0.0], [0.0], [0.1]]))
    lying = replace(track, joint_rot=track.joint_rot[:1].expand(FRAMES, 24, 4))
    assert raised > objective(track, root=on_floor) + 1
    glide = on_floor + 0.02 * torch.arange(FRAMES) * torch.tensor([[1.0], [0.0], [0.0]])
    assert objective(lying, root=glide) > objective(lying, root=on_floor) + 1
    flying = replace(lying, contact=torch.zeros(FRAMES, 4))
    assert objective(flying, root=glide) == pytest.approx(objective(flying, root=on_floor), rel=1e-3)


def test_the_gradient_is_that_of_the_sum(seen):
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


def test_a_step_moves_the_pelvis_too(seen):
    at, evidence = R._start([standing(seen)])
    raised = torch.tensor([0.0, 0.0, standing_height() + 0.1]).unsqueeze(1).expand(3, FRAMES)
    found = R._adam(at._replace(root_pos=raised), raised, evidence, R.Refinement(steps=3))
    assert (found.root_pos[2] < raised[2] - 0.003).all()


def test_what_is_constant_stays_so_when_spread_in_time():
    steady = torch.ones(2, 30)
    torch.testing.assert_close(R.spread_in_time(steady, 4.0), steady)
    torch.testing.assert_close(R.spread_in_time(steady, 0.2), steady)


def test_a_path_is_made_for_the_lowest_corner_of_each_foot(seen):
    _, track = seen
    at, evidence = R._start([track])
    soles = pose_points(at).points[2, SOLES].unflatten(0, (4, 4))
    torch.testing.assert_close(R._path_problem(at, evidence).soles[..., 2], soles.amin(1).T)


# Whole motions


def test_without_rounds_the_pose_is_the_encoder_s_on_its_path(seen):
    clip, track = seen
    found = R.refined_clip(track, R.Refinement(rounds=0))
    assert roma.unitquat_geodesic_distance(found.joint_rot[:, 0], clip.joint_rot[:, 0]).max() < 0.02
    assert (found.root_pos - clip.root_pos).norm(dim=-1).max() < 0.05


def test_a_body_that_faces_the_wrong_way_is_turned(seen):
    clip, track = seen
    wrong = track.joint_rot.clone()
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, 0.3])).expand(FRAMES, 4)
    wrong[:, 0] = roma.quat_product(turn, wrong[:, 0])
    found = R.refined_clip(replace(track, joint_rot=wrong))
    assert roma.unitquat_geodesic_distance(found.joint_rot[:, 0], clip.joint_rot[:, 0]).mean() < 0.25


def test_a_true_pose_under_a_perfect_detector_stays_as_it_is(seen):
    clip, track = seen
    found = R.refined_clip(track)
    assert (len(found), found.fps, found.name) == (len(track), 30.0, track.name)
    assert (positions(found) - positions(clip)).norm(dim=-1).mean() < 0.02


def test_a_wrong_pose_comes_nearer_to_the_truth(seen):
    clip, track = seen
    bent = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.25, 0.0])).expand(FRAMES, 4)
    wrong = track.joint_rot.clone()
    for joint in ("left_shoulder", "right_hip"):
        wrong[:, JOINT_NAMES.index(joint)] = roma.quat_product(wrong[:, JOINT_NAMES.index(joint)], bent)
    track = replace(track, joint_rot=wrong)
    before, after = (
        (positions(R.refined_clip(track, s)) - positions(clip)).norm(dim=-1).mean()
        for s in (R.Refinement(rounds=0), R.Refinement())
    )
    assert after < 0.7 * before


def test_a_frame_that_is_lost_is_bridged(seen):
    clip, track = seen
    gone = slice(15, 22)
    keypoints, rot = track.keypoints.clone(), track.joint_rot.clone()
    keypoints[gone] = torch.tensor([5.0, 5.0, 0.0])
    rot[gone] = torch.nn.functional.normalize(torch.randn(7, 24, 4, generator=torch.Generator().manual_seed(4)), dim=-1)
    confidence, point = track.ray_confidence.clone(), track.ray_point.clone()
    confidence[gone], point[gone] = 0.0, 0.0
    found = R.refined_clip(
        replace(track, keypoints=keypoints, joint_rot=rot, ray_confidence=confidence, ray_point=point)
    )
    off = (positions(found) - positions(clip)).norm(dim=-1).mean(-1)
    assert off[gone].max() < 0.15 and found.root_pos.diff(dim=0).norm(dim=-1).max() < 0.06


def test_a_frame_with_wild_keypoints_does_not_throw_the_body_about(seen):
    clip, track = seen
    keypoints = track.keypoints.clone()
    keypoints[20, ::2, :2] += 300.0
    found = R.refined_clip(replace(track, keypoints=keypoints))
    assert (found.root_pos - clip.root_pos).norm(dim=-1).max() < 0.1


def test_feet_that_stand_are_put_on_the_floor_and_stay(seen):
    clip, track = seen
    still = Clip.from_joints(
        torch.tensor([0.0, 0.0, standing_height()]).expand(FRAMES, 3), clip.joint_rot[:1].expand(FRAMES, 24, 4), 30.0
    )
    rest = torch.cat([still.joint_rot[:, :1], torch.tensor([0.0, 0, 0, 1]).expand(FRAMES, 23, 4)], dim=1)
    still = Clip.from_joints(still.root_pos, rest, 30.0)
    pixels = CAMERA.project(coco_from_bodies(*forward_kinematics(still.root_pos, rest, mean_offsets())))
    noisy = pixels + 6.0 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(5))
    keypoints = torch.cat([noisy, torch.ones(FRAMES, 17, 1)], dim=-1)
    standing = replace(track, keypoints=keypoints, joint_rot=rest, contact=torch.ones(FRAMES, 4))
    found = R.refined_clip(standing)
    corners = sole_corners(*forward_kinematics(found.root_pos, found.joint_rot, mean_offsets()))
    assert corners[..., 2].amin((1, 2)).abs().max() < 0.02
    assert corners.mean((1, 2)).diff(dim=0).norm(dim=-1).mean() < 0.004


def test_tracks_together_give_what_each_gives_alone(seen):
    _, track = seen
    short = track[:9]
    both = R.refined_clips([track, short])
    alone = [R.refined_clip(t) for t in (track, short)]
    assert [len(c) for c in both] == [FRAMES, 9]
    for a, b in zip(both, alone, strict=True):
        assert (positions(a) - positions(b)).norm(dim=-1).max() < 0.04


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_tracks_have_a_motion_too(seen, frames):
    clip, track = seen
    found = R.refined_clip(track[:frames])
    assert len(found) == frames and (found.root_pos - clip.root_pos[:frames]).norm(dim=-1).max() < 0.1


def test_bridging_takes_the_pose_from_frames_that_saw_more():
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, 0.4]))
    rot = turn.repeat(9, 2, 1)
    rot[::2] *= -1  # the same rotation
    rot[4] = roma.rotvec_to_unitquat(torch.tensor([2.0, 0.0, 0.0]))
    seen = torch.ones(9)
    seen[4] = 0.0
    found = R.bridged(rot, seen)
    assert roma.unitquat_geodesic_distance(found, turn.expand(9, 2, 4)).max() < 0.01


def test_either_sign_of_a_quaternion_is_the_same_rotation_to_a_bridge():
    angle = 0.2 * torch.arange(9.0)
    rot = roma.rotvec_to_unitquat(angle[:, None, None] * torch.tensor([0.0, 0.0, 1.0]).expand(9, 2, 3))
    flipped = rot.clone()
    flipped[::2] *= -1
    apart = roma.unitquat_geodesic_distance(R.bridged(flipped, torch.ones(9)), R.bridged(rot, torch.ones(9)))
    assert apart.max() < 0.01


def test_a_joint_of_which_the_encoder_is_sure_stays_nearer_to_its_estimate(seen):
    clip, track = seen
    bent = track.joint_rot.clone()
    left, right = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("right_elbow")
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.7, 0.0]).expand(FRAMES, 3))
    for joint in (left, right):
        bent[:, joint] = roma.quat_product(bent[:, joint], turn)
    stated = torch.full((FRAMES, 24), 0.05)
    stated[:, [JOINT_NAMES.index(n) for n in ("left_wrist", "left_hand")]] = 0.01
    stated[:, [JOINT_NAMES.index(n) for n in ("right_wrist", "right_hand")]] = 0.3
    found = R.refined_clip(replace(track, joint_rot=bent, uncertainty=stated))
    start = forward_kinematics(clip.root_pos, bent, mean_offsets())[0]
    moved = (positions(found) - positions(found)[:, :1] - start + start[:, :1]).norm(dim=-1).mean(0)
    wrists = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")
    assert moved[wrists[0]] < 0.7 * moved[wrists[1]]
