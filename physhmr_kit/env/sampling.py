"""Reference-state initialisation: draws the clip and frame at which an episode starts, more often where it failed before."""

from __future__ import annotations

import torch

MOMENT = 15
"""Frames per bin of the failure statistics within a clip, half a second."""

_LEAD = (5, 35)  # frames between a start and the failure it aims at


class StartSampler:
    """Draws (clip, frame) starts. Clips are weighted by their failures, never by their length.

    With probability `failure_weighted_prob` a clip is drawn in proportion to its running failure rate, else uniformly.
    Frames are uniform, except that with probability `pre_failure_prob` an episode starts shortly before a moment at which
    the clip was recently lost, and with probability `first_frame_prob` at the first frame, where evaluations start:
    otherwise it would hardly ever be drawn.

    Args:
        lengths: (C,) frames of each clip at 30 fps.
        failure_weighted_prob, pre_failure_prob, first_frame_prob: see above.
        memory: decay of the running failure rate per episode.
        longest: frames of the longest clip; avoids a device synchronisation if known.
    """

    def __init__(
        self,
        lengths: torch.Tensor,
        failure_weighted_prob: float = 0.5,
        pre_failure_prob: float = 0.0,
        first_frame_prob: float = 0.0,
        memory: float = 0.98,
        longest: int | None = None,
    ):
        self.longest = int(lengths.max()) if longest is None else longest
        self.lengths, self.memory = lengths, memory
        self.failure_weighted_prob, self.pre_failure_prob = failure_weighted_prob, pre_failure_prob
        self.first_frame_prob = first_frame_prob
        self.forget()

    def forget(self) -> None:
        """Reset the failure statistics: every clip fails half the time, at no particular moment."""
        clips, moments = len(self.lengths), -(-self.longest // MOMENT)
        self.failure = torch.full((clips,), 0.5, device=self.lengths.device)
        """(C,) running failure rate of each clip's episodes."""
        self.moments = torch.zeros(clips, moments, device=self.lengths.device)
        """(C, M) the same rate per half second of the clip."""

    @property
    def clip_weights(self) -> torch.Tensor:
        """(C,) probability of each clip."""
        hard = self.failure / self.failure.sum().clamp(min=1e-6)
        return self.failure_weighted_prob * hard + (1 - self.failure_weighted_prob) / len(self.failure)

    def draw(
        self, count: int, generator: torch.Generator, clips: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Clip ids (drawn unless given) and frame ids of `count` starts, (count,) each, at least one frame before the end."""
        if clips is None:
            clips = torch.multinomial(self.clip_weights, count, replacement=True, generator=generator)
        uniform = lambda: torch.rand(count, generator=generator, device=self.lengths.device)  # noqa: E731
        last = self.lengths[clips] - 1
        frames = (uniform() * last).long()
        if self.pre_failure_prob:
            frames = self._before_failures(clips, frames, last, generator)
        if self.first_frame_prob:
            frames = frames.masked_fill(uniform() < self.first_frame_prob, 0)
        return clips, frames

    def _before_failures(
        self, clips: torch.Tensor, frames: torch.Tensor, last: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Replace some of `frames` (K,) by frames shortly before failures of their clips (K,); `last` (K,) are the last frames."""
        uniform = lambda: torch.rand(len(clips), generator=generator, device=self.lengths.device)  # noqa: E731
        rates = self.moments[clips]
        known = rates.sum(1) > 0
        # any moment will do for a clip that was never lost: it is not used
        moment = torch.multinomial(rates + (~known).float()[:, None], 1, generator=generator).squeeze(1)
        lead = _LEAD[0] + uniform() * (_LEAD[1] - _LEAD[0])
        before = (MOMENT * (moment + uniform()) - lead).long().clamp(min=0).minimum(last - 1)
        return torch.where(known & (uniform() < self.pre_failure_prob), before, frames)

    def report(self, clip_ids: torch.Tensor, frames: torch.Tensor, failed: torch.Tensor) -> None:
        """Update the statistics with episodes that ended: clips (K,), frames reached (K,) and failures (K,) bool."""
        # only rows of clips that ended: a library may have 11,000 clips, and this runs at every control step
        clips, which = clip_ids.unique(return_inverse=True)
        ended = torch.bincount(which).float()
        moments = self.moments.shape[1]
        cell = which * moments + (frames // MOMENT).clamp(max=moments - 1)
        fell = torch.bincount(cell, weights=failed.float(), minlength=len(clips) * moments).float().view(-1, moments)
        # same as updating once per episode, each with the mean failure rate
        rate, news = fell / ended[:, None], 1 - self.memory**ended
        self.failure[clips] = self.failure[clips].lerp(rate.sum(1), news)
        self.moments[clips] = self.moments[clips].lerp(rate, news[:, None])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The running failure rates."""
        return {"failure": self.failure.clone(), "moments": self.moments.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore a `state_dict`."""
        self.failure = state["failure"].clone().to(self.lengths.device)
        self.moments = state["moments"].clone().to(self.lengths.device)
