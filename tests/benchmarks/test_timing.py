"""The benchmarks' own bookkeeping: sections that add up, and control steps put together from the engine's calls."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import environment
import training


@pytest.fixture
def clock(monkeypatch):
    """Time stands still until it is told to go on."""
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_time_counts_for_the_innermost_section_alone(clock):
    class Work:
        def outer(self):
            clock(1)
            self.inner()
            clock(2)

        def inner(self):
            clock(4)

    work, sections = Work(), training.Sections()
    sections.wrap(work, "outer", "outer")
    sections.wrap(work, "inner", "inner", within="outer")
    work.outer()
    assert not sections.seconds  # no iteration is being timed
    sections.enter("whole")
    clock(8)
    work.outer()
    work.inner()  # outside `outer` it is part of the whole
    sections.leave()
    clock(16)
    assert sections.seconds == {"whole": 12, "outer": 3, "inner": 4}


def test_a_section_is_left_also_when_its_work_fails(clock):
    class Work:
        def fail(self):
            clock(1)
            raise ValueError

    work, sections = Work(), training.Sections()
    sections.wrap(work, "fail", "fail")
    sections.enter("whole")
    with pytest.raises(ValueError):
        work.fail()
    clock(2)
    sections.leave()
    assert sections.seconds == {"whole": 2, "fail": 1}


def test_shares_add_up_to_a_hundred():
    rows = training.shares({"a": 1.0, "b": 1.0, "c": 1.0})
    assert sum(rows.values()) == pytest.approx(100) and max(rows.values()) == pytest.approx(33.4)


class Pool:
    """A Rollout that ends where it began plus one."""

    def rollout(self, models, scratch, physics, control, *, nstep, state, **options):
        state[:, -1] = physics + 1

    def close(self):
        return "closed"


def call(recorder, physics, **options):
    state = np.zeros((len(physics), 4, 2))
    recorder.rollout(None, None, physics, physics[:, None], nstep=4, state=state, **options)
    physics[:] = state[:, -1]


def test_a_step_split_over_several_calls_is_put_together_again():
    recorder = environment.Recorder(Pool())
    assert recorder.close() == "closed"
    physics = np.arange(8.0).reshape(4, 2)
    begin = physics.copy()
    for _ in range(2):
        call(recorder, physics[:1])
        call(recorder, physics[1:])
    first, second = recorder.steps(4)
    np.testing.assert_array_equal(first[0], begin)  # what was handed over, not what the arrays hold by now
    np.testing.assert_array_equal(first[1], begin[:, None])
    np.testing.assert_array_equal(second[0], begin + 1)
    np.testing.assert_array_equal(second[4], begin + 2)
    assert first[2] == 4 and first[3] is None


def test_warm_starts_are_kept_and_half_a_step_is_refused():
    recorder = environment.Recorder(Pool())
    physics = np.zeros((2, 2))
    call(recorder, physics, initial_warmstart=np.ones((2, 3)))
    assert recorder.steps(2)[0][3].shape == (2, 3)
    with pytest.raises(SystemExit, match="whole control steps"):
        recorder.steps(3)
    recorder.start()
    assert recorder.steps(2) == []
