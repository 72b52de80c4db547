"""What is kept of the simulator's doings: windows lie within episodes and hold what really followed."""

import pytest
import torch

from physhmr_kit.errors import KitError
from physhmr_kit.learning.transitions import TransitionMemory

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


def test_windows_follow_one_body_and_never_cross_an_end(memory):
    first, targets, after = memory.windows(400, 3, draw())
    assert first.shape == (151, 400) and targets.shape == (3, 400, 69) and after.shape == (3, 151, 400)
    begin = first[0]
    for k in range(3):
        assert torch.equal(after[k, 0], begin + 10 * (k + 1))
        assert torch.equal(targets[k, :, 0], begin + 10 * k)
    assert not (begin % 10 == 1).any()  # body 1 never goes on for three steps
    assert set((begin // 100).tolist()) == {1.0, 2.0}  # the oldest rollout is gone


def test_windows_are_shorter_where_no_episode_lasted_so_long(memory):
    assert len(memory.windows(4, 50, draw())[1]) == STEPS
    memory.left.zero_()
    with pytest.raises(KitError, match="first step"):
        memory.windows(4, 2, draw())


def test_starts_come_with_their_clip_and_frame(memory):
    states, clip, frame = memory.starts(300, draw())
    rollout, step, body = states[0] // 100, states[0] % 100 // 10, states[0] % 10
    assert torch.equal(clip.float(), body) and torch.equal(frame.float(), 10 * rollout + step)


def test_a_saved_memory_goes_on(memory):
    other = TransitionMemory(2, STEPS, BODIES)
    other.load_state_dict(memory.state_dict())
    assert other.count == 3 and torch.equal(other.states, memory.states)
    for a, b in zip(memory.windows(20, 2, draw()), other.windows(20, 2, draw()), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(KitError, match="size"):
        TransitionMemory(2, STEPS + 1, BODIES).load_state_dict(memory.state_dict())
    with pytest.raises(KitError, match="at least one"):
        TransitionMemory(0, STEPS, BODIES)
