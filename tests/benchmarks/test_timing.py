"""The benchmarks' recorder assembles control steps from calls of the simulation engine."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import environment


class Pool:
    """A fake Rollout that adds one to every state."""

    def rollout(self, models, scratch, physics, control, *, nstep, state, **options):
        state[:, -1] = physics + 1

    def close(self):
        return "closed"


def call(recorder, physics, **options):
    state = np.zeros((len(physics), 4, 2))
    recorder.rollout(None, None, physics, physics[:, None], nstep=4, state=state, **options)
    physics[:] = state[:, -1]


def test_a_step_split_over_several_calls_is_reassembled():
    recorder = environment.Recorder(Pool())
    assert recorder.close() == "closed"
    physics = np.arange(8.0).reshape(4, 2)
    begin = physics.copy()
    for _ in range(2):
        call(recorder, physics[:1])
        call(recorder, physics[1:])
    first, second = recorder.steps(4)
    np.testing.assert_array_equal(first[0], begin)  # a copy, not the array that has changed since
    np.testing.assert_array_equal(first[1], begin[:, None])
    np.testing.assert_array_equal(second[0], begin + 1)
    np.testing.assert_array_equal(second[4], begin + 2)
    assert first[2] == 4 and first[3] is None


def test_warm_starts_are_recorded_and_partial_steps_are_refused():
    recorder = environment.Recorder(Pool())
    physics = np.zeros((2, 2))
    call(recorder, physics, initial_warmstart=np.ones((2, 3)))
    assert recorder.steps(2)[0][3].shape == (2, 3)
    with pytest.raises(SystemExit, match="whole control steps"):
        recorder.steps(3)
    recorder.start()
    assert recorder.steps(2) == []
