"""`ReferenceMotion`: a motion as a policy follows it, the true reference or an estimate of it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import observations
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

_ROWS_AT_ONCE = 65536  # hours of motion would not fit into memory at once


class Place(NamedTuple):
    """Where episodes are: (M,) each."""

    clip: torch.Tensor
    frame: torch.Tensor
    view: torch.Tensor


class ReferenceMotion:
    """Motions that policies follow: states, glimpses for the preview, and PD targets, looked up by place.

    Args:
        library: one motion for each clip, or `num_views` in a row for each clip: those of clip c begin at c x `num_views`.
        num_views: how many motions there are of each clip.
    """

    def __init__(self, library: MotionLibrary, num_views: int = 1):
        self.library, self.num_views = library, num_views
        self._glimpses: torch.Tensor | None = None
        self._targets: torch.Tensor | None = None

    def rows(self, place: Place, ahead: int = 0) -> torch.Tensor:
        """Packed rows (M,) of the library some control steps ahead of M places, held at the end of a clip."""
        motion = place.clip if self.num_views == 1 else place.clip * self.num_views + place.view
        return self.library.rows(motion, place.frame + ahead)

    def at(self, rows: torch.Tensor) -> BodyState:
        """States of packed rows."""
        return self.library.at(rows)

    def glimpse(self, place: Place) -> torch.Tensor:
        """The motion at the preview's steps ahead of M places: (M, K, 9, 3), see `observations.glimpse`."""
        if self._glimpses is None:
            parts = torch.arange(self.library.num_frames, device=self.library.device).split(_ROWS_AT_ONCE)
            self._glimpses = torch.cat([observations.glimpse(self.at(rows)) for rows in parts])
        steps = observations.PREVIEW_STEPS
        rows = torch.cat([self.rows(place, k) for k in steps])
        return self._glimpses.index_select(0, rows).unflatten(0, (len(steps), -1)).transpose(0, 1)

    def targets(self, rows: torch.Tensor, humanoid: Humanoid) -> torch.Tensor:
        """PD targets (M, 69) rad that would follow the motion: inverse dynamics of the whole library, when first asked for."""
        if self._targets is None:
            self._targets = library_targets(self.library, humanoid).to(self.library.device)
        return self._targets.index_select(0, rows)


class Estimates:
    """Estimates of the motions of a library, e.g. of several cameras ("views"): what a policy follows without knowing the truth.

    Args:
        library: the estimates, `num_views` in a row for each clip.
        num_views: how many there are of each clip.
        lengths: (C,) frames of each clip at 30 fps, to check against.

    Raises:
        KitError: an estimate whose length is not its clip's.
    """

    def __init__(self, library: MotionLibrary, num_views: int, lengths: torch.Tensor):
        expected = lengths.cpu().repeat_interleave(num_views)
        if library.lengths.cpu().tolist() != expected.tolist():
            raise KitError(
                f"estimates: {num_views} of each clip are needed, as long as the clip ({len(lengths)} clips, {len(library)} estimates)"
            )
        self.library, self.num_views = library, num_views
