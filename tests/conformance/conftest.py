"""Runs every test of this folder on all backends (see tests/backends.py)."""

import pytest
from backends import BACKENDS, make_backend, use_standin


@pytest.fixture(scope="session")
def idle():
    """Simulators that no test uses at the moment, by backend and arguments: a reset is much cheaper than a start."""
    waiting = {}
    yield waiting
    for simulator in (s for those in waiting.values() for s in those):
        simulator.close()


@pytest.fixture(params=BACKENDS)
def build(request, idle, monkeypatch, tmp_path):
    """Returns simulators of one backend in any state: build(num_envs, **options). `build.fresh` makes a new one."""
    taken, made = [], []
    if request.param == "isaac_gym":
        use_standin(monkeypatch, tmp_path)

    def fresh(num_envs: int = 1, **options):
        made.append(make_backend(request.param, num_envs, **options))
        return made[-1]

    def give(num_envs: int = 1, **options):
        waiting = idle.setdefault((request.param, num_envs, *options.items()), [])
        simulator = waiting.pop() if waiting else make_backend(request.param, num_envs, **options)
        taken.append((waiting, simulator))
        return simulator

    give.backend, give.fresh = request.param, fresh
    yield give
    for waiting, simulator in taken:
        waiting.append(simulator)
    for simulator in made:
        simulator.close()
