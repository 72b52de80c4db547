"""What a policy that imitates remembers."""

from __future__ import annotations

import torch

from physhmr_kit.learning.memory import Memory


def pairs(*values: float) -> tuple[torch.Tensor, torch.Tensor]:
    column = torch.tensor(values).half()[:, None]
    return column.expand(-1, 3).clone(), column.expand(-1, 69).clone()


def test_the_oldest_pairs_make_room_for_new_ones():
    memory = Memory(4, 3, torch.device("cpu"))
    memory.add(*pairs(1, 2, 3))
    memory.add(*pairs(4, 5))
    assert sorted(memory.seen[:, 0].tolist()) == [2, 3, 4, 5]
    assert torch.equal(memory.seen[:, 0], memory.done[:, 0])
    assert memory.count == 5


def test_of_more_pairs_than_fit_the_last_ones_stay():
    memory = Memory(4, 3, torch.device("cpu"))
    memory.add(*pairs(*range(11)))
    assert sorted(memory.seen[:, 0].tolist()) == [7, 8, 9, 10]


def test_only_what_was_put_in_is_drawn():
    memory = Memory(100, 3, torch.device("cpu"))
    memory.add(*pairs(7, 8))
    seen, done = memory.draw(50, torch.Generator().manual_seed(0))
    assert set(seen[:, 0].tolist()) == {7.0, 8.0} and seen.dtype == torch.float32
    assert torch.equal(seen[:, 0], done[:, 0])
