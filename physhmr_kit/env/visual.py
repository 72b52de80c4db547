"""`VisualLibrary`: camera views of each clip, packed so that a step needs a single gather."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from physhmr_kit.env.reference_motion import Estimates
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.refinement import refined_clips
from physhmr_kit.vision.track import VisualTrack


class VisualLibrary:
    """The same number of views, `VisualTrack`s of the clip's frames, for every clip.

    Args:
        views: views[c] are the tracks of clip c.
        lengths: (C,) frames of each clip at 30 fps; the tracks must have the same.

    Raises:
        KitError: different numbers of views, none, or a track whose length is not its clip's.
    """

    def __init__(self, views: Sequence[Sequence[VisualTrack]], lengths: torch.Tensor):
        counts = {len(v) for v in views}
        if len(counts) != 1 or counts == {0}:
            raise KitError("visual library: every clip needs the same number of views, at least one")
        self.num_views = counts.pop()
        tracks = [track for clip in views for track in clip]
        for i, track in enumerate(tracks):
            expected = int(lengths[i // self.num_views])
            if len(track) != expected:
                raise KitError(
                    f"visual track of clip {i // self.num_views}: {len(track)} frames, the clip has {expected}"
                )
        sizes = torch.tensor([len(t) for t in tracks])
        self._lengths = sizes
        self._starts = torch.cumsum(sizes, 0) - sizes

        def packed(name: str) -> torch.Tensor:
            return torch.cat([torch.as_tensor(getattr(t, name), dtype=torch.float32) for t in tracks])

        self.ray_point, self.ray_confidence, self.centre = (
            packed("ray_point"),
            packed("ray_confidence"),
            packed("centre"),
        )
        self.feature, self.root_rot = packed("feature"), packed("root_rot")
        # tracks for `estimates`; their features, most of their size, share the packed memory
        parts = self.feature.split(sizes.tolist())
        self._tracks = [replace(track, feature=part) for track, part in zip(tracks, parts, strict=True)]
        self._estimates: Estimates | None = None

    @property
    def estimates(self) -> Estimates:
        """Motions estimated from the views (`refinement.refined_clips`); computed at the first access."""
        if self._estimates is None:
            library = MotionLibrary(refined_clips(self._tracks))
            lengths = self._lengths[:: self.num_views].cpu()
            self._estimates = Estimates(library, self.num_views, lengths)
        return self._estimates

    def to(self, device: str | torch.device) -> VisualLibrary:
        """The same views on another device; `self` if they are there already."""
        if torch.device(device) == self.feature.device:
            return self
        moved = copy.copy(self)
        for name in ("_lengths", "_starts", "ray_point", "ray_confidence", "centre", "feature", "root_rot"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def rows(self, clip_ids: torch.Tensor, view_ids: torch.Tensor, frame_ids: torch.Tensor) -> torch.Tensor:
        """Packed row of each (clip, view, frame), with frames clamped to the clip: (N,) each -> (N,)."""
        track = clip_ids * self.num_views + view_ids
        return self._starts[track] + torch.minimum(frame_ids.clamp(min=0), self._lengths[track] - 1)
