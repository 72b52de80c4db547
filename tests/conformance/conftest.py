"""The backends every test of this folder is run on. A new simulator joins by adding its name here."""

import pytest

from physhmr_kit.simulation import make_simulator

BACKENDS = ("mujoco_cpu",)


@pytest.fixture(params=BACKENDS)
def build(request):
    """Makes simulators of one backend: build(num_envs, **options)."""
    made = []

    def make(num_envs: int = 1, **options):
        made.append(make_simulator(request.param, num_envs=num_envs, **options))
        return made[-1]

    yield make
    for simulator in made:
        simulator.close()
