"""Inverse dynamics: the joint torques that a reference motion requires."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import roma
import torch
from motions import rest_clip
from scipy.optimize import nnls

from physhmr_kit.body import Humanoid, dof_names
from physhmr_kit.body.addresses import dof_addresses
from physhmr_kit.body.humanoid import ARMATURE, foot_corners
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, rest_joints
from physhmr_kit.motion import inverse_dynamics
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.inverse_dynamics import nonnegative_ridge, reference_torques
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState


@pytest.fixture(scope="module")
def squat() -> MotionLibrary:
    return MotionLibrary([demo_clip("squat")])


@pytest.fixture(scope="module")
def squat_torques(squat) -> torch.Tensor:
    return reference_torques(squat.clip(0), Humanoid.mean())


def test_a_squat_loads_the_knees_more_than_standing(squat, squat_torques):
    states, torque = squat.clip(0), squat_torques
    knee = 3 * (JOINT_NAMES.index("left_knee") - 1)
    deepest = int(states.root_pos[:, 2].argmin())
    assert torque[deepest, knee].abs() > 30  # N m: half the trunk's weight behind a lever of some 10 cm, at least
    assert torque[0, knee].abs() < 0.5 * torque[deepest, knee].abs()


def test_a_symmetric_motion_needs_symmetric_torques(squat_torques):
    left, right = (3 * (JOINT_NAMES.index(f"{side}_hip") - 1) for side in ("left", "right"))
    assert torch.allclose(squat_torques[:, left], squat_torques[:, right], atol=3.0)


def test_torques_stay_within_the_actuator_limits(squat_torques):
    assert (squat_torques.abs() <= Humanoid.mean().torque_limit + 1e-4).all()


def t_pose(height: torch.Tensor) -> BodyState:
    """The rest pose, arms held out to both sides, its pelvis at these heights (T,)."""
    clip = rest_clip(len(height))
    root = clip.root_pos
    root[:, 2] = height
    return MotionLibrary([Clip.from_joints(root, clip.joint_rot, 30.0)]).clip(0)


def test_a_shoulder_carries_the_weight_of_the_arm():
    """Weights of upper arm, forearm and hand times their levers about the forward axis; half of it when accelerating at -g/2."""
    humanoid = Humanoid.mean()
    joints = rest_joints(humanoid.offsets) + humanoid.segment_centres()
    arm = [JOINT_NAMES.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    lever = joints[arm, 0] - rest_joints(humanoid.offsets)[arm[0], 0]
    expected = float((humanoid.segment_masses()[arm] * 9.81 * lever).sum())
    t = torch.arange(20) / 30
    row = dof_names().index("left_shoulder_z")
    for rise, share in ((0.0, 1.0), (-9.81, 0.0), (9.81, 2.0), (-9.81 / 2, 0.5)):
        torque = reference_torques(t_pose(5.0 + rise * t**2 / 2), humanoid)
        assert torque[10, row] == pytest.approx(share * expected, abs=0.03 * expected), rise


def test_free_fall_requires_no_torque():
    t = torch.arange(20) / 30
    assert reference_torques(t_pose(5.0 - 9.81 * t**2 / 2), Humanoid.mean())[5:-5].abs().max() < 0.5


def test_the_ankles_of_a_standing_body_carry_the_weight_above_them():
    """However the load is shared between the corners, both ankles together balance the weight about the line through them."""
    humanoid = Humanoid.mean()
    joints = rest_joints(humanoid.offsets)
    feet = [JOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right") for name in ("ankle", "foot")]
    above = [joint for joint in range(24) if joint not in feet]
    mass, centre = humanoid.segment_masses()[above], (joints + humanoid.segment_centres())[above]
    ahead = (mass * centre[:, 2]).sum() / mass.sum() - joints[feet[0], 2]  # z is ahead in the rest frame
    height = rest_clip(1).root_pos[0, 2]
    torque = reference_torques(t_pose(height.expand(20)), humanoid)[10]
    ankles = torque[[dof_names().index(f"{side}_ankle_x") for side in ("left", "right")]].sum()
    assert abs(ankles) > 5
    assert float(ankles) == pytest.approx(float(mass.sum() * 9.81 * ahead), rel=0.03)


def test_batched_forces_equal_those_fitted_corner_by_corner():
    """A fast walk, in which corners make and lose contact by height and by speed."""
    humanoid, states = Humanoid.mean(), MotionLibrary([replace(demo_clip("walk_forward"), fps=90.0)]).clip(0)
    model = inverse_dynamics._free_model(humanoid.mjcf())
    data, jacobian = mujoco.MjData(model), np.zeros((3, model.nv))
    _, qvel_of, _ = dof_addresses(model)
    qpos, qvel, qacc = inverse_dynamics._trajectory(states, model, qvel_of, 30.0)
    found, counts = reference_torques(states, humanoid), set()
    for t in range(0, len(states), 3):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_inverse(model, data)
        edges = []
        for joint, corners in foot_corners(humanoid).items():
            body = model.body(BODY_NAMES[joint]).id
            for point in data.xpos[body] + corners.numpy() @ data.xmat[body].reshape(3, 3).T:
                mujoco.mj_jac(model, data, jacobian, None, point, body)
                if point[2] < 0.03 and np.linalg.norm(jacobian @ data.qvel) < 0.6:
                    edges += [np.array([0.8 * x, 0.8 * y, 1]) @ jacobian for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        counts.add(len(edges))
        columns, weight = np.array(edges).reshape(-1, model.nv).T, humanoid.mass * 9.81
        share = nonnegative_ridge(columns[None, :6], data.qfrc_inverse[None, :6] / weight, 3e-4)[0]
        wanted = torch.from_numpy((data.qfrc_inverse - weight * columns @ share)[qvel_of]).float()
        wanted = wanted.clamp(-humanoid.torque_limit, humanoid.torque_limit)
        torch.testing.assert_close(found[t], wanted, atol=1e-3, rtol=0)
    assert len(counts) > 2


def test_nonnegative_ridge_agrees_with_scipys_nnls():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(200, 6, 64)), 3 * draw.normal(size=(200, 6))
    a[:80, :, 16:] = 0  # few corners in contact, and none at all
    a[:5] = 0
    a[100:150] = np.abs(a[100:150])  # all push in the same direction, as a floor does
    found = nonnegative_ridge(a, b, 3e-4)
    under = np.sqrt(3e-4) * np.eye(64)
    wanted = [nnls(np.vstack([one, under]), np.append(aim, np.zeros(64)))[0] for one, aim in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_long_motions_are_processed_in_chunks(squat, squat_torques, monkeypatch):
    monkeypatch.setattr(inverse_dynamics, "_CHUNK", 50)
    torch.testing.assert_close(reference_torques(squat.clip(0), Humanoid.mean()), squat_torques, atol=1e-4, rtol=0)


def test_a_motion_too_short_for_derivatives_is_treated_as_static():
    long, short = (reference_torques(t_pose(torch.full((n,), 5.0)), Humanoid.mean()) for n in (20, 2))
    torch.testing.assert_close(short[0], long[10], atol=0.05, rtol=0.01)


@pytest.mark.parametrize("rate", [3.0, 6.0])
def test_a_swinging_arm_needs_its_inertia_times_its_acceleration(rate):
    """About the vertical, where gravity has no effect: mass times squared lever, the rotor inertia, and a little for segment thickness."""
    humanoid, t = Humanoid.mean(), torch.arange(60) / 30
    clip = rest_clip(60)
    rot, root = clip.joint_rot, clip.root_pos + torch.tensor([0.0, 0.0, 5.0])
    rot[:, JOINT_NAMES.index("left_shoulder")] = roma.rotvec_to_unitquat(
        torch.stack([0 * t, 0.5 * (rate * t).sin(), 0 * t], dim=-1)
    )
    library = MotionLibrary([Clip.from_joints(root, rot, 30.0)])
    torque = reference_torques(library.clip(0), humanoid)[10:-10, dof_names().index("left_shoulder_y")]
    acceleration = -(rate**2) * 0.5 * (rate * t[10:-10]).sin()
    inertia = float((torque * acceleration).sum() / acceleration.square().sum())
    joints = rest_joints(humanoid.offsets) + humanoid.segment_centres()
    arm = [JOINT_NAMES.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    lever = joints[arm, 0] - rest_joints(humanoid.offsets)[arm[0], 0]
    wanted = float((humanoid.segment_masses()[arm] * lever**2).sum()) + ARMATURE
    assert inertia == pytest.approx(wanted, rel=0.1)
    assert (torque - inertia * acceleration).abs().max() < 0.3 * torque.abs().max()
