"""Which clip, and where in it, an episode begins: reference-state initialisation with attention to failures."""

from __future__ import annotations

import torch

MOMENT = 15
"""Frames of a moment: failures are remembered by half seconds of a clip."""

_LEAD = (5, 35)  # frames by which a start lies before the moment it aims at


class StartSampler:
    """Draws (clip, frame) starts: clips equally and by how often they fail, never by length.

    With probability `failure_weighted_prob` a clip is drawn in proportion to its running failure rate, else uniformly.
    Drawn by frame count instead, a long clip would crowd out the short ones. Frames are uniform, except that with probability
    `pre_failure_prob` an episode starts shortly before a moment at which the clip was recently lost, and with probability
    `first_frame_prob` where an evaluation does: among hundreds of frames the first is hardly ever drawn, and a body dropped
    into a swing that has just begun may need a step it never learned.

    Args:
        lengths: (C,) frames of each clip at 30 fps.
        failure_weighted_prob, pre_failure_prob, first_frame_prob: see above.
        longest: frames of the longest clip, where asking the device for it is to be avoided.
        memory: weight of the past in the running failure rate.
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
        """Back to knowing nothing: every clip fails half the time, at no moment in particular."""
        clips, moments = len(self.lengths), -(-self.longest // MOMENT)
        self.failure = torch.full((clips,), 0.5, device=self.lengths.device)
        """(C,) running failure rate of each clip's episodes."""
        self.moments = torch.zeros(clips, moments, device=self.lengths.device)
        """(C, M) the same rate by the half second in which the clip was lost."""

    @property
    def clip_weights(self) -> torch.Tensor:
        """(C,) probability of each clip."""
        hard = self.failure / self.failure.sum().clamp(min=1e-6)
        return self.failure_weighted_prob * hard + (1 - self.failure_weighted_prob) / len(self.failure)

    def draw(
        self, count: int, generator: torch.Generator, clips: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` starts: clip ids (drawn unless given) and frame ids, (count,) each, at least one frame before the end."""
        if clips is None:
            clips = torch.multinomial(self.clip_weights, count, replacement=True, generator=generator)
        uniform = lambda: torch.rand(count, generator=generator, device=self.lengths.device)  # noqa: E731
        last = self.lengths[clips] - 1
        frames = (uniform() * last).long()
        if self.pre_failure_prob:
            frames = self._before_a_moment(clips, frames, last, generator)
        if self.first_frame_prob:
            frames = frames.masked_fill(uniform() < self.first_frame_prob, 0)
        return clips, frames

    def _before_a_moment(
        self, clips: torch.Tensor, frames: torch.Tensor, last: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """`frames` (K,), a share of them put before moments at which their clips (K,), `last` (K,) the last frames, were lost."""
        uniform = lambda: torch.rand(len(clips), generator=generator, device=self.lengths.device)  # noqa: E731
        rates = self.moments[clips]
        known = rates.sum(1) > 0
        # a clip that was never lost has no moments; any will do, it is not used
        moment = torch.multinomial(rates + (~known).float()[:, None], 1, generator=generator).squeeze(1)
        lead = _LEAD[0] + uniform() * (_LEAD[1] - _LEAD[0])
        before = (MOMENT * (moment + uniform()) - lead).long().clamp(min=0).minimum(last - 1)
        return torch.where(known & (uniform() < self.pre_failure_prob), before, frames)

    def report(self, clip_ids: torch.Tensor, frames: torch.Tensor, failed: torch.Tensor) -> None:
        """Episodes that ended: their clips (K,), the frames they reached (K,) and whether they failed there (K,) bool."""
        # of the clips that ended alone: a library may hold 11,000, and every control step reports
        clips, which = clip_ids.unique(return_inverse=True)
        ended = torch.bincount(which).float()
        moments = self.moments.shape[1]
        cell = which * moments + (frames // MOMENT).clamp(max=moments - 1)
        fell = torch.bincount(cell, weights=failed.float(), minlength=len(clips) * moments).float().view(-1, moments)
        # as if the episodes had ended one after the other, each failed by this rate
        rate, news = fell / ended[:, None], 1 - self.memory**ended
        self.failure[clips] = self.failure[clips].lerp(rate.sum(1), news)
        self.moments[clips] = self.moments[clips].lerp(rate, news[:, None])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The running failure rates."""
        return {"failure": self.failure.clone(), "moments": self.moments.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take up saved failure rates."""
        self.failure = state["failure"].clone().to(self.lengths.device)
        self.moments = state["moments"].clone().to(self.lengths.device)
