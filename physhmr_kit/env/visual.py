"""`VisualLibrary`: what cameras saw of each clip, packed for one gather a step."""

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
    """Views of clips: for every clip one or more `VisualTrack`s, frame by frame in step with it.

    Args:
        views: views[c] are the tracks of clip c; every clip has the same number of views.
        lengths: (C,) frames of each clip at 30 fps, to check against.

    Raises:
        KitError: a clip without a view, or a track whose length is not its clip's.
    """

    def __init__(self, views: Sequence[Sequence[VisualTrack]], lengths: torch.Tensor):
        counts = {len(v) for v in views}
        if len(counts) != 1 or counts == {0}:
            raise KitError("visual library: every clip needs the same number of views, at least one")
        self.num_views = counts.pop()
        tracks = [track for clip in views for track in clip]
        self._estimates: Estimates | None = None
        for i, track in enumerate(tracks):
            expected = int(lengths[i // self.num_views])
            if len(track) != expected:
                raise KitError(
                    f"visual track of clip {i // self.num_views}: {len(track)} frames, the clip has {expected}"
                )
        sizes = torch.tensor([len(t) for t in tracks])
        self._lengths = sizes
        self._starts = torch.cumsum(sizes, 0) - sizes
        self.ray_point = torch.cat([torch.as_tensor(t.ray_point, dtype=torch.float32) for t in tracks])
        self.ray_confidence = torch.cat([torch.as_tensor(t.ray_confidence, dtype=torch.float32) for t in tracks])
        self.centre = torch.cat([torch.as_tensor(t.centre, dtype=torch.float32) for t in tracks])
        self.feature = torch.cat([torch.as_tensor(t.feature, dtype=torch.float32) for t in tracks])
        # for the estimates; features are most of a track and are not held twice
        parts = self.feature.split(sizes.tolist())
        self._tracks = [replace(track, feature=part) for track, part in zip(tracks, parts, strict=True)]
        self.root_rot = torch.cat([torch.as_tensor(t.root_rot, dtype=torch.float32) for t in tracks])

    @property
    def estimates(self) -> Estimates:
        """The motions seen in the views, refined over time (`refinement.refined_clips`); made when first asked for."""
        if self._estimates is None:
            library = MotionLibrary(refined_clips(self._tracks))
            lengths = self._lengths[:: self.num_views].cpu()
            self._estimates = Estimates(library, self.num_views, lengths)
        return self._estimates

    def to(self, device: str | torch.device) -> VisualLibrary:
        """The same views on another device; itself when they are there already."""
        if torch.device(device) == self.feature.device:
            return self
        moved = copy.copy(self)
        for name in ("_lengths", "_starts", "ray_point", "ray_confidence", "centre", "feature", "root_rot"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def rows(self, clip_ids: torch.Tensor, view_ids: torch.Tensor, frame_ids: torch.Tensor) -> torch.Tensor:
        """Packed row of each (clip, view, frame), frames held inside the clip: (N,) each -> (N,)."""
        track = clip_ids * self.num_views + view_ids
        return self._starts[track] + torch.minimum(frame_ids.clamp(min=0), self._lengths[track] - 1)
