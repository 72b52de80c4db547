"""Generated motions: seeded, of every kind, physically possible; and the checks that see to it see what they should."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import roma
import torch

from physhmr_kit.body import BODY_NAMES, JOINT_NAMES, STANDING, Humanoid, dof_limits, dof_names, rotation_to_dof
from physhmr_kit.env import TrackingConfig, track_clips
from physhmr_kit.motion.balance import acceleration, support_margin
from physhmr_kit.motion.choreography import Choreography
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.generator import KINDS, generated_clip, generated_clips
from physhmr_kit.motion.generator.faults import find_fault
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.planted import REACH, PlantedBody
from physhmr_kit.motion.soles import sole_corners

HUMANOID = Humanoid.mean()
TOUCHES = 0.004  # m

each_kind = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind: str) -> Clip:
    return generated_clip(KINDS.index(kind))


def bodies(clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    return forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), HUMANOID.offsets.double())


def corners_of(clip: Clip) -> np.ndarray:
    """(T, 16, 3) m, left foot first."""
    return sole_corners(*bodies(clip)).flatten(1, 2).numpy()


def moved(clip: Clip, shift: np.ndarray) -> Clip:
    return replace(clip, trans=clip.trans + shift.astype(np.float32))


def test_a_clip_depends_on_its_number_and_the_seed_alone():
    few, more = generated_clips(3), generated_clips(5)
    fresh = generated_clip.__wrapped__(2, 0)
    for clip in (more[2], fresh):
        np.testing.assert_array_equal(few[2].poses, clip.poses)
        np.testing.assert_array_equal(few[2].trans, clip.trans)
    other = generated_clip(2, 1)
    assert other.poses.shape != few[2].poses.shape or np.abs(other.poses - few[2].poses).max() > 0.1


def test_names_tell_number_kind_and_a_seed_that_is_not_zero():
    assert generated_clip(1).name == "generated_0001_lunge"
    assert generated_clip(1, 7).name == "generated_0001_lunge_seed7"
    assert [clip.name.split("_", 2)[2] for clip in generated_clips(len(KINDS))] == list(KINDS)


@each_kind
def test_a_clip_starts_in_quiet_stance_at_the_origin_and_lasts_some_seconds(kind):
    clip = of_kind(kind)
    assert clip.fps == 30 and 5 <= clip.duration <= 12
    assert clip.root_pos[0, :2].abs().max() < 1e-6
    torch.testing.assert_close(clip.joint_rot[0, 0], torch.tensor(STANDING), atol=1e-5, rtol=0)
    assert np.abs(corners_of(clip)[[0, -1], :, 2]).max() < 5e-4  # and ends on flat feet


@each_kind
def test_limits_are_kept_and_nothing_is_found_wrong(kind):
    clip = of_kind(kind)
    dof = rotation_to_dof(clip.joint_rot[:, 1:])
    low, high = dof_limits().unbind(-1)
    assert (dof >= low - 1e-3).all() and (dof <= high + 1e-3).all()
    assert find_fault(clip) == ""


@each_kind
def test_the_floor_can_push_as_the_motion_needs_it(kind):
    """Inverse dynamics of MuJoCo with the segments' own spin, which the generator leaves out."""
    clip = of_kind(kind)
    model = mujoco.MjModel.from_xml_string(HUMANOID.mjcf())
    for flag in ("CONTACT", "ACTUATION", "LIMIT"):
        model.opt.disableflags |= getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag}")
    data = mujoco.MjData(model)
    qpos = np.zeros((len(clip), model.nq))
    qpos[:, :3], qpos[:, 3:7] = clip.root_pos, clip.joint_rot[:, 0][:, [3, 0, 1, 2]]
    hinges = [model.joint(f"{BODY_NAMES[JOINT_NAMES.index(n[:-2])]}_{n[-1]}").qposadr[0] for n in dof_names()]
    qpos[:, hinges] = rotation_to_dof(clip.joint_rot[:, 1:])
    speed = np.zeros((len(clip) - 1, model.nv))
    for frame, row in enumerate(speed):
        mujoco.mj_differentiatePos(model, row, 1 / 30, qpos[frame], qpos[frame + 1])
    corners = corners_of(clip)
    down = corners[..., 2] < TOUCHES
    for frame in range(1, len(clip) - 1):
        data.qpos[:], data.qvel[:] = qpos[frame], (speed[frame - 1] + speed[frame]) / 2
        data.qacc[:] = (speed[frame] - speed[frame - 1]) * 30
        mujoco.mj_inverse(model, data)
        force = data.qfrc_inverse[:3]
        if not down[frame - 1 : frame + 2].any():
            assert np.abs(force).max() < 0.15 * 70 * 9.81  # nothing is there to push, but frames are coarse
        elif down[frame - 1 : frame + 2].any(1).all():
            moment = np.cross(data.qpos[:3], force) + data.body("Pelvis").xmat.reshape(3, 3) @ data.qfrc_inverse[3:6]
            push = np.array([[-moment[1], moment[0]]]) / force[2]
            assert force[2] > 0 and np.linalg.norm(force[:2]) < 0.6 * force[2]
            assert support_margin(push, corners[frame, down[frame], :2])[0] > -0.005, frame


def test_each_kind_does_what_its_name_says():
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
    pos, rot = bodies(clip)
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().double().expand_as(pos))
    com = np.average(centres.numpy(), axis=1, weights=HUMANOID.segment_masses())
    airborne = corners_of(clip)[..., 2].min(1) > TOUCHES
    np.testing.assert_allclose(acceleration(com, 30)[airborne], [[0, 0, -9.81]] * airborne.sum(), atol=0.2)


def test_motions_of_a_kind_differ():
    ends = [of.poses[len(of) // 2] for of in (generated_clip(k) for k in range(0, 5 * len(KINDS), len(KINDS)))]
    gaps = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
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
def test_a_fault_is_found_and_named(spoil, fault):
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


def test_a_floor_that_would_have_to_pull_is_found():
    clip = Choreography("stand", 2.0).clip()
    shaken = moved(clip, np.zeros((len(clip), 3)))
    shaken.trans[30, 2] += 0.0005
    assert find_fault(shaken) == ""
    shaken.trans[29:32, 2] += [-0.0009, 0.0030, -0.0009]  # -8 m/s^2 on the way, and never 4 mm from the floor
    assert "times the weight" in find_fault(shaken)


def stepping_out(far: float) -> Choreography:
    m = Choreography("stride", 4.0)
    m.shift(0.2, 1.0, "right")
    m.step("left", 1.0, 1.7, **m.place("left", x=far))
    m.shift(1.7, 2.6, "both")
    return m


def test_the_pelvis_comes_down_for_a_step_that_is_out_of_reach_and_only_then():
    low, high = stepping_out(0.4).clip(lower=True), stepping_out(0.0).clip(lower=True)
    assert low.root_pos[-1, 2] < high.root_pos[-1, 2] - 0.02
    assert low.root_pos[0, 2] == pytest.approx(float(high.root_pos[0, 2]), abs=1e-3)
    pos, _ = bodies(low)
    legs = (pos[:, [1, 2]] - pos[:, [7, 8]]).norm(dim=-1)
    longest = (HUMANOID.offsets[4] + HUMANOID.offsets[7]).norm()  # nearly: the knee is not a point
    assert legs.max() < (REACH + 0.006) * longest


def test_the_centres_that_are_balanced_are_those_of_the_clip():
    m = stepping_out(0.3)
    m.move(0.5, 1.5, pelvis_pitch=20, left_elbow_y=-80, right_sole_pitch=0)
    times = np.arange(121) / 30
    body = PlantedBody({k: c.sample(times) for k, c in m.channels.items()}, HUMANOID, "stride", 30.0)
    path = np.linspace([0.0, 0.0], [0.05, -0.03], 121)
    pelvis, joints, _ = body.at(path, body.height - 0.05)
    pos, rot = forward_kinematics(pelvis, joints, HUMANOID.offsets.double())
    centres = pos + roma.quat_action(rot, HUMANOID.segment_centres().double().expand_as(pos))
    np.testing.assert_allclose(body.centres(pelvis.numpy()), centres.numpy(), atol=1e-6)


def test_without_any_policy_most_of_them_are_followed_to_the_end():
    library = MotionLibrary(generated_clips(len(KINDS)))
    nothing = torch.zeros(library.num_clips, 69)
    rollouts = track_clips(lambda obs: nothing, library, TrackingConfig(control="balanced"))
    assert sum(r.success for r in rollouts) >= 0.8 * len(rollouts)
