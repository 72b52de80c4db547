"""`ReferenceMotion`: the motion a policy tracks, the true reference or an estimate of it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import observations
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

_CHUNK = 65536  # rows; hours of motion do not fit into memory at once


class Place(NamedTuple):
    """Clip, frame and view of M episodes: (M,) each."""

    clip: torch.Tensor
    frame: torch.Tensor
    view: torch.Tensor


class ReferenceMotion:
    """Looks up states, preview and PD targets of the motions that policies track.

    Args:
        library: `num_views` motions for each clip; those of clip c begin at index c x `num_views`.
        num_views: motions per clip.
    """

    def __init__(self, library: MotionLibrary, num_views: int = 1):
        self.library, self.num_views = library, num_views
        self._preview: torch.Tensor | None = None
        self._targets: torch.Tensor | None = None

    def rows(self, place: Place, ahead: int = 0) -> torch.Tensor:
        """Packed rows (M,) of the library `ahead` control steps after M places; the last frame is repeated past the end."""
        motion = place.clip if self.num_views == 1 else place.clip * self.num_views + place.view
        return self.library.rows(motion, place.frame + ahead)

    def states(self, place: Place, ahead: int = 0) -> BodyState:
        """States `ahead` control steps after M places."""
        return self.library.at(self.rows(place, ahead))

    def preview(self, place: Place) -> torch.Tensor:
        """The motion at `PREVIEW_STEPS` after M places: (M, K, 9, 3), see `observations.preview_vectors`."""
        if self._preview is None:
            chunks = torch.arange(self.library.num_frames, device=self.library.device).split(_CHUNK)
            self._preview = torch.cat([observations.preview_vectors(self.library.at(rows)) for rows in chunks])
        steps = observations.PREVIEW_STEPS
        rows = torch.cat([self.rows(place, k) for k in steps])
        return self._preview.index_select(0, rows).unflatten(0, (len(steps), -1)).transpose(0, 1)

    def targets(self, rows: torch.Tensor, humanoid: Humanoid) -> torch.Tensor:
        """Feed-forward PD targets (M, 69) rad. The first call computes inverse dynamics of the whole library."""
        if self._targets is None:
            self._targets = library_targets(self.library, humanoid).to(self.library.device)
        return self._targets.index_select(0, rows)


class Estimates:
    """Estimates of the motions of a library, one per camera view, for policies that do not see the true motion.

    Args:
        library: the estimates, `num_views` in a row for each clip.
        num_views: estimates per clip.
        lengths: (C,) frames of each clip at 30 fps; the estimates must have the same.

    Raises:
        KitError: the number or length of the estimates does not match the clips.
    """

    def __init__(self, library: MotionLibrary, num_views: int, lengths: torch.Tensor):
        expected = lengths.cpu().repeat_interleave(num_views)
        if library.lengths.cpu().tolist() != expected.tolist():
            raise KitError(
                f"estimates: {num_views} of each clip are needed, as long as the clip ({len(lengths)} clips, {len(library)} estimates)"
            )
        self.library, self.num_views = library, num_views
