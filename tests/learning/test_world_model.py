"""The learned model of the physics: its coordinates, its integration, and that it learns."""

import pytest
import torch
from motions import waving_clip

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.learning import Policy
from physhmr_kit.learning.transitions import TransitionMemory
from physhmr_kit.learning.world_model import WorldModel, coordinates, difference, integrate
from physhmr_kit.motion.kinematics import coordinate_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

OFFSETS = Humanoid.mean().offsets


@pytest.fixture(scope="module")
def happened():
    """Two rollouts of sixteen bodies that try to stand and wave."""
    torch.manual_seed(0)
    env = TrackingEnv(MotionLibrary([waving_clip(90)]), make_simulator("mujoco_cpu", num_envs=16), TrackingConfig())
    memory, draw = TransitionMemory(3, 24, 16), torch.Generator().manual_seed(0)
    obs, _ = env.reset(seed=0)
    policy = Policy(("proprioception", "reference"), (16,), std=0.2)
    for _ in range(2):
        obs, _, _ = memory.collect(env, policy, obs, draw)
    yield memory
    env.close()


def exam(memory: TransitionMemory, number: int, length: int, draw: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Where windows begin, targets, and what came of them."""
    happened = memory.whole(number, length, draw)
    return happened.states[0], happened.targets, happened.states[1:]


def turned(columns: torch.Tensor) -> torch.Tensor:
    """The same bodies elsewhere, facing elsewhere."""
    import roma

    away = columns.clone()
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, 1.0])).expand(columns.shape[1], 4)
    away[:3] = roma.quat_action(turn, columns[:3].T).T + torch.tensor([[3.0], [-2.0], [0.0]])
    away[3:7] = roma.quat_product(turn, columns[3:7].T).T
    away[76:79] = roma.quat_action(turn, columns[76:79].T).T
    return away


def test_coordinates_are_those_that_kinematics_takes(happened):
    columns, _, _ = exam(happened, 8, 1, torch.Generator().manual_seed(0))
    again = coordinates(coordinate_kinematics(columns, OFFSETS))
    torch.testing.assert_close(again, columns, atol=1e-5, rtol=1e-4)


def test_integrating_the_difference_leads_from_one_state_to_the_next(happened):
    columns, _, after = exam(happened, 32, 1, torch.Generator().manual_seed(0))
    reached = integrate(columns, difference(columns, after[0]))
    sign = (reached[3:7] * after[0, 3:7]).sum(0).sign()  # q and -q are one rotation
    reached[3:7] *= sign
    torch.testing.assert_close(reached, after[0], atol=1e-5, rtol=1e-4)


def test_no_change_is_going_on_with_the_same_velocity(happened):
    columns, _, _ = exam(happened, 4, 1, torch.Generator().manual_seed(0))
    after = integrate(columns, torch.zeros(150, 4))
    torch.testing.assert_close(after[:3], columns[:3] + columns[76:79] / 30)
    torch.testing.assert_close(after[7:76], columns[7:76] + columns[82:] / 30)


def test_place_and_heading_do_not_matter_to_the_model(happened):
    model = WorldModel(OFFSETS, (32,))
    columns, targets, after = exam(happened, 32, 1, torch.Generator().manual_seed(0))
    model.fit_linear(columns, targets[0], after[0])
    torch.nn.init.normal_(model.net[-1].weight, std=0.1)
    step = lambda c: model(c, model.bodies(c), targets[0])  # noqa: E731
    torch.testing.assert_close(step(turned(columns)), turned(step(columns)), atol=1e-4, rtol=1e-4)


def test_the_linear_part_predicts_at_once_and_learning_makes_it_better(happened):
    torch.manual_seed(0)
    model, draw = WorldModel(OFFSETS, (64,)), torch.Generator().manual_seed(0)
    columns, targets, after = exam(happened, 600, 1, draw)
    with torch.no_grad():
        before = float(model.loss(columns, targets, after))
    model.fit_linear(columns, targets[0], after[0])
    hard = exam(happened, 128, 6, draw)
    drift = model.drift(*hard)
    with torch.no_grad():
        fitted = float(model.loss(*hard))
    assert before != fitted and drift.shape == (6,) and (drift[1:] > drift[:-1]).all()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(80):
        loss = model.loss(*exam(happened, 64, 4, draw))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(model.loss(*hard).detach()) < 0.85 * fitted
    assert model.drift(*hard)[-1] < drift[-1]
