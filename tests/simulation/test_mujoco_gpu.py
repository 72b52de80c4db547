"""What only mujoco_gpu has: zero-copy views, one graph per step, buffers that can overflow. Without a GPU it runs on Warp's CPU
device. The conformance suite covers the rest."""

import sys
from dataclasses import fields

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation import SimState, make_simulator
from physhmr_kit.utils.errors import KitError

wp = pytest.importorskip("warp", reason="mujoco_warp is not installed: pip install -e '.[gpu]'")
pytest.importorskip("mujoco_warp", reason="mujoco_warp is not installed: pip install -e '.[gpu]'")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="equal bits are promised on Warp's CPU device only")
on_cuda = pytest.mark.skipif(DEVICE != "cuda", reason="there is no CUDA device")


@pytest.fixture(scope="module")
def idle():
    """Simulators that no test uses at the moment, with their initial state, by arguments: a start takes half a second."""
    return {}


@pytest.fixture
def make(idle):
    """Gives simulators in their initial state: make(num_envs, **options)."""
    taken = []

    def give(num_envs: int, **options):
        waiting = idle.setdefault((num_envs, *options.items()), [])
        if waiting:
            simulator, initial = waiting.pop()
        else:
            simulator = make_simulator("mujoco_gpu", num_envs=num_envs, device=DEVICE, **options)
            initial = simulator.save()
        taken.append((waiting, simulator, initial))
        return simulator

    yield give
    for waiting, simulator, initial in taken:
        simulator.restore(initial)
        waiting.append((simulator, initial))


def bodies(heights, velocity=(0.0, 0.0, 0.0), device=DEVICE) -> BodyState:
    """One standing body for each height (m) of its soles above the floor."""
    count = len(heights)
    rows = lambda v: torch.tensor(v).expand(count, -1)  # noqa: E731
    root = torch.tensor([[0.0, 0.0, standing_height() + h] for h in heights])
    still = torch.zeros(count, 69)
    return hinge_kinematics(
        root, rows(STANDING), rows(velocity), torch.zeros(count, 3), still, still, Humanoid.mean().offsets
    ).to(device)


def put(simulator, state: BodyState) -> None:
    simulator.reset(torch.arange(len(state), device=simulator.device), state)


def swing(step: int, count: int, device=DEVICE) -> torch.Tensor:
    """(count, 69) targets of a smooth motion of all hinges, rad."""
    return (0.2 * torch.sin(6 * torch.linspace(0, 1, 69) + 0.3 * step)).expand(count, 69).to(device)


def same_bits(a: SimState, b: SimState, rows=slice(None)) -> bool:
    return all(torch.equal(getattr(a, f.name)[rows], getattr(b, f.name)[rows]) for f in fields(SimState))


@pytest.mark.parametrize("heights", [(20.0, 20.0), (0.03, -0.004)], ids=["in the air", "on the floor"])
def test_ten_steps_agree_with_mujoco_on_the_cpu(make, heights):
    """Float32 against float64. Measured: 2e-6 m, 1e-5 rad/s, 0.01 N of 700 N, 4e-4 N m of 80 N m; not from a height of
    exactly 0, where rounding decides whether the soles touch."""
    one, other = make_simulator("mujoco_cpu", num_envs=2), make(2)
    put(one, bodies(heights, device="cpu"))
    put(other, bodies(heights))
    for k in range(10):
        a, b = one.step(swing(k, 2, "cpu")), other.step(swing(k, 2)).to("cpu")
    close = lambda name, atol: torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-4)  # noqa: E731
    for name, atol in {"body_pos": 2e-5, "body_rot": 2e-5, "body_lin_vel": 2e-4, "body_ang_vel": 5e-4}.items():
        close(name, atol)
    for name, atol in {"dof_pos": 2e-5, "dof_vel": 2e-4, "contact_force": 0.5, "dof_torque": 0.05}.items():
        close(name, atol)
    assert (a.contact_force[:, :, 2].sum(1) > 0).any() == (min(heights) < 1)


def test_targets_are_limited_as_by_the_humanoid(make):
    """The kernel is equivalent to `Humanoid.limit_targets`."""
    simulator = make(2)
    start = bodies((20.0, 20.0))
    put(simulator, start)
    for k in range(3):
        before = simulator.step(swing(k, 2))
    wild = torch.linspace(-3, 3, 2 * 69, device=DEVICE).view(2, 69)
    simulator.step(wild)
    held = wp.to_torch(simulator._d.ctrl)[:, simulator._dof_ctrl]
    expected = simulator.humanoid.limit_targets(wild, before.dof_pos, before.dof_vel)
    torch.testing.assert_close(held, expected, atol=1e-6, rtol=1e-5)
    assert (held != wild).any() and (held == wild).any()


def test_torch_shares_memory_with_warp(make):
    simulator = make(2)
    assert simulator.qpos.data_ptr() == simulator._d.qpos.ptr and simulator.qvel.data_ptr() == simulator._d.qvel.ptr
    simulator.qpos[1, 2] = 7.5
    assert simulator._d.qpos.numpy()[1, 2] == 7.5
    simulator.step(torch.zeros(2, 69, device=DEVICE))
    assert simulator.qpos.data_ptr() == simulator._d.qpos.ptr, "the graph holds this address"
    assert 7 < simulator.qpos[1, 2] < 7.5, "it falls from the height set in torch"


@on_cpu
def test_the_graph_computes_the_same_as_single_launches(make):
    recorded, launched = make(2), make(2)
    for s in (recorded, launched):
        put(s, bodies((0.0, 0.05)))
    for k in range(4):
        state = recorded.step(swing(k, 2))
        launched._targets.copy_(swing(k, 2))
        launched._physics()
        assert same_bits(state, launched._read())


@on_cpu
def test_a_reset_clears_all_state(make):
    """Warm start of the solver, time, NaN: afterwards it is equivalent to a new simulator."""
    used, new = make(3), make(3)
    put(used, bodies((0.0, 0.0, 0.0), velocity=(1.0, 0.0, 0.0)))
    put(new, bodies((-0.002, -0.002, -0.002)))  # in contact at once: only then does the solver look at its warm start
    for k in range(3):
        used.step(3 * swing(k, 3))
    used.qpos[1] = torch.nan
    used.step(swing(0, 3))
    used.reset(torch.tensor([1, 2]), bodies((-0.002, -0.002)))
    for k in range(4):
        a, b = used.step(swing(k, 3)), new.step(swing(k, 3))
        assert same_bits(a, b, [1, 2])
    assert not same_bits(a, b, [0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_divergence_does_not_affect_other_worlds(make, bad):
    broken, sound = make(3), make(3)
    for s in (broken, sound):
        put(s, bodies((0.0, 0.0, 0.0)))
        s.step(swing(0, 3))
    broken.qpos[1, 20] = bad
    broken.qvel[1, 20] = bad
    for k in range(3):
        a, b = broken.step(swing(k, 3)), sound.step(swing(k, 3))
        assert a.diverged.tolist() == [False, True, False]
    if broken.deterministic:
        assert same_bits(a, b, [0, 2])
    torch.testing.assert_close(a.body_pos[[0, 2]], b.body_pos[[0, 2]], atol=1e-4, rtol=0)
    assert broken.counters() == {"overflowed": 0}


def test_too_few_constraint_rows_are_counted_per_world(make, capfd):
    """A standing body has 16 contacts, of four rows each."""
    simulator = make(3, njmax=32)
    assert simulator.counters() == {"overflowed": 0}
    put(simulator, bodies((-0.002, 20.0, -0.002)))
    simulator.step(torch.zeros(3, 69, device=DEVICE))
    assert simulator.counters() == {"overflowed": 2}
    saved = simulator.save()
    simulator.step(torch.zeros(3, 69, device=DEVICE))
    assert simulator.counters() == {"overflowed": 4}
    simulator.restore(saved)
    assert simulator.counters() == {"overflowed": 2}
    assert "overflow" not in capfd.readouterr().out, "the engine does not print in every step"


def test_the_default_sizes_do_not_overflow(make):
    simulator = make(2)
    put(simulator, bodies((-0.002, 0.5), velocity=(2.0, 0.0, 0.0)))
    for k in range(15):
        simulator.step(3 * swing(k, 2))
    assert simulator.counters() == {"overflowed": 0}


@on_cpu
def test_the_pool_of_contacts_is_shared_and_an_overflow_counts_for_all_worlds(make):
    """Two bodies need 32 contacts and have 16: the first takes them all, the second sinks, and both are counted."""
    simulator = make(2, nconmax=8)
    put(simulator, bodies((-0.002, -0.002)))
    state = simulator.step(torch.zeros(2, 69))
    load = state.contact_force[:, :, 2].sum(1)
    assert load[0] > 300 and load[1] == 0
    assert simulator.counters() == {"overflowed": 2}

    alone = make(2, nconmax=8)
    put(alone, bodies((-0.002, 20.0)))
    assert alone.step(torch.zeros(2, 69)).contact_force[0, :, 2].sum() > 300, "one may use more than its share"
    assert alone.counters() == {"overflowed": 0}


class NoWaiting(TorchDispatchMode):
    """Raises on operations that synchronise with a device or copy a tensor to it."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.REFUSED, f"{name} in a step"
        if name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            raise AssertionError("a boolean index in a step")
        if name == "lift_fresh" and args[0].ndim:  # without dimensions: a number to fill with, which needs no copy
            raise AssertionError("a tensor made of Python numbers in a step")
        return func(*args, **(kwargs or {}))


def test_step_and_reset_do_not_synchronise(make):
    simulator = make(3)
    rows, state, targets = torch.tensor([2, 0], device=DEVICE), bodies((0.0, 0.1)), swing(0, 3)
    simulator.reset(rows, state)
    simulator.step(targets)  # what is cached by now may have been made in Python
    with NoWaiting():
        simulator.reset(rows, state)
        simulator.step(targets)
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            float(simulator.state.body_pos[0, 0, 0])
        with pytest.raises(AssertionError, match="Python numbers"):
            torch.tensor([1.0, 2.0])
        with pytest.raises(AssertionError, match="boolean index"):
            simulator.state.body_pos[simulator.state.diverged]


@on_cuda
def test_cuda_detects_no_synchronisation(make):
    simulator = make(3)
    rows, state, targets = torch.tensor([2, 0], device=DEVICE), bodies((0.0, 0.1)), swing(0, 3)
    simulator.reset(rows, state)
    simulator.step(targets)
    torch.cuda.set_sync_debug_mode("error")
    try:
        simulator.reset(rows, state)
        simulator.step(targets)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_cuda
def test_a_step_is_ordered_with_torchs_current_stream(make):
    """The step uses targets written late on a side stream, and its results are read after it."""
    simulator, reference = make(64), make(64)
    for s in (simulator, reference):
        put(s, bodies((20.0,) * 64))
    expected = reference.step(swing(0, 64)).dof_pos
    targets = torch.zeros(64, 69, device=DEVICE)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        targets.copy_(swing(0, 64))
        moved = simulator.step(targets).dof_pos.clone()
    torch.cuda.synchronize()
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(sys.platform == "darwin", reason="Warp has no CUDA compiler on macOS")
def test_the_kits_own_kernels_compile_for_cuda(make, tmp_path):
    """Needs no GPU: Warp includes NVIDIA's run-time compiler."""
    make(2)  # loads them
    wp.compile_aot_module(
        sys.modules["physhmr_kit.simulation.warp_kernels"], arch=75, module_dir=tmp_path, use_ptx=True
    )
    ptx = next(tmp_path.glob("*.ptx")).read_text()
    for kernel in ("hold_targets", "add_contacts", "check_worlds"):
        assert f".entry {kernel}" in ptx


def test_without_a_cuda_device_the_error_names_the_alternative(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KitError, match="no CUDA device; use --simulator mujoco_cpu"):
        make_simulator("mujoco_gpu")
    with pytest.raises(KitError, match="computes on a CUDA device, not on 'mps'"):
        make_simulator("mujoco_gpu", device="mps")


@pytest.mark.parametrize("package", ["warp", "mujoco_warp"])
def test_without_the_package_the_error_says_how_to_install_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "physhmr_kit.simulation.mujoco_gpu", raising=False)
    with pytest.raises(KitError, match=rf"{package}.*pip install -e '\.\[gpu\]'"):
        make_simulator("mujoco_gpu", device="cpu")
