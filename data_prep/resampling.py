"""Resamples rows over time: to another frame rate, and from the frames of a track with gaps to all frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch

from physhmr_kit.motion.clip import CONTROL_FPS, slerp
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera

LONGEST_GAP = 0.2
"""s: shorter gaps without a person are interpolated; in longer ones keypoints get confidence 0."""


@dataclass(frozen=True, eq=False)
class Blend:
    """Interpolation between rows: row i of the result is `share[i]` (0..1) of the way from row `low[i]` to row `high[i]`."""

    low: torch.Tensor
    high: torch.Tensor
    share: torch.Tensor

    @classmethod
    def to_rate(cls, frames: int, fps: float, to: float = CONTROL_FPS) -> Blend:
        """From `frames` rows at one rate to another, by time; the same number of rows as `KeypointTrack.resample`."""
        count = int((frames - 1) / fps * to + 1e-6) + 1
        at = torch.arange(count, dtype=torch.float64) * (fps / to)
        low = at.floor().long().clamp(max=frames - 1)
        return cls(low, (low + 1).clamp(max=frames - 1), (at - low).float())

    @classmethod
    def over_gaps(cls, frames: torch.Tensor) -> Blend:
        """From rows at increasing frame numbers (n,) to every frame from the first to the last."""
        at = torch.arange(int(frames[0]), int(frames[-1]) + 1)
        high = torch.searchsorted(frames, at)
        low = (high - (frames[high] != at).long()).clamp(min=0)
        share = (at - frames[low]) / (frames[high] - frames[low]).clamp(min=1)
        return cls(low, high, share.float())

    def lerp(self, x: torch.Tensor) -> torch.Tensor:
        """(n, ...) -> (m, ...)."""
        return torch.lerp(x[self.low], x[self.high], self.share.reshape(-1, *[1] * (x.ndim - 1)))

    def slerp(self, x: torch.Tensor) -> torch.Tensor:
        """Quaternions (n, ..., 4) xyzw -> (m, ..., 4), on the shortest arc."""
        low, high = x[self.low], x[self.high]
        return slerp(low, high, self.share.reshape(-1, *[1] * (x.ndim - 2)).expand(low.shape[:-1]))

    def camera(self, camera: Camera) -> Camera:
        """Batch (n,) -> (m,): centre and intrinsics linear, orientation spherical."""
        turn = roma.unitquat_to_rotmat(self.slerp(roma.rotmat_to_unitquat(camera.R)))
        t = -(turn @ self.lerp(camera.centre).unsqueeze(-1)).squeeze(-1)
        return replace(camera, K=self.lerp(camera.K), R=turn, t=t, distortion=self.lerp(camera.distortion))


def check_frames(frames: torch.Tensor, count: int, path) -> torch.Tensor:
    """Frame numbers (n,) of a track as integers.

    Raises:
        KitError: not increasing, or outside a video of `count` frames.
    """
    numbers = frames.round().long()
    if (numbers[1:] <= numbers[:-1]).any():
        raise KitError(f"{path}: frame numbers do not increase")
    if numbers[0] < 0 or numbers[-1] >= count:
        raise KitError(
            f"{path}: frames {int(numbers[0])} to {int(numbers[-1])}, "
            f"but the video has {count}; do both belong to the same video?"
        )
    return numbers


def hide_gaps(keypoints: torch.Tensor, frames: torch.Tensor, fps: float) -> torch.Tensor:
    """Keypoints (T, 17, 3) of every frame from the first to the last of `frames` (n,), with confidence 0 in long gaps."""
    gap = frames[1:] - frames[:-1] - 1
    out = keypoints.clone()
    for start, length in zip((frames[:-1] - frames[0]).tolist(), gap.tolist(), strict=True):
        if length > LONGEST_GAP * fps:
            out[start + 1 : start + 1 + length, :, 2] = 0
    return out
