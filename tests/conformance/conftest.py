"""The backends every test of this folder is run on (see tests/backends.py)."""

import pytest
from backends import BACKENDS, make_backend, use_standin


@pytest.fixture(params=BACKENDS)
def build(request, monkeypatch, tmp_path):
    """Makes simulators of one backend: build(num_envs, **options)."""
    made = []
    if request.param == "isaac_gym":
        use_standin(monkeypatch, tmp_path)

    def make(num_envs: int = 1, **options):
        made.append(make_backend(request.param, num_envs, **options))
        return made[-1]

    make.backend = request.param
    yield make
    for simulator in made:
        simulator.close()
