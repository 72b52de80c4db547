"""A ring buffer of samples from earlier rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from physhmr_kit.utils.errors import KitError


class RingBuffer:
    """Named tensors with one row per sample; new rows overwrite the oldest.

    Args:
        capacity: number of rows.
        shapes: name -> shape of one row, e.g. {"obs": (924,), "action": (69,)}.
        device: of the rows.

    Raises:
        KitError: the capacity is below 1.
    """

    def __init__(self, capacity: int, shapes: Mapping[str, Sequence[int]], device: torch.device | str = "cpu"):
        if capacity < 1:
            raise KitError(f"a buffer of {capacity} samples; at least one must be kept")
        self.rows = {name: torch.zeros(capacity, *shape, device=device) for name, shape in shapes.items()}
        self.capacity, self.written = capacity, 0

    def __len__(self) -> int:
        """Number of rows written, at most `capacity`."""
        return min(self.written, self.capacity)

    def add(self, **samples: torch.Tensor) -> None:
        """Append (B, ...) rows of every name; if B exceeds the capacity, the last ones are kept."""
        count = len(next(iter(samples.values())))
        kept = min(count, self.capacity)
        self.written += count
        for name, rows in self.rows.items():
            at = (self.written - kept + torch.arange(kept, device=rows.device)) % self.capacity
            rows[at] = samples[name][count - kept :]

    def sample(self, count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw `count` rows uniformly with replacement: name -> (count, ...)."""
        device = next(iter(self.rows.values())).device
        at = torch.randint(len(self), (count,), generator=generator, device=device)
        return {name: rows.index_select(0, at) for name, rows in self.rows.items()}

    def state_dict(self) -> dict:
        """The contents, for a checkpoint."""
        return {"written": self.written, "rows": {name: rows[: len(self)].clone() for name, rows in self.rows.items()}}

    def load_state_dict(self, state: dict) -> None:
        """Restore a `state_dict`.

        Raises:
            KitError: it is from a buffer of another size.
        """
        held = min(state["written"], self.capacity)
        for name, rows in self.rows.items():
            saved = state["rows"].get(name)
            if saved is None or saved.shape != (held, *rows.shape[1:]):
                raise KitError("the saved sample buffer has another size; resume with the settings of the run")
        self.written = state["written"]
        for name, rows in self.rows.items():
            rows[:held] = state["rows"][name]
