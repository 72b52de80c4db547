"""The MJCF as MuJoCo reads it: masses, limits, gains, soles; it stands and it survives a fall."""

import math

import mujoco
import numpy as np
import pytest
import torch

from physhmr_kit.body import BODY_NAMES, STANDING, Humanoid, dof_limits, dof_names, foot_corners
from physhmr_kit.body.skeleton import JOINT_NAMES, standing_height

# kp N m/rad, kd N m s/rad, largest torque N m: PHC's table, with the left side's torques on both sides.
_GAINS = {
    "hip": (800, 80, 500), "knee": (800, 80, 500), "ankle": (800, 80, 500), "foot": (500, 50, 500),
    "spine1": (1000, 100, 500), "spine2": (1000, 100, 500), "spine3": (1000, 100, 500),
    "neck": (500, 50, 250), "head": (500, 50, 250), "collar": (500, 50, 500), "shoulder": (500, 50, 500),
    "elbow": (500, 50, 150), "wrist": (300, 30, 150), "hand": (300, 30, 150),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())


def hinge_name(dof_name: str) -> str:
    joint, axis = dof_name.rsplit("_", 1)
    return f"{BODY_NAMES[JOINT_NAMES.index(joint)]}_{axis}"


def standing(model: mujoco.MjModel, above: float = 0.0) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[2] = standing_height() + above
    data.qpos[3:7] = np.array(STANDING)[[3, 0, 1, 2]]
    return data


def test_it_weighs_70_kg_and_has_24_bodies_69_hinges_and_69_drives(model):
    assert model.body_mass.sum() == pytest.approx(70.0, abs=0.01)
    assert (model.nbody, model.nq, model.nv, model.nu) == (25, 76, 75, 69)


def test_every_hinge_has_its_anatomical_limit(model):
    for name, limit in zip(dof_names(), dof_limits(), strict=True):
        joint = model.joint(hinge_name(name))
        assert model.jnt_limited[joint.id]
        np.testing.assert_allclose(joint.range, limit.numpy(), atol=1e-5)


def test_every_drive_has_the_gains_of_the_table(model):
    for name in dof_names():
        kp, kd, _ = _GAINS[name.rsplit("_", 1)[0].removeprefix("left_").removeprefix("right_")]
        drive = model.actuator(hinge_name(name))
        assert (drive.gainprm[0], drive.biasprm[1], drive.biasprm[2]) == (kp, -kp, -kd)
        assert model.actuator_trnid[drive.id, 0] == model.joint(hinge_name(name)).id


def test_the_gain_tensors_say_what_the_table_says():
    humanoid = Humanoid.mean()
    table = [_GAINS[n.rsplit("_", 1)[0].removeprefix("left_").removeprefix("right_")] for n in dof_names()]
    torch.testing.assert_close(
        torch.stack([humanoid.kp, humanoid.kd, humanoid.torque_limit], dim=-1), torch.tensor(table).float()
    )


def test_held_targets_ask_no_drive_for_more_than_its_torque():
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


def test_another_mass_scales_every_segment():
    heavy = Humanoid(Humanoid.mean().offsets, mass=105.0)
    torch.testing.assert_close(heavy.segment_masses(), 1.5 * Humanoid.mean().segment_masses())
    assert mujoco.MjModel.from_xml_string(heavy.mjcf()).body_mass.sum() == pytest.approx(105.0, abs=0.02)


def test_it_stands_for_ten_seconds_on_the_rest_pose(model):
    data = standing(model)
    for _ in range(round(10 / model.opt.timestep)):
        mujoco.mj_step(model, data)
    assert data.qpos[2] == pytest.approx(standing_height(), abs=0.03)
    upright = data.body("Pelvis").xmat.reshape(3, 3)[:, 1] @ [0, 0, 1]
    assert upright > math.cos(math.radians(10))
    assert np.abs(data.qvel).max() < 0.05


def test_a_drop_from_one_metre_ends_on_the_floor_without_nan(model):
    data = standing(model, above=1.0)
    for _ in range(round(4 / model.opt.timestep)):
        mujoco.mj_step(model, data)
        assert np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all()
    assert not any(
        data.warning[int(w)].number for w in (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC)
    )
    lowest = data.xpos[1:, 2].min()
    assert -0.05 < lowest < 0.2
