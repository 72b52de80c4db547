"""BodyState: selecting, replacing, packing and unpacking rows."""

from dataclasses import fields

import torch

from physhmr_kit.motion.state import BodyState, with_rows


def some_state(count: int = 4) -> BodyState:
    draw = torch.Generator().manual_seed(count)
    shapes = ((24, 3), (24, 4), (24, 3), (24, 3), (69,), (69,))
    return BodyState(*(torch.randn(count, *shape, generator=draw) for shape in shapes))


def same(a: BodyState, b: BodyState) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(BodyState))


def test_packing_round_trip():
    state = some_state()
    assert state.pack().shape == (4, 450) and same(BodyState.unpack(state.pack()), state)


def test_indexing_selects_rows_of_every_field():
    state = some_state()
    for rows in (torch.tensor([2, 0]), torch.tensor([True, False, False, True]), slice(1, 3)):
        chosen = state[rows]
        assert all(torch.equal(getattr(chosen, f.name), getattr(state, f.name)[rows]) for f in fields(BodyState))
    assert len(state[1:]) == 3


def test_with_rows_replaces_rows_in_a_copy():
    state, other, before = some_state(), some_state(2), some_state()
    mixed = state.with_rows(torch.tensor([3, 1]), other)
    assert same(mixed[torch.tensor([3, 1])], other) and same(mixed[torch.tensor([0, 2])], state[torch.tensor([0, 2])])
    assert same(state, before)
    x = torch.zeros(3, 2)
    assert with_rows(x, torch.tensor([1]), torch.ones(1, 2)).tolist() == [[0, 0], [1, 1], [0, 0]] and not x.any()


def test_the_root_is_body_zero():
    state = some_state()
    assert torch.equal(state.root_pos, state.body_pos[:, 0]) and torch.equal(state.root_rot, state.body_rot[:, 0])
