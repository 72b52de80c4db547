"""What only the isaac_gym backend has: a worker process, an asset for the importer, spherical joints. Physics is in conformance/.

Runs on the stand-in of tests/standin, never on a real Isaac Gym: the stand-in's faults on purpose are what is tested here.
"""

import ast
import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import mujoco
import pytest
import roma
import torch
from backends import quick_python, standin_python

from physhmr_kit.body.hinges import dof_limits, dof_to_rotation
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES, STANDING, standing_height
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.simulation import SimState, SimulatorError, make_simulator
from physhmr_kit.simulation.isaac import joints
from physhmr_kit.simulation.isaac.asset import DRIVE_NAMES, excluded_pairs, exp_map_limits, filter_bits, isaac_mjcf
from physhmr_kit.simulation.isaac.process import WORKER
from physhmr_kit.simulation.isaac.simulator import _places
from physhmr_kit.utils.errors import KitError


@pytest.fixture
def build(monkeypatch, tmp_path):
    """Makes simulators on the stand-in: build(manner, num_envs, **options)."""
    made = []
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(quick_python(tmp_path)))

    def make(manner: str = "", num_envs: int = 1, **options):
        monkeypatch.setenv("ISAACGYM_STANDIN", manner)
        made.append(make_simulator("isaac_gym", num_envs=num_envs, **options))
        return made[-1]

    yield make
    for simulator in made:
        simulator.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Three bodies on the stand-in, for tests that reset them first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(quick_python(tmp_path_factory.mktemp("standin"))))
        patch.delenv("ISAACGYM_STANDIN", raising=False)
        simulator = make_simulator("isaac_gym", num_envs=3)
    with simulator:
        yield simulator


def standing(*places: float, height: float = 0.0):
    """One body for each place along x, upright, at rest."""
    n = len(places)
    root = torch.zeros(n, 3)
    root[:, 0], root[:, 2] = torch.tensor(places), standing_height() + height
    still = torch.zeros(n, 3)
    rot = torch.tensor(STANDING).expand(n, 4)
    return hinge_kinematics(root, rot, still, still, torch.zeros(n, 69), torch.zeros(n, 69), Humanoid.mean().offsets)


def legal_poses(count: int, seed: int = 0) -> torch.Tensor:
    low, high = dof_limits().double().unbind(-1)
    return low + (high - low) * torch.rand(
        count, 69, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


# Starting


def test_without_an_interpreter_the_error_names_the_variable(monkeypatch):
    monkeypatch.delenv("PHYSHMR_ISAACGYM_PYTHON", raising=False)
    with pytest.raises(KitError, match="PHYSHMR_ISAACGYM_PYTHON is not set; export"):
        make_simulator("isaac_gym")


def test_a_missing_interpreter_is_named(monkeypatch):
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", "/no/such/python3.8")
    with pytest.raises(KitError, match=r"/no/such/python3\.8: no such program"):
        make_simulator("isaac_gym")


def test_an_interpreter_without_isaac_gym_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", sys.executable)
    with pytest.raises(KitError, match=r"No module named 'isaacgym'.*try: ") as error:
        make_simulator("isaac_gym")
    assert "\n" not in str(error.value)


def test_a_program_that_is_not_an_interpreter_is_reported_with_its_exit_code(monkeypatch, tmp_path):
    program = tmp_path / "grumpy"
    program.write_text("#!/bin/sh\necho libpython3.8.so.1.0: cannot open shared object file >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(program))
    with pytest.raises(KitError, match=r"exit code 127; its last output: libpython3\.8\.so\.1\.0: cannot open"):
        make_simulator("isaac_gym")


def test_an_interpreter_that_does_not_answer_is_stopped(monkeypatch, tmp_path):
    program = tmp_path / "sleepy"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PHYSHMR_ISAACGYM_PYTHON", str(program))
    with pytest.raises(KitError, match=r"did not answer 'start' within 0.5 s and was stopped"):
        make_simulator("isaac_gym", start_timeout=0.5)


def test_missing_cuda_is_refused(build):
    if torch.cuda.is_available():  # then it is the worker that lacks it: the stand-in computes on the CPU
        with pytest.raises(KitError, match="no CUDA device for torch"):
            build(device="cuda")
    else:
        with pytest.raises(KitError, match="torch finds no CUDA device"):
            build(device="cuda")


def test_an_engine_that_dies_while_loading_is_reported_with_its_exit_code_and_last_output(build):
    with pytest.raises(KitError, match=r"exit code 139.*illegal memory access"):
        build("abort")


def test_an_engine_with_a_reversed_joint_is_detected_at_the_start(build):
    with pytest.raises(SimulatorError, match=r"the engine has .*(Hip|Knee|Ankle|Toe) .* cm from where our kinematics"):
        build("crooked")


def test_an_engine_with_other_joint_velocities_gives_a_warning_at_the_start(build):
    with pytest.warns(UserWarning, match=r"turns .* rad/s faster or slower in the engine"):
        build("swift")


def test_an_engine_with_other_masses_is_detected_at_the_start(build):
    with pytest.raises(SimulatorError, match=r"gave Pelvis a mass of 15\.6 kg instead of 7\.82 kg"):
        build("heavy")


def test_names_are_mapped_and_missing_ones_reported():
    assert _places(("a", "b", "c"), ["c", "a", "b"], "drive") == [1, 2, 0]
    with pytest.raises(SimulatorError, match=r"other drive names than our asset: missing \['b'\], unknown \['x'\]"):
        _places(("a", "b"), ["x", "a"], "drive")
    with pytest.raises(SimulatorError, match="3 instead of 2"):
        _places(("a", "b"), ["a", "b", "a"], "body")


def test_the_engine_s_order_of_names_does_not_matter(build, plain):
    ends, orders = [], []
    for simulator in (plain, build("shuffled", 3)):
        orders.append((simulator._drives, simulator._bodies))
        simulator.reset(torch.arange(3), standing(0.0, 1.0, 2.0))
        for seed in range(4):
            simulator.step(0.4 * torch.randn(3, 69, generator=torch.Generator().manual_seed(seed)))
        ends.append(simulator.state)
    assert all((a != b).sum() > 12 for a, b in zip(*orders, strict=True))
    for field in fields(SimState):
        assert torch.equal(*(getattr(end, field.name) for end in ends)), field.name
    assert ends[0].contact_force.abs().max() > 100


# Running


@pytest.mark.parametrize("height, steps, apart, total", [(20.0, 10, 0.01, 0.0), (0.0, 2, 0.004, 900.0)])
def test_bodies_move_as_in_mujoco_cpu(plain, height, steps, apart, total):
    """The same body, drives and floor in other joint coordinates: similar, not equal."""
    ends = []
    for simulator in (plain, make_simulator("mujoco_cpu", num_envs=3)):
        simulator.reset(torch.arange(3), standing(0.0, 0.0, 0.0, height=height))
        for seed in range(steps):
            state = simulator.step(0.1 * torch.randn(2, 69, generator=torch.Generator().manual_seed(seed))[[0, 1, 1]])
        ends.append(state)
    assert (ends[0].body_pos - ends[1].body_pos).norm(dim=-1).max() < apart
    assert (ends[0].dof_pos - ends[1].dof_pos).abs().max() < 0.02
    assert torch.corrcoef(torch.stack([e.dof_torque.flatten() for e in ends]))[0, 1] > 0.98
    load = [e.contact_force[:2, :, 2].sum(1).mean() for e in ends]
    assert load[0] == pytest.approx(float(load[1]), rel=0.05, abs=0.01)
    assert load[0] >= total - 0.01


def test_of_two_resets_before_a_step_the_later_one_applies(plain):
    def begun():
        plain.reset(torch.arange(3), standing(0.0, 0.0, 0.0))
        plain.step(torch.zeros(3, 69))
        return plain

    reference, simulator = begun().step(torch.zeros(3, 69)), begun()
    simulator.reset(torch.tensor([0]), standing(5.0))
    simulator.reset(torch.tensor([1]), standing(-2.0, height=1.0))
    simulator.reset(torch.tensor([0]), standing(3.0))
    assert simulator.state.root_pos[:, 0].tolist() == pytest.approx([3.0, -2.0, 0.0], abs=0.02)
    state = simulator.step(torch.zeros(3, 69))
    assert state.root_pos[:, 0].tolist() == pytest.approx([3.0, -2.0, 0.0], abs=0.02)
    assert state.root_pos[1, 2] == pytest.approx(standing_height() + 1.0, abs=0.02)
    assert torch.equal(state.body_pos[2], reference.body_pos[2])


def test_stale_bodies_do_not_leak_into_the_state_after_a_reset(plain):
    """The stand-in updates its body tensor in simulate only; the state must be up to date."""
    plain.reset(torch.arange(3), standing(0.0, 0.0, 0.0))
    plain.step(torch.zeros(3, 69))
    plain.reset(torch.tensor([1]), standing(4.0))
    wanted = standing(4.0)
    torch.testing.assert_close(plain.state.body_pos[1], wanted.body_pos[0], atol=1e-5, rtol=0)
    after = plain.step(torch.zeros(3, 69))
    torch.testing.assert_close(after.body_pos[1], wanted.body_pos[0], atol=0.02, rtol=0)


def test_a_drive_takes_the_shorter_rotation():
    """A shoulder near half a turn, with a target just beyond, where the rotation vector changes its sign."""
    present = torch.zeros(1, 69, dtype=torch.float64)
    present[0, 0] = 3.0
    wanted = torch.zeros(1, 69, dtype=torch.float64)
    wanted[0, 0] = -3.1
    near = joints.nearest_vectors(wanted, present)
    assert near[0, 0] == pytest.approx(2 * math.pi - 3.1)
    assert torch.equal(near[0, 1:], wanted[0, 1:])
    assert torch.equal(joints.nearest_vectors(wanted, -present), wanted)


def test_a_worker_that_is_killed_is_a_simulator_error(build):
    simulator = build()
    simulator.step(torch.zeros(1, 69))
    os.kill(simulator._worker.pid, signal.SIGKILL)
    with pytest.raises(SimulatorError, match="stopped with signal SIGKILL; the checkpoints written so far are kept"):
        for _ in range(1000):  # it may finish some steps before it is gone
            simulator.step(torch.zeros(1, 69))
    with pytest.raises(SimulatorError, match="has been closed"):
        simulator.step(torch.zeros(1, 69))


def test_a_worker_that_hangs_is_stopped(build):
    simulator = build("deaf", step_timeout=1.0)
    with pytest.raises(
        SimulatorError, match=r"did not answer 'step' within 1 s and was stopped; the checkpoints .* are kept"
    ):
        simulator.step(torch.zeros(1, 69))
    assert not alive(simulator._worker.pid)


def test_closing_stops_the_worker_and_may_be_repeated(build):
    simulator = build()
    pid = simulator._worker.pid
    assert alive(pid)
    simulator.close()
    simulator.close()
    assert not alive(pid)


def test_a_deleted_simulator_stops_its_worker(build):
    simulator = make_simulator("isaac_gym")
    pid = simulator._worker.pid
    assert alive(pid)
    del simulator
    assert gone(pid)


def simulate_until_killed(pids):
    """Make one simulator in a helper thread, which ends, and hang in a step of another."""
    made = []

    def make():
        made.append(make_simulator("isaac_gym"))
        pids.send(made[-1]._worker.pid)

    helper = threading.Thread(target=make)
    helper.start()
    helper.join()
    make()
    made[1].step(torch.zeros(1, 69))


def test_workers_die_with_their_parent(monkeypatch, tmp_path):
    """An idle one sees the closed socket, even if a helper thread started it; for one whose engine hangs, Linux sends SIGKILL."""
    monkeypatch.setenv("ISAACGYM_STANDIN", "deaf")
    monkeypatch.setenv(
        "PHYSHMR_ISAACGYM_PYTHON", str(standin_python(tmp_path))
    )  # whose parent is the process that is killed
    fork, (ours, theirs) = multiprocessing.get_context("fork"), multiprocessing.Pipe()
    parent = fork.Process(target=simulate_until_killed, args=(theirs,))
    parent.start()
    theirs.close()  # so that `recv` raises an error if the parent fails
    try:
        idle, hanging = ours.recv(), ours.recv()
        time.sleep(0.5)  # into the step, and past the end of the thread
        assert alive(idle) and alive(hanging)
    finally:
        parent.kill()
        parent.join()
    assert gone(idle) and gone(hanging)


# The worker's file


def test_the_worker_is_python_3_8_and_does_not_import_the_kit():
    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported == {"ctypes", "json", "signal", "socket", "sys", "traceback", "isaacgym", "numpy", "torch"}
    order = [n.lineno for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    lines = WORKER.read_text().splitlines()
    inner = [lines[k - 1].split()[1] for k in sorted(order) if lines[k - 1].startswith(" ")]
    assert inner[:4] == ["isaacgym", "isaacgym", "numpy", "torch"], "torch comes after isaacgym"
    assert set(inner[4:]) == {"isaacgym"}, "by then it is imported"


def test_the_worker_needs_no_library_newer_than_python_3_8():
    vermin = pytest.importorskip("vermin")
    assert vermin.detect("import tomllib")[1] == (3, 11), "vermin knows the standard library"
    assert vermin.detect(WORKER.read_text())[1] <= (3, 8)


# The asset


@pytest.fixture(scope="module")
def bits():
    return filter_bits(BODY_NAMES, excluded_pairs(Humanoid.mean()))


def test_filter_bits_keep_exactly_the_excluded_pairs_apart(bits):
    pairs = excluded_pairs(Humanoid.mean())
    assert len(pairs) > 50
    for a, b in itertools.combinations(BODY_NAMES, 2):
        assert bool(bits[a] & bits[b]) == (frozenset((a, b)) in pairs), (a, b)
    assert all(0 <= b < 1 << 31 for b in bits.values())


def test_filter_bits_represent_any_graph_or_are_refused():
    names = tuple("abcdefghijkl")
    for seed in range(5):
        draw = torch.rand(66, generator=torch.Generator().manual_seed(seed)) < 0.4
        pairs = {frozenset(p) for p, take in zip(itertools.combinations(names, 2), draw, strict=True) if take}
        found = filter_bits(names, pairs)
        assert {frozenset(p) for p in itertools.combinations(names, 2) if found[p[0]] & found[p[1]]} == pairs
    two_sides = {frozenset((a, b)) for a in names[:6] for b in names[6:]}  # no triangle: a bit for each of 36 pairs
    with pytest.raises(KitError, match="more than 31 collision filter bits"):
        filter_bits(names, two_sides)


def test_the_asset_has_the_masses_and_inertias_of_our_own_humanoid():
    ours = mujoco.MjModel.from_xml_string(Humanoid.mean().mjcf())
    sent = mujoco.MjModel.from_xml_string(isaac_mjcf(Humanoid.mean()))
    for name in BODY_NAMES:
        a, b = ours.body(name), sent.body(name)
        for field in ("mass", "inertia", "ipos", "pos"):
            torch.testing.assert_close(
                torch.tensor(getattr(a, field)), torch.tensor(getattr(b, field)), atol=1e-7, rtol=1e-4
            )
    assert sent.nsensor == 0 and sent.nexclude == 0 and sent.ngeom == 24 and sent.nu == 69
    assert [sent.joint(k).name for k in range(1, sent.njnt)] != list(DRIVE_NAMES), "depth first"
    assert sorted(sent.joint(k).name for k in range(1, sent.njnt)) == sorted(DRIVE_NAMES)


def test_the_exported_limits_contain_all_legal_poses():
    vectors = joints.hinges_to_vectors(legal_poses(500))
    low, high = exp_map_limits().double().unbind(-1)
    assert (vectors > low - 0.05).all() and (vectors < high + 0.05).all()
    assert (high - low < 2 * math.pi - 0.1).any(), "and they do limit"


# Joint conversion


def test_hinges_survive_conversion_to_rotation_vectors_and_back():
    dof = legal_poses(50)
    vectors = joints.hinges_to_vectors(dof)
    again = joints.vectors_to_hinges(vectors)
    torch.testing.assert_close(again, dof, atol=1e-6, rtol=0)


def test_joint_velocities_are_angular_velocities_in_the_child_frame():
    dof, step = legal_poses(20, 1), 1e-6
    speed = torch.randn(20, 69, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before, after = dof_to_rotation(dof - step * speed), dof_to_rotation(dof + step * speed)
    turned = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(before), after)) / (2 * step)
    velocity = joints.hinge_to_joint_velocity(dof, speed)
    torch.testing.assert_close(velocity, turned.flatten(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joints.joint_to_hinge_velocity(dof, velocity), speed, atol=1e-6, rtol=1e-6)


def test_torques_have_the_same_power_in_both_representations():
    dof = legal_poses(20, 3)
    speed, torque = torch.randn(2, 20, 69, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    work = (torque * joints.hinge_to_joint_velocity(dof, speed)).sum(1)
    torch.testing.assert_close((joints.joint_to_hinge_torque(dof, torque) * speed).sum(1), work)


def test_velocities_are_finite_at_gimbal_lock():
    dof = torch.zeros(1, 69, dtype=torch.float64)
    dof[:, 1::3] = math.pi / 2
    assert torch.isfinite(joints.joint_to_hinge_velocity(dof, torch.ones_like(dof))).all()
