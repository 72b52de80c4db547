"""Simulators by name, limits on PD targets, and mujoco_cpu against MuJoCo."""

import importlib.util

import mujoco
import numpy as np
import pytest
import torch
from motions import rest_clip

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import choose_simulator, make_simulator
from physhmr_kit.utils.errors import KitError

REST = MotionLibrary([rest_clip(4)]).clip(0)


def test_an_unknown_simulator_is_refused_with_the_known_names():
    with pytest.raises(
        KitError, match="unknown simulator 'clockwork'; choose one of: auto, mujoco_cpu, mujoco_gpu, isaac_gym"
    ):
        make_simulator("clockwork")


def test_options_reach_the_simulator():
    with make_simulator("mujoco_cpu", num_envs=2, substeps=5) as simulator:
        assert simulator.num_envs == len(simulator.state) == 2
        assert simulator.timestep == pytest.approx(1 / 150)


def machine(monkeypatch, isaac: str = "", cuda: bool = False, warp: bool = True) -> None:
    """Simulate a machine with these features."""
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", isaac)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if warp else None)


@pytest.mark.parametrize(
    "here, name, why",
    [
        ({"isaac": "python3.8"}, "isaac_gym", "PHYSHMR_ISAACGYM_PYTHON names python3.8"),
        ({"isaac": "python3.8", "cuda": True}, "isaac_gym", "names python3.8"),
        ({"cuda": True}, "mujoco_gpu", "CUDA device a card"),
        ({"cuda": True, "warp": False}, "mujoco_cpu", "mujoco_warp is not installed: pip install"),
        ({}, "mujoco_cpu", "no CUDA device"),
    ],
)
def test_auto_selects_the_fastest_available_simulator_and_says_why(here, name, why, monkeypatch):
    machine(monkeypatch, **here)
    choice = choose_simulator("auto")
    assert choice.name == name and why in choice.why
    assert str(choice).startswith(f"simulator {name}: ") and "\n" not in str(choice)


def test_a_simulator_requested_by_name_is_selected(monkeypatch):
    machine(monkeypatch, isaac="python3.8", cuda=True)
    assert choose_simulator("mujoco_cpu").name == "mujoco_cpu"


def test_mujoco_cpu_refuses_a_gpu_device():
    with pytest.raises(KitError, match="mujoco_cpu computes on the CPU, not on 'cuda'; use mujoco_gpu"):
        make_simulator("mujoco_cpu", device="cuda")


def test_targets_are_limited_by_the_torque_limit():
    """Elbow: 500 N m/rad, 50 N m s/rad, 150 N m. At 0.1 rad and 1 rad/s the torque is 0 for a target of 0.2 rad."""
    elbow = dof_names().index("left_elbow_y")
    position, velocity = torch.zeros(4, 69), torch.zeros(4, 69)
    position[:, elbow], velocity[:, elbow] = 0.1, 1.0
    target = torch.zeros(4, 69)
    target[:, elbow] = torch.tensor([2.0, -2.0, 0.4, -0.05])
    held = Humanoid.mean().limit_targets(target, position, velocity)
    torch.testing.assert_close(held[:, elbow], torch.tensor([0.5, -0.1, 0.4, -0.05]))
    others = [d for d in range(69) if d != elbow]
    assert torch.equal(held[:, others], target[:, others]), "within the torque limit nothing changes"


def test_the_simulator_limits_targets_itself():
    wild = torch.full((2, 69), 50.0)
    ends = []
    for targets in (wild, Humanoid.mean().limit_targets(wild, REST.dof_pos[:2], REST.dof_vel[:2])):
        simulator = make_simulator("mujoco_cpu", num_envs=2)
        simulator.reset(torch.arange(2), REST[:2])
        ends.append(simulator.step(targets).body_pos)
        simulator.close()
    assert torch.equal(*ends)


def test_body_poses_equal_those_of_mujoco():
    simulator = make_simulator("mujoco_cpu", num_envs=1)
    simulator.reset(torch.tensor([0]), REST[:1])
    for seed in range(5):
        state = simulator.step(0.5 * torch.randn(1, 69, generator=torch.Generator().manual_seed(seed)))
    model = mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())
    data = mujoco.MjData(model)
    saved = simulator.save()["physics"][0].numpy()
    data.qpos[:], data.qvel[:] = saved[1 : 1 + model.nq], saved[1 + model.nq :]
    mujoco.mj_forward(model, data)
    velocity = np.zeros(6)
    for joint, name in enumerate(BODY_NAMES):
        body = model.body(name).id
        np.testing.assert_allclose(state.body_pos[0, joint], data.xpos[body], atol=1e-5)
        rotation = state.body_rot[0, joint, [3, 0, 1, 2]].numpy()
        assert abs(rotation @ data.xquat[body]) == pytest.approx(1, abs=1e-5)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        np.testing.assert_allclose(state.body_ang_vel[0, joint], velocity[:3], atol=1e-3)
        np.testing.assert_allclose(state.body_lin_vel[0, joint], velocity[3:], atol=1e-3)
    simulator.close()


def test_the_number_of_threads_changes_nothing():
    ends = []
    for threads in (1, 2):
        simulator = make_simulator("mujoco_cpu", num_envs=4, threads=threads)
        simulator.reset(torch.arange(4), REST)
        for seed in range(4):
            state = simulator.step(0.3 * torch.randn(4, 69, generator=torch.Generator().manual_seed(seed)))
        ends.append(state.body_pos)
        simulator.close()
    assert torch.equal(*ends)
