"""Tracking score, cheap enough for every evaluation during training: how much of a clip was followed, and how closely.

`table.py` uses the same rules and adds the expensive measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from physhmr_kit.metrics import functional as F


@dataclass(frozen=True)
class ClipScore:
    """The score of one clip.

    Attributes:
        clip: its name. frames: of the whole clip. followed: frames until the body was lost, at least 1.
        success: followed to the end. tracking_mm: E_g-mpjpe over the frames followed; NaN for a single frame.
        fps: frames per second.
    """

    clip: str
    frames: int
    followed: int
    success: bool
    tracking_mm: float
    fps: float = 30.0

    @property
    def share(self) -> float:
        """Share of the clip's frames that were followed."""
        return self.followed / self.frames

    @property
    def moment(self) -> str:
        """'tracked', or the time at which the body was lost."""
        return "tracked" if self.success else f"lost at {self.followed / self.fps:.1f} s"


@dataclass(frozen=True)
class Totals:
    """Score of all clips of one evaluation.

    Attributes:
        clips, tracked: number of clips, and of those that were followed to the end.
        covered: share of all frames that were followed.
        success_mm, followed_mm: E_g-mpjpe pooled over the frames of the successful clips, and over all frames followed.
    """

    clips: int
    tracked: int
    covered: float
    success_mm: float
    followed_mm: float

    @property
    def success(self) -> float:
        """Share of the clips that were followed to the end."""
        return self.tracked / self.clips

    @property
    def score(self) -> tuple[float, float, float]:
        """Sort key, larger is better: clips followed to the end, then frames followed, then error."""
        return self.success, self.covered, -self.followed_mm if math.isfinite(self.followed_mm) else -math.inf

    @property
    def value(self) -> float:
        """The same order as one number: clips followed plus share of frames followed minus error in km."""
        error = self.followed_mm if math.isfinite(self.followed_mm) else 1e6
        return self.tracked + self.covered - min(error, 1e6) / 1e6

    def words(self) -> str:
        """'61/78 clips, 82 % of frames, 38 mm', the error over all frames followed."""
        return f"{self.tracked}/{self.clips} clips, {100 * self.covered:.0f} % of frames, {self.followed_mm:.0f} mm"


def frames_followed(rollout) -> tuple[int, bool]:
    """Number of scored frames of a rollout (see `table.score_rollouts`), and whether it is a success."""
    played = len(rollout.simulated)
    lost = F.fail_frame(rollout.simulated.body_pos, rollout.reference.body_pos)
    stops = [f for f in (lost, rollout.fail_frame) if f is not None]
    return max(1, min([played, *stops])), not stops and played >= rollout.length


def score_clips(rollouts: Sequence) -> list[ClipScore]:
    """The tracking score of each rollout."""
    scores = []
    for r in rollouts:
        followed, success = frames_followed(r)
        error = F.e_g_mpjpe(r.simulated.body_pos[:followed], r.reference.body_pos[:followed])
        scores.append(ClipScore(r.name, r.length, followed, success, float(error.mean()), r.fps))
    return scores


def total(scores: Sequence[ClipScore]) -> Totals:
    """Pool the scores of all clips."""
    good = [s for s in scores if s.success]
    covered = sum(s.followed for s in scores) / sum(s.frames for s in scores)
    return Totals(len(scores), len(good), covered, _pooled(good), _pooled(scores))


def worst_first(scores: Sequence[ClipScore]) -> list[int]:
    """Indices of the clips, worst first: lost clips by the share followed, then the others; ties by decreasing error."""

    def place(i: int) -> tuple:
        s = scores[i]
        return s.success, s.share, -s.tracking_mm if math.isfinite(s.tracking_mm) else -math.inf

    return sorted(range(len(scores)), key=place)


def _pooled(scores: Sequence[ClipScore]) -> float:
    """Mean over all frames but the first of each clip, where both bodies start together."""
    counted = [(s.tracking_mm, s.followed - 1) for s in scores if s.followed > 1]
    frames = sum(n for _, n in counted)
    return sum(e * n for e, n in counted) / frames if frames else math.nan
