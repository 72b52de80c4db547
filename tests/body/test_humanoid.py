"""The humanoid's MJCF in MuJoCo: masses, limits, gains, soles, standing and falling."""

import math

import mujoco
import numpy as np
import pytest
import torch

from physhmr_kit.body import BODY_NAMES, STANDING, Humanoid, dof_limits, dof_names, foot_corners
from physhmr_kit.body.hinges import hinge_names
from physhmr_kit.body.skeleton import standing_height

# kp N m/rad, kd N m s/rad, largest torque N m: rows of PHC's table, with the left side's torques on both sides.
_GAINS = {
    "left_hip": (800, 80, 500), "right_foot": (500, 50, 500), "spine2": (1000, 100, 500), "head": (500, 50, 250),
    "left_collar": (500, 50, 500), "right_shoulder": (500, 50, 500), "left_elbow": (500, 50, 150), "right_hand": (300, 30, 150),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())


def standing(model: mujoco.MjModel, above: float = 0.0) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[2] = standing_height() + above
    data.qpos[3:7] = np.array(STANDING)[[3, 0, 1, 2]]
    return data


def test_it_weighs_70_kg_and_has_24_bodies_69_hinges_and_69_actuators(model):
    assert model.body_mass.sum() == pytest.approx(70.0, abs=0.01)
    assert (model.nbody, model.nq, model.nv, model.nu) == (25, 76, 75, 69)


def test_every_hinge_has_its_anatomical_limit(model):
    assert dict(zip(dof_names(), hinge_names(), strict=True))["left_knee_x"] == "L_Knee_x"
    for name, limit in zip(hinge_names(), dof_limits(), strict=True):
        joint = model.joint(name)
        assert model.jnt_limited[joint.id]
        np.testing.assert_allclose(joint.range, limit.numpy(), atol=1e-5)


def test_every_actuator_has_the_gains_of_the_humanoid(model):
    humanoid = Humanoid.mean()
    for name, kp, kd in zip(hinge_names(), humanoid.kp, humanoid.kd, strict=True):
        actuator = model.actuator(name)
        assert (actuator.gainprm[0], actuator.biasprm[1], actuator.biasprm[2]) == (kp, -kp, -kd)
        assert model.actuator_trnid[actuator.id, 0] == model.joint(name).id


def test_the_gains_are_those_of_phc():
    humanoid, names = Humanoid.mean(), dof_names()
    for joint, row in _GAINS.items():
        dofs = slice(names.index(f"{joint}_x"), names.index(f"{joint}_x") + 1)
        assert tuple(v[dofs].item() for v in (humanoid.kp, humanoid.kd, humanoid.torque_limit)) == row


def test_clamped_targets_exceed_no_torque_limit():
    humanoid, draw = Humanoid.mean(), torch.Generator().manual_seed(0)
    target, pos, vel = (torch.randn(16, 69, generator=draw) * s for s in (3.0, 0.5, 5.0))
    held = humanoid.limit_targets(target, pos, vel)
    torque, wished = (humanoid.kp * (t - pos) - humanoid.kd * vel for t in (held, target))
    assert (wished.abs() > humanoid.torque_limit).any()
    torch.testing.assert_close(
        torque, torch.clamp(wished, -humanoid.torque_limit, humanoid.torque_limit), atol=1e-2, rtol=1e-4
    )


def test_segment_masses_and_centres_are_those_mujoco_computes(model):
    humanoid = Humanoid.mean()
    order = [model.body(b).id for b in BODY_NAMES]
    np.testing.assert_allclose(humanoid.segment_masses(), model.body_mass[order], rtol=1e-4)
    np.testing.assert_allclose(humanoid.segment_centres(), model.body_ipos[order], atol=1e-6)


def test_the_sole_corners_are_the_lower_corners_of_the_foot_boxes(model):
    data = standing(model)
    mujoco.mj_forward(model, data)
    for joint, corners in foot_corners().items():
        body, geom = data.body(BODY_NAMES[joint]), model.geom(BODY_NAMES[joint])
        world = body.xpos + corners.numpy() @ body.xmat.reshape(3, 3).T
        half = np.array([(a, -1, b) for b in (-1, 1) for a in (-1, 1)]) * geom.size
        box = data.geom_xpos[geom.id] + half @ data.geom_xmat[geom.id].reshape(3, 3).T
        np.testing.assert_allclose(world, box, atol=1e-6)
        np.testing.assert_allclose(world[:, 2], 0.0, atol=1e-4)


def test_mass_scales_every_segment():
    heavy = Humanoid(Humanoid.mean().offsets, mass=105.0)
    torch.testing.assert_close(heavy.segment_masses(), 1.5 * Humanoid.mean().segment_masses())
    assert mujoco.MjModel.from_xml_string(heavy.mjcf()).body_mass.sum() == pytest.approx(105.0, abs=0.02)


def test_it_stands_in_the_rest_pose_for_ten_seconds(model):
    data = standing(model)
    mujoco.mj_step(model, data, round(10 / model.opt.timestep))
    assert data.qpos[2] == pytest.approx(standing_height(), abs=0.03)
    upright = data.body("Pelvis").xmat.reshape(3, 3)[:, 1] @ [0, 0, 1]
    assert upright > math.cos(math.radians(10))
    assert np.abs(data.qvel).max() < 0.05


def test_a_drop_from_one_metre_ends_on_the_floor_without_nan(model):
    data = standing(model, above=1.0)
    mujoco.mj_step(model, data, round(4 / model.opt.timestep))
    assert np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all()
    assert not data.warning.number.any()
    lowest = data.xpos[1:, 2].min()
    assert -0.05 < lowest < 0.2
