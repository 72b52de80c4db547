"""Which clip, and where in it, an episode begins: reference-state initialisation with attention to failures."""

from __future__ import annotations

import torch


class StartSampler:
    """Draws (clip, frame) starts: clips equally and by how often they fail, never by length; frames uniformly.

    Half of the draws (`hard_share`) go to clips in proportion to their running failure rate, the rest to all clips
    alike. Drawn by frame count instead, a long clip would crowd out the short ones.

    Args:
        lengths: (C,) frames of each clip at 30 fps.
        hard_share: share of draws that follow the failure rate.
        memory: weight of the past in the running failure rate.
    """

    def __init__(self, lengths: torch.Tensor, hard_share: float = 0.5, memory: float = 0.98):
        self.lengths, self.hard_share, self.memory = lengths, hard_share, memory
        self.failure = torch.full((len(lengths),), 0.5, device=lengths.device)

    @property
    def clip_weights(self) -> torch.Tensor:
        """(C,) probability of each clip."""
        hard = self.failure / self.failure.sum().clamp(min=1e-6)
        return self.hard_share * hard + (1 - self.hard_share) / len(self.failure)

    def draw(
        self, count: int, generator: torch.Generator, clips: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` starts: clip ids (drawn unless given) and frame ids, (count,) each, at least one frame before the end."""
        if clips is None:
            clips = torch.multinomial(self.clip_weights, count, replacement=True, generator=generator)
        share = torch.rand(count, generator=generator, device=self.lengths.device)
        return clips, (share * (self.lengths[clips] - 1)).long()

    def report(self, clip_ids: torch.Tensor, failed: torch.Tensor) -> None:
        """Episodes that ended: their clips (K,) and whether they failed (K,) bool."""
        ended = torch.bincount(clip_ids, minlength=len(self.failure)).float()
        fell = torch.bincount(clip_ids, weights=failed.float(), minlength=len(self.failure)).float()
        # as if the episodes had ended one after the other, each failed by this rate; where none ended nothing changes
        self.failure = self.failure.lerp(fell / ended.clamp(min=1), 1 - self.memory**ended)

    def forget(self) -> None:
        """Back to knowing nothing: every clip fails half the time."""
        self.failure = torch.full_like(self.failure, 0.5)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The running failure rates."""
        return {"failure": self.failure.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take up saved failure rates."""
        self.failure = state["failure"].clone().to(self.lengths.device)
