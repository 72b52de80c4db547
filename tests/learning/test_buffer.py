"""Ring buffer: it keeps the newest rows, draws all of them, and keeps the names together."""

import pytest
import torch

from physhmr_kit.learning.buffer import RingBuffer
from physhmr_kit.utils.errors import KitError


def rows(first: int, count: int) -> dict[str, torch.Tensor]:
    numbers = torch.arange(first, first + count).float()
    return {"obs": numbers[:, None].expand(count, 3), "label": -numbers}


def buffer(capacity: int = 5) -> RingBuffer:
    return RingBuffer(capacity, {"obs": (3,), "label": ()})


def held(ring: RingBuffer) -> set[int]:
    sample = ring.sample(400, torch.Generator().manual_seed(0))
    assert sample["obs"].shape == (400, 3) and torch.equal(sample["obs"][:, 0], -sample["label"])
    return set(sample["obs"][:, 0].int().tolist())


@pytest.mark.parametrize("parts, expected", [
    ((3,), {1, 2, 3}), ((3, 2), {1, 2, 3, 4, 5}), ((3, 4), {3, 4, 5, 6, 7}), ((8,), {4, 5, 6, 7, 8}), ((5, 5, 1), {7, 8, 9, 10, 11}),
])  # fmt: skip
def test_the_newest_rows_are_kept_and_all_of_them_drawn(parts, expected):
    ring, first = buffer(), 1
    for count in parts:
        ring.add(**rows(first, count))
        first += count
    assert held(ring) == expected and len(ring) == len(expected)


def test_a_buffer_survives_saving_and_loading():
    ring, other = buffer(), buffer()
    ring.add(**rows(1, 3))
    other.load_state_dict(ring.state_dict())
    for one in (ring, other):
        one.add(**rows(4, 4))
    assert held(other) == held(ring) == {3, 4, 5, 6, 7}
    saved = ring.state_dict()
    ring.add(**rows(20, 5))
    assert not (saved["rows"]["label"] == -20).any(), "the saved state is a copy"


def test_invalid_sizes_are_refused():
    saved = buffer()
    saved.add(**rows(1, 5))
    with pytest.raises(KitError, match="another size"):
        buffer(4).load_state_dict(saved.state_dict())
    with pytest.raises(KitError, match="another size"):
        RingBuffer(5, {"obs": (3,), "label": (2,)}).load_state_dict(saved.state_dict())
    with pytest.raises(KitError, match="at least one"):
        buffer(0)
