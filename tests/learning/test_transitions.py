"""What is kept of the simulator's doings: windows lie within episodes and hold what really followed."""

import pytest
import torch

from physhmr_kit.learning.transitions import TransitionMemory
from physhmr_kit.utils.errors import KitError

STEPS, BODIES = 5, 3


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def fill(memory: TransitionMemory, rollout: int, going_on: torch.Tensor) -> None:
    """As `collect` does, with states that say where they come from: 100 x rollout + 10 x step + body."""
    place = memory.count % memory.rollouts
    for t in range(STEPS + 1):
        for n in range(BODIES):
            memory.states[place, t, n] = 100 * rollout + 10 * t + n
            if t < STEPS:
                memory.targets[place, t, n] = 100 * rollout + 10 * t + n
                memory.clip[place, t, n], memory.frame[place, t, n] = n, 10 * rollout + t
    memory._count_left(place, going_on)
    memory.count += 1


@pytest.fixture
def memory() -> TransitionMemory:
    memory = TransitionMemory(2, STEPS, BODIES)
    going_on = torch.ones(STEPS, BODIES, dtype=torch.bool)
    going_on[2, 1] = False  # body 1's episode ends with its third step
    for rollout in range(3):  # one more than are kept
        fill(memory, rollout, going_on)
    return memory


def test_steps_left_are_counted_up_to_the_end_of_an_episode_or_a_rollout(memory):
    assert memory.left[0, :, 0].tolist() == [5, 4, 3, 2, 1]
    assert memory.left[0, :, 1].tolist() == [2, 1, 0, 2, 1]


def test_whole_windows_follow_one_body_and_never_cross_an_end(memory):
    happened = memory.whole(400, 3, draw())
    assert happened.states.shape == (4, 151, 400) and happened.targets.shape == happened.noise.shape == (3, 400, 69)
    begin = happened.states[0, 0]
    for k in range(3):
        assert torch.equal(happened.states[k + 1, 0], begin + 10 * (k + 1))
        assert torch.equal(happened.targets[k, :, 0], begin + 10 * k)
    assert not (begin % 10 == 1).any()  # body 1 never goes on for three steps
    assert set((begin // 100).tolist()) == {1.0, 2.0}  # the oldest rollout is gone
    assert (happened.left == 3).all()


def test_windows_are_shorter_where_no_episode_lasted_so_long(memory):
    assert len(memory.whole(4, 50, draw()).targets) == STEPS
    memory.left.zero_()
    with pytest.raises(KitError, match="first step"):
        memory.whole(4, 2, draw())


def test_the_latest_windows_say_how_many_of_their_steps_count(memory):
    happened = memory.latest(400, 4, 1, draw())
    begin = happened.states[0, 0]
    rollout, step, body = begin // 100, begin % 100 // 10, begin % 10
    assert set(rollout.tolist()) == {2.0} and set(step.tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert torch.equal(happened.clip.float(), body) and torch.equal(happened.frame.float(), 10 * rollout + step)
    for n in range(400):
        left = int(happened.left[n])
        assert left == min(
            4, int(memory.left[0, int(step[n]), int(body[n])])
        )  # the third rollout lies in the first place
        assert happened.states[: left + 1, 0, n].tolist() == [float(begin[n]) + 10 * k for k in range(left + 1)]
    assert set(memory.latest(400, 4, 7, draw()).states[0, 0].div(100).long().tolist()) == {1, 2}


def test_a_saved_memory_goes_on(memory):
    other = TransitionMemory(2, STEPS, BODIES)
    other.load_state_dict(memory.state_dict())
    assert other.count == 3 and torch.equal(other.states, memory.states)
    assert torch.equal(memory.latest(20, 2, 2, draw()).states, other.latest(20, 2, 2, draw()).states)
    with pytest.raises(KitError, match="size"):
        TransitionMemory(2, STEPS + 1, BODIES).load_state_dict(memory.state_dict())
    with pytest.raises(KitError, match="at least one"):
        TransitionMemory(0, STEPS, BODIES)
