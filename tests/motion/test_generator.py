"""Generated motions: seeded, of every kind, physically feasible; and the checks that ensure it."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from floor_forces import corners_of, floor_forces

from physhmr_kit.body import JOINT_NAMES, STANDING, Humanoid, dof_limits, rotation_to_dof
from physhmr_kit.env import TrackingConfig, track_clips
from physhmr_kit.motion.balance import acceleration, support_margin
from physhmr_kit.motion.choreography import Choreography
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.generator import KINDS, generated_clip, generated_clips
from physhmr_kit.motion.generator.faults import find_fault
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.planted import REACH, PlantedBody
from physhmr_kit.motion.soles import body_poses

HUMANOID = Humanoid.mean()
TOUCHES = 0.004  # m

each_kind = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind: str) -> Clip:
    return generated_clip(KINDS.index(kind))


def moved(clip: Clip, shift: np.ndarray) -> Clip:
    return replace(clip, trans=clip.trans + shift.astype(np.float32))


def test_a_clip_depends_only_on_its_number_and_the_seed():
    few, more = generated_clips(3), generated_clips(5)
    fresh = generated_clip.__wrapped__(2, 0)
    for clip in (more[2], fresh):
        np.testing.assert_array_equal(few[2].poses, clip.poses)
        np.testing.assert_array_equal(few[2].trans, clip.trans)
    other = generated_clip(2, 1)
    assert other.poses.shape != few[2].poses.shape or np.abs(other.poses - few[2].poses).max() > 0.1
    assert (few[2].name, other.name) == ("generated_0002_kick", "generated_0002_kick_seed1")


def test_kinds_take_turns():
    assert [clip.name.split("_", 2)[2] for clip in generated_clips(len(KINDS))] == list(KINDS)


@each_kind
def test_a_clip_starts_in_quiet_stance_at_the_origin_and_lasts_5_to_12_seconds(kind):
    clip = of_kind(kind)
    assert clip.fps == 30 and 5 <= clip.duration <= 12
    assert clip.root_pos[0, :2].abs().max() < 1e-6
    torch.testing.assert_close(clip.joint_rot[0, 0], torch.tensor(STANDING), atol=1e-5, rtol=0)
    assert np.abs(corners_of(clip)[[0, -1], :, 2]).max() < 5e-4  # and ends on flat feet


@each_kind
def test_a_clip_keeps_the_limits_and_has_no_fault(kind):
    clip = of_kind(kind)
    dof = rotation_to_dof(clip.joint_rot[:, 1:])
    low, high = dof_limits().unbind(-1)
    assert (dof >= low - 1e-3).all() and (dof <= high + 1e-3).all()
    assert find_fault(clip) == ""


@each_kind
def test_the_floor_can_provide_the_required_force(kind):
    """By inverse dynamics with the segments' own spin, which the generator neglects."""
    clip = of_kind(kind)
    corners, (force, point) = corners_of(clip), floor_forces(clip)
    down = corners[..., 2] < TOUCHES
    touches = down.any(1)
    stands, flies = touches[:-2] & touches[1:-1] & touches[2:], ~(touches[:-2] | touches[1:-1] | touches[2:])
    assert np.abs(force[flies]).max(initial=0) < 0.15 * 70 * 9.81  # not zero, because frames are coarse
    load, tangential = force[stands, 2], np.linalg.norm(force[stands, :2], axis=1)
    assert load.min() > 0 and (tangential < 0.6 * load).all()
    for frame in stands.nonzero()[0][::2]:
        sole = corners[frame + 1, down[frame + 1], :2]
        assert support_margin(point[frame, None], sole)[0] > -0.005, frame


def test_each_kind_matches_its_name():
    def pelvis(kind):
        return of_kind(kind).root_pos.numpy()

    def lifts(kind):
        return corners_of(of_kind(kind)).reshape(-1, 2, 8, 3)[..., 2].min(2).max(0).max()

    for kind in ("lean", "reach", "crouch"):
        assert corners_of(of_kind(kind)).reshape(-1, 2, 8, 3)[..., 2].min(2).max() < TOUCHES  # both feet stay
    assert lifts("one_leg") > 0.08 and lifts("kick") > 0.15
    assert pelvis("crouch")[:, 2].min() < pelvis("lean")[0, 2] - 0.1
    for kind in ("walk", "steps"):
        feet = corners_of(of_kind(kind))[..., :2]
        assert np.linalg.norm(feet[-1] - feet[0], axis=-1).min() > 0.1
    assert torch.rad2deg(heading(of_kind("turn").joint_rot[-1, 0])).abs() > 15
    airborne = corners_of(of_kind("jump"))[..., 2].min(1) > TOUCHES
    assert 2 <= airborne.sum() <= 20


def test_a_jump_falls_freely():
    clip = of_kind("jump")
    pos, rot = body_poses(clip)
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().double().expand_as(pos))
    com = np.average(centres.numpy(), axis=1, weights=HUMANOID.segment_masses())
    airborne = corners_of(clip)[..., 2].min(1) > TOUCHES
    np.testing.assert_allclose(acceleration(com, 30)[airborne], [[0, 0, -9.81]] * airborne.sum(), atol=0.2)


def test_motions_of_a_kind_differ():
    clips = [generated_clip(k) for k in range(0, 3 * len(KINDS), len(KINDS))]
    middles = [clip.poses[len(clip) // 2] for clip in clips]
    gaps = [np.abs(a - b).max() for i, a in enumerate(middles) for b in middles[:i]]
    assert min(gaps) > 0.2


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda c: moved(c, np.array([0, 0, -0.01])), "under the floor"),
        (lambda c: moved(c, np.linspace(0, 1.0, len(c))[:, None] * [0.5, 0, 0]), "slides"),
        (lambda c: moved(c, np.array([0, 0, 0.05])), "out of free fall"),
        (lambda c: turned(c, "neck", 1.0 * (np.arange(len(c)) % 2)), "neck_x turns at"),
        (lambda c: turned(c, "left_shoulder", np.linspace(0, -1.5, len(c)), axis=2), "in one another"),
        (lambda c: turned(c, "spine1", 0.35 * np.sin(0.25 * np.arange(len(c)))), "zero-moment point"),
    ],
)  # fmt: skip
def test_a_fault_is_described(spoil, fault):
    m = Choreography("stand", 3.0)
    m.move(0.5, 1.5, left_shoulder_z=-60)
    clip = m.clip()
    assert find_fault(clip) == ""
    assert fault in find_fault(spoil(clip))


def turned(clip: Clip, joint: str, angle: np.ndarray, axis: int = 0) -> Clip:
    """One joint turned further about x, y or z (0, 1, 2) by (T,) rad."""
    vector = np.zeros((len(clip), 3))
    vector[:, axis] = angle
    rot = clip.joint_rot.clone()
    number = JOINT_NAMES.index(joint)
    rot[:, number] = roma.quat_product(rot[:, number], roma.rotvec_to_unitquat(torch.from_numpy(vector).float()))
    return Clip.from_joints(clip.root_pos, rot, clip.fps, clip.name)


def test_a_motion_that_needs_a_pulling_floor_is_a_fault():
    clip = Choreography("stand", 2.0).clip()
    shaken = moved(clip, np.zeros((len(clip), 3)))
    shaken.trans[30, 2] += 0.0005
    assert find_fault(shaken) == ""
    shaken.trans[29:32, 2] += [-0.0009, 0.0030, -0.0009]  # -8 m/s^2 in between, and never 4 mm above the floor
    assert "times the weight" in find_fault(shaken)


def stepping_out(far: float) -> Choreography:
    m = Choreography("stride", 4.0)
    m.shift(0.2, 1.0, "right")
    m.step("left", 1.0, 1.7, **m.place("left", x=far))
    m.shift(1.7, 2.6, "both")
    return m


def test_the_pelvis_is_lowered_only_for_a_step_out_of_reach():
    low, high = stepping_out(0.4).clip(lower=True), stepping_out(0.0).clip(lower=True)
    assert low.root_pos[-1, 2] < high.root_pos[-1, 2] - 0.02
    assert low.root_pos[0, 2] == pytest.approx(float(high.root_pos[0, 2]), abs=1e-3)
    pos, _ = body_poses(low)
    legs = (pos[:, [1, 2]] - pos[:, [7, 8]]).norm(dim=-1)
    longest = (HUMANOID.offsets[4] + HUMANOID.offsets[7]).norm()  # approximately: the knee is not a point
    assert legs.max() < (REACH + 0.006) * longest


def test_the_balanced_centres_of_mass_are_those_of_the_clip():
    m = stepping_out(0.3)
    m.move(0.5, 1.5, pelvis_pitch=20, left_elbow_y=-80, right_sole_pitch=0)
    times = np.arange(121) / 30
    body = PlantedBody({k: c.sample(times) for k, c in m.channels.items()}, HUMANOID, "stride", 30.0)
    path = np.linspace([0.0, 0.0], [0.05, -0.03], 121)
    pelvis, joints, _ = body.at(path, body.height - 0.05)
    pos, rot = forward_kinematics(pelvis, joints, HUMANOID.offsets.double())
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().double().expand_as(pos))
    np.testing.assert_allclose(body.centres(pelvis.numpy()), centres.numpy(), atol=1e-6)


def test_the_balance_controller_tracks_most_of_them_without_a_policy():
    library = MotionLibrary([clip.cut(0, 120) for clip in generated_clips(len(KINDS))])
    nothing = torch.zeros(library.num_clips, 69)
    rollouts = track_clips(lambda obs: nothing, library, TrackingConfig(control="balanced"))
    assert sum(r.success for r in rollouts) >= 0.8 * len(rollouts)
