"""What has been seen and what is to be done there, for a policy that imitates."""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import NUM_DOFS


class Memory:
    """The last pairs of what was seen and what is to be done there, half precision, written round and round.

    Args:
        size: pairs. width: of what is seen.
    """

    def __init__(self, size: int, width: int, device: torch.device):
        self.seen = torch.zeros(size, width, dtype=torch.half, device=device)
        self.done = torch.zeros(size, NUM_DOFS, dtype=torch.half, device=device)
        self.count = 0
        """Pairs ever put in."""

    def add(self, seen: torch.Tensor, done: torch.Tensor) -> None:
        """Put pairs (P, width), (P, 69) in place of the oldest; of more than fit, the last ones."""
        fit = min(len(seen), len(self.seen))  # else places would be written twice, in no certain order
        self.count += len(seen)
        rows = (self.count - fit + torch.arange(fit, device=self.seen.device)) % len(self.seen)
        self.seen[rows], self.done[rows] = seen[len(seen) - fit :], done[len(done) - fit :]

    def draw(self, number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Any pairs: (number, width), (number, 69) in single precision."""
        known = min(self.count, len(self.seen))
        rows = torch.randint(known, (number,), generator=generator, device=self.seen.device)
        return self.seen[rows].float(), self.done[rows].float()

    def state_dict(self) -> dict:
        """For a checkpoint."""
        return {"seen": self.seen, "done": self.done, "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        """Take up a `state_dict`."""
        self.seen.copy_(state["seen"])
        self.done.copy_(state["done"])
        self.count = state["count"]
