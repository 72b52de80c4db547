"""Requirements on every simulator: joint order, physics, behaviour of the interface. Runs on each backend of conftest.py."""

from dataclasses import fields, replace

import pytest
import roma
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import FEET, JOINT_NAMES, STANDING, standing_height
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation import CONTROL_DT, SimState
from physhmr_kit.utils.errors import KitError

GRAVITY = 9.81
IN_THE_AIR = 20.0
REST = torch.zeros(69)


def dof(name: str) -> int:
    return dof_names().index(name)


def bodies(
    count: int = 1, height: float = 0.0, velocity=(0.0, 0.0, 0.0), spin=(0.0, 0.0, 0.0), turn=None, **hinges: float
) -> BodyState:
    """`count` bodies standing `height` m above the floor, hinges at 0 except those given (rad)."""
    angles = torch.zeros(count, 69)
    for name, angle in hinges.items():
        angles[:, dof(name)] = angle
    upright = torch.tensor(STANDING)
    rot = upright if turn is None else roma.quat_product(roma.rotvec_to_unitquat(torch.tensor(turn)), upright)
    rows = lambda v: torch.as_tensor(v, dtype=torch.float32).expand(count, -1).clone()  # noqa: E731
    root = rows((0.0, 0.0, standing_height() + height))
    return hinge_kinematics(
        root, rows(rot), rows(velocity), rows(spin), angles, torch.zeros(count, 69), Humanoid.mean().offsets
    )


def put(simulator, state: BodyState) -> None:
    simulator.reset(torch.arange(len(state)), state)


def centre_of_mass(state: BodyState) -> torch.Tensor:
    """(N, 3) m."""
    humanoid = Humanoid.mean()
    centres = state.body_pos + roma.quat_action(state.body_rot, humanoid.segment_centres().expand(len(state), 24, 3))
    return (centres * (humanoid.segment_masses() / humanoid.mass)[:, None]).sum(1)


def same_bits(a: SimState, b: SimState, rows=slice(None)) -> bool:
    return all(torch.equal(getattr(a, f.name)[rows], getattr(b, f.name)[rows]) for f in fields(SimState))


def random_targets(seed: int, steps: int, count: int) -> torch.Tensor:
    return 0.3 * torch.randn(steps, count, 69, generator=torch.Generator().manual_seed(seed))


# Joint order


@pytest.mark.parametrize(
    "name, target", [("left_knee_x", 0.3), ("right_hip_x", -0.3), ("right_elbow_y", 0.2), ("head_y", 0.2)]
)
def test_a_target_for_one_hinge_moves_that_hinge(build, name, target):
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR))
    targets = torch.zeros(1, 69)
    targets[0, dof(name)] = target
    for _ in range(20):
        state = simulator.step(targets)
    moved = state.dof_pos[0].abs()
    assert state.dof_pos[0, dof(name)] == pytest.approx(target, abs=0.02)
    moved[dof(name)] = 0
    assert moved.max() < 0.02


def test_the_stance_leg_carries_the_body(build):
    simulator = build(2)
    lifted = [bodies(left_hip_x=-0.8, left_knee_x=0.8), bodies(right_hip_x=-0.8, right_knee_x=0.8)]
    for row, state in enumerate(lifted):
        simulator.reset(torch.tensor([row]), state)
    targets = torch.cat([s.dof_pos for s in lifted])
    for _ in range(4):
        state = simulator.step(targets)
    load = state.contact_force[:, :, 2]
    left, right = (
        load[:, [JOINT_NAMES.index("left_ankle"), JOINT_NAMES.index("left_foot")]].sum(1),
        load[:, [8, 11]].sum(1),
    )
    assert right[0] > 200 and left[0] == 0
    assert left[1] > 200 and right[1] == 0


# Physics


def test_a_hinge_responds_to_a_target_step_with_the_time_constant_of_its_gains(build):
    """kd / kp = 0.1 s and little inertia: 1 - 1/e of the way after 0.1 s."""
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR))
    targets = torch.zeros(1, 69)
    targets[0, dof("left_elbow_y")] = -0.2
    angles = [simulator.step(targets).dof_pos[0, dof("left_elbow_y")] for _ in range(30)]
    assert angles[2] == pytest.approx(-0.2 * (1 - 0.3679), rel=0.12)
    assert angles[29] == pytest.approx(-0.2, abs=0.004)
    assert min(angles) > -0.21, "no overshoot"


def test_a_body_falls_with_the_acceleration_of_gravity(build):
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR))
    start = centre_of_mass(simulator.state)[0, 2]
    for _ in range(15):
        state = simulator.step(REST[None])
    time = 15 * CONTROL_DT
    assert state.body_lin_vel[0, 0, 2] == pytest.approx(-GRAVITY * time, rel=0.005)
    assert float(start - centre_of_mass(state)[0, 2]) == pytest.approx(GRAVITY * time**2 / 2, rel=0.03)


def test_without_contact_the_centre_of_mass_keeps_its_horizontal_velocity(build):
    """Drives exert internal forces only."""
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR, velocity=(1.5, -0.7, 0.0)))
    path = [centre_of_mass(simulator.state)[0, :2]]
    for targets in random_targets(1, 15, 1):
        path.append(centre_of_mass(simulator.step(targets / 3))[0, :2])
    velocity = torch.stack(path).diff(dim=0) / CONTROL_DT
    torch.testing.assert_close(velocity, torch.tensor([1.5, -0.7]).expand(15, 2), atol=0.025, rtol=0)


def test_contact_forces_of_a_standing_body_equal_its_weight_and_act_on_its_feet(build):
    simulator = build(1)
    put(simulator, bodies())
    forces = [simulator.step(REST[None]).contact_force[0] for _ in range(60)]
    force = torch.stack(forces[30:]).mean(0)
    assert force[:, 2].sum() == pytest.approx(70 * GRAVITY, rel=0.02)
    others = [j for j in range(24) if j not in FEET]
    assert force[others].abs().max() == 0
    left, right = force[[7, 10], 2].sum(), force[[8, 11], 2].sum()
    assert left == pytest.approx(float(right), rel=0.05)


def test_root_angular_velocity_is_in_the_world_frame(build):
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR, turn=(0.0, 1.2, 0.0), spin=(0.0, 0.0, 1.0)))
    before = simulator.state.root_rot.clone()
    assert torch.allclose(simulator.state.body_ang_vel[0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)
    after = simulator.step(REST[None]).root_rot
    turned = roma.unitquat_to_rotvec(roma.quat_product(after, roma.quat_conjugation(before)))[0]
    torch.testing.assert_close(turned, torch.tensor([0.0, 0.0, CONTROL_DT]), atol=0.004, rtol=0)


def test_velocities_are_those_of_the_body_origins(build):
    """The displacement in a step is the mean of the velocities before and after it."""
    simulator = build(1)
    put(simulator, bodies(height=IN_THE_AIR, velocity=(1.0, 0.0, 2.0), spin=(0.5, -0.4, 1.0), left_shoulder_z=0.3))
    for targets in random_targets(2, 2, 1):  # the drives' first jerk is over after two steps
        simulator.step(targets)
    hold = simulator.state.dof_pos.clone()
    for _ in range(6):
        simulator.step(hold)
    before = simulator.state
    after = simulator.step(hold)
    covered = (after.body_pos - before.body_pos) / CONTROL_DT
    torch.testing.assert_close(covered, (before.body_lin_vel + after.body_lin_vel) / 2, atol=0.1, rtol=0)


def chest(*forces) -> torch.Tensor:
    """(N, 24, 3) N: a force (3,) on the chest of each environment."""
    push = torch.zeros(len(forces), 24, 3)
    push[:, JOINT_NAMES.index("spine3")] = torch.tensor(forces)
    return push


def velocity_of_the_centre_of_mass(simulator, targets: torch.Tensor) -> torch.Tensor:
    """(N, 3) m/s over the next control step, in free flight."""
    before = centre_of_mass(simulator.state)
    return (centre_of_mass(simulator.step(targets)) - before) / CONTROL_DT


def test_a_push_transfers_its_impulse_in_the_world_frame(build):
    """F dt / m, for any heading and any body; and it ends with the step."""
    simulator, turn = build(4), (0.0, 0.4, 1.2)
    put(simulator, bodies(4, height=IN_THE_AIR, turn=turn, left_shoulder_z=0.3))
    hold = simulator.state.dof_pos.clone()
    push = chest((200.0, 0.0, 0.0), (0.0, -150.0, 100.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    push[3, JOINT_NAMES.index("right_knee")] = torch.tensor([-80.0, 60.0, 0.0])
    simulator.step(hold, push)
    gained = velocity_of_the_centre_of_mass(simulator, hold)
    gained = gained - gained[2]  # gravity pulls at the one that nobody pushed too
    expected = push.sum(1) * CONTROL_DT / 70
    torch.testing.assert_close(gained, expected, atol=0.02 * 200 * CONTROL_DT / 70, rtol=0.02)
    again = velocity_of_the_centre_of_mass(simulator, hold)
    torch.testing.assert_close(again - again[2], expected, atol=0.002, rtol=0.02)


def test_a_push_acts_on_its_body(build):
    simulator = build(2)
    put(simulator, bodies(2, height=IN_THE_AIR))
    push = torch.zeros(2, 24, 3)
    push[0, JOINT_NAMES.index("left_wrist"), 0] = push[1, JOINT_NAMES.index("right_wrist"), 0] = 60.0
    moved = (simulator.step(torch.zeros(2, 69), push).body_pos - bodies(2, height=IN_THE_AIR).body_pos)[:, :, 0]
    left, right = (JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right"))
    assert moved[0, left] > 0.01 > 2 * moved[0, right].abs()
    assert moved[1, right] > 0.01 > 2 * moved[1, left].abs()


def test_a_zero_push_equals_no_push_and_pushes_do_not_persist(build):
    simulator, twin = build(2), build(2)
    for s in (simulator, twin):
        put(s, bodies(2))
    for targets in random_targets(8, 3, 2):
        a, b = simulator.step(targets), twin.step(targets, torch.zeros(2, 24, 3))
        assert not simulator.deterministic or same_bits(a, b)
    saved = simulator.save()
    twin.step(torch.zeros(2, 69), chest((300.0, 0.0, 0.0), (0.0, 300.0, 0.0)))
    twin.restore(saved)
    for targets in random_targets(9, 3, 2):
        a, b = simulator.step(targets), twin.step(targets)
        assert not simulator.deterministic or same_bits(a, b)
        torch.testing.assert_close(a.body_pos, b.body_pos, atol=0.01, rtol=0)


def test_a_push_does_not_change_other_environments(build):
    simulator, twin = build(2), build(2)
    for s in (simulator, twin):
        put(s, bodies(2))
    for targets in random_targets(10, 4, 2):
        a, b = simulator.step(targets), twin.step(targets, chest((0.0, 0.0, 0.0), (200.0, 0.0, 0.0)))
    if not simulator.deterministic:
        pytest.skip(f"{simulator.name} does not promise equal bits")
    assert same_bits(a, b, [0]) and not same_bits(a, b, [1])


# Interface


def test_a_reset_does_not_change_other_environments_and_is_visible_at_once(build):
    simulator, twin = build(4), build(4)
    for s in (simulator, twin):
        put(s, bodies(4))
        for targets in random_targets(3, 4, 4):
            s.step(targets)
    fresh = bodies(2, height=0.5, velocity=(0.3, 0.0, 0.0), left_knee_x=0.4)
    simulator.reset(torch.tensor([2, 0]), fresh)
    assert same_bits(simulator.state, twin.state, [1, 3])
    for field in fields(BodyState):
        torch.testing.assert_close(
            getattr(simulator.state, field.name)[[2, 0]], getattr(fresh, field.name), atol=1e-5, rtol=1e-5
        )
    assert simulator.state.contact_force[[2, 0]].abs().max() == 0

    for targets in random_targets(4, 3, 4):
        a, b = simulator.step(targets), twin.step(targets)
    assert same_bits(a, b, [1, 3])
    assert not same_bits(a, b, [2])


def test_restoring_a_save_repeats_every_bit(build):
    simulator = build(4)
    put(simulator, bodies(4))
    for targets in random_targets(5, 4, 4):
        simulator.step(targets)
    saved = simulator.save()
    first = [simulator.state, *(simulator.step(t) for t in random_targets(6, 5, 4))]
    simulator.restore(saved)
    again = [simulator.state, *(simulator.step(t) for t in random_targets(6, 5, 4))]
    if not simulator.deterministic:
        pytest.skip(f"{simulator.name} does not promise equal bits")
    assert all(same_bits(a, b) for a, b in zip(first, again, strict=True))
    assert not same_bits(first[0], first[-1])


def test_equal_inputs_give_equal_bits(build):
    ends = []
    for _ in range(2):
        simulator = build(4)
        put(simulator, bodies(4))
        for targets in random_targets(7, 5, 4):
            ends.append(simulator.step(targets))
    if not simulator.deterministic:
        pytest.skip(f"{simulator.name} does not promise equal bits")
    assert same_bits(ends[4], ends[9])


def test_a_nan_target_diverges_its_own_environment_only(build):
    simulator, twin = build(4), build(4)
    for s in (simulator, twin):
        put(s, bodies(4))
    targets = torch.zeros(4, 69)
    targets[1, 5] = torch.nan
    state, reference = simulator.step(targets), twin.step(torch.zeros(4, 69))
    assert state.diverged.tolist() == [False, True, False, False]
    assert same_bits(state, reference, [0, 2, 3])
    put(simulator, bodies(4))
    assert not simulator.state.diverged.any(), "cleared by a reset"
    assert not simulator.step(torch.zeros(4, 69)).diverged.any()


def test_divergence_is_reported_for_its_own_environment_only(build):
    simulator = build(4)
    put(simulator, bodies(4, height=IN_THE_AIR))
    simulator.reset(torch.tensor([1]), bodies(1, height=IN_THE_AIR, spin=(1e6, 0.0, 1e6)))
    state = simulator.step(torch.zeros(4, 69))
    assert state.diverged.tolist() == [False, True, False, False]
    assert torch.isfinite(state.body_pos[[0, 2, 3]]).all()


def test_a_simulator_without_environments_is_refused(build):
    with pytest.raises(KitError, match="num_envs is 0"):
        build(0)
    with pytest.raises(KitError, match="substeps is 0"):
        build(1, substeps=0)


def test_an_empty_reset_changes_nothing(build):
    simulator, twin = build(2), build(2)
    for s in (simulator, twin):
        put(s, bodies(2))
    simulator.reset(torch.zeros(0, dtype=torch.long), bodies(2)[:0])
    assert same_bits(simulator.state, twin.state)


def test_rotations_are_normalised(build):
    simulator, state = build(2), bodies()
    simulator.reset(torch.tensor([0]), state)
    simulator.reset(torch.tensor([1]), replace(state, body_rot=2 * state.body_rot))
    torch.testing.assert_close(*simulator.state.body_pos, atol=1e-5, rtol=0)


def test_targets_of_the_wrong_shape_are_refused(build):
    simulator = build(2)
    for shape in ((1, 69), (3, 69), (2, 68), (69,)):
        with pytest.raises(KitError, match=r"expected \(2, 69\)"):
            simulator.step(torch.zeros(shape))
    with pytest.raises(KitError, match=r"expected \(2, 24, 3\)"):
        simulator.step(torch.zeros(2, 69), torch.zeros(2, 3))


def test_a_nan_state_diverges_within_one_physics_step(build):
    simulator = build(2, substeps=1)
    put(simulator, bodies(2, height=IN_THE_AIR))
    state = bodies(1, height=IN_THE_AIR)
    state.dof_pos[0, 3] = torch.nan
    simulator.reset(torch.tensor([1]), state)
    assert simulator.step(torch.zeros(2, 69)).diverged.tolist() == [False, True]


def test_a_with_block_closes_the_simulator_even_after_an_error(build, monkeypatch):
    simulator, closed = build.fresh(1), []
    close = simulator.close
    monkeypatch.setattr(simulator, "close", lambda: closed.append(close()))
    with pytest.raises(ZeroDivisionError), simulator as inside:
        assert inside is simulator and inside.step(REST[None]).body_pos.isfinite().all()
        1 / 0  # noqa: B018
    assert len(closed) == 1 and simulator.name == build.backend
    close()  # closing twice is harmless
