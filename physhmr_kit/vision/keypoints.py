"""COCO-17 keypoints: tracks that a 2-D detector gives for a video, and the 3-D keypoints of a body."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The 17 COCO keypoints, in order."""

COCO_MIRROR = tuple(
    COCO_NAMES.index(n.replace("left", "#").replace("right", "left").replace("#", "right")) for n in COCO_NAMES
)
"""Permutation that swaps left and right keypoints."""

COCO_BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of keypoints to draw lines between."""

LIMBS = {
    limbs: tuple(i for i, n in enumerate(COCO_NAMES) if n.split("_")[-1] in parts)
    for limbs, parts in {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}.items()
}
"""Keypoints of both arms, and of both legs."""

DETECTED = 0.05
"""Confidence below which a keypoint counts as missing."""

RAY_NAMES = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
"""The 12 joints with rays, in the order of the observation (PhysHMR)."""

RAY_COCO = tuple(COCO_NAMES.index(n) for n in RAY_NAMES)
RAY_JOINTS = tuple(JOINT_NAMES.index(n) for n in RAY_NAMES)

# Face points in the frame of SMPL's head joint (x left, y up, z forward), metres: ours, from the proportions of an adult
# head whose crown is 0.19 m above that joint. They are approximate; training adds a bias to every keypoint.
_FACE = {
    "nose": (0.0, 0.035, 0.115),
    "left_eye": (0.032, 0.072, 0.090), "right_eye": (-0.032, 0.072, 0.090),
    "left_ear": (0.072, 0.050, 0.010), "right_ear": (-0.072, 0.050, 0.010),
}  # fmt: skip
# Detectors mark the hip on the body, outside and above SMPL's joint centre; offset in the pelvis frame, metres (ours).
_HIP = {"left_hip": (0.035, 0.020, 0.0), "right_hip": (-0.035, 0.020, 0.0)}


def coco_from_bodies(body_pos: torch.Tensor, body_rot: torch.Tensor) -> torch.Tensor:
    """The 17 COCO keypoints of a body in 3-D.

    Shoulders, elbows, wrists, knees and ankles are SMPL's joint centres. Hips are 3.5 cm outside and 2 cm above theirs;
    nose, eyes and ears are fixed points on the head.

    Args:
        body_pos: (..., 24, 3) m, world. body_rot: (..., 24, 4) xyzw, world.

    Returns:
        (..., 17, 3) m, world.
    """
    points = []
    offset: tuple[float, float, float] | None
    for name in COCO_NAMES:
        if name in _FACE:
            joint, frame, offset = "head", "head", _FACE[name]
        else:
            joint, frame, offset = name, "pelvis", _HIP.get(name)
        point = body_pos[..., JOINT_NAMES.index(joint), :]
        if offset is not None:
            turn = body_rot[..., JOINT_NAMES.index(frame), :]
            point = point + roma.quat_action(turn, torch.tensor(offset).to(point).expand_as(point))
        points.append(point)
    return torch.stack(points, dim=-2)


@dataclass(frozen=True, eq=False)
class KeypointTrack:
    """One person's keypoints over a video.

    Attributes:
        keypoints: (T, 17, 3) pixel u, pixel v, confidence in 0..1 (0: not detected).
        fps: frames per second.
        image_size: (width, height), pixels.
        name: file or label, for messages.
        cuts: s, start times of new shots.
    """

    keypoints: torch.Tensor
    fps: float
    image_size: tuple[int, int]
    name: str = "keypoints"
    cuts: tuple[float, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "keypoints", torch.as_tensor(np.asarray(self.keypoints), dtype=torch.float32))
        object.__setattr__(self, "image_size", tuple(int(v) for v in self.image_size))
        object.__setattr__(self, "fps", float(self.fps))
        _check(self)

    def __len__(self) -> int:
        return self.keypoints.shape[0]

    @property
    def pixels(self) -> torch.Tensor:
        """(T, 17, 2)."""
        return self.keypoints[..., :2]

    @property
    def confidence(self) -> torch.Tensor:
        """(T, 17)."""
        return self.keypoints[..., 2]

    def resample(self, fps: float = 30.0) -> KeypointTrack:
        """Resample by linear interpolation in time, weighted by confidence."""
        if abs(fps - self.fps) < 1e-6:
            return self
        count = int((len(self) - 1) / self.fps * fps + 1e-6) + 1
        at = torch.arange(count, dtype=torch.float64) * (self.fps / fps)
        low = at.floor().long().clamp(max=len(self) - 1)
        high = (low + 1).clamp(max=len(self) - 1)
        blend = (at - low).float()[:, None]
        before, after = self.keypoints[low], self.keypoints[high]
        confidence = torch.lerp(before[..., 2], after[..., 2], blend)
        shares = torch.stack([(1 - blend) * before[..., 2], blend * after[..., 2]], dim=-1)
        plain = torch.stack([1 - blend, blend], dim=-1).expand_as(shares)
        total = shares.sum(-1, keepdim=True)
        shares = torch.where(total > 0, shares / total.clamp(min=1e-12), plain)
        pixels = shares[..., :1] * before[..., :2] + shares[..., 1:] * after[..., :2]
        return replace(self, keypoints=torch.cat([pixels, confidence.unsqueeze(-1)], dim=-1), fps=fps)

    def shots(self) -> list[tuple[float, KeypointTrack]]:
        """Split at the cuts: start time, s, and track of each shot."""
        rows = [0, *(round(cut * self.fps) for cut in self.cuts), len(self)]
        return [
            (a / self.fps, replace(self, keypoints=self.keypoints[a:b], cuts=())) for a, b in pairwise(rows) if b > a
        ]

    def filled(self) -> KeypointTrack:
        """The track with missing keypoints filled in (`fill_gaps`); gaps up to 0.2 s keep some confidence."""
        return replace(self, keypoints=fill_gaps(self.keypoints, round(0.2 * self.fps)))

    def check_video(self, frames: int, video: str | os.PathLike) -> None:
        """Raise a KitError unless the track has as many frames as the video."""
        if len(self) != frames:
            raise KitError(
                f"{self.name}: {len(self)} frames of keypoints but {frames} frames in {video}; detect on the same video"
            )

    def check_camera(self, camera) -> None:
        """Raise a KitError unless the image size, and for a moving camera the number of frames, match."""
        if tuple(camera.image_size) != self.image_size:
            raise KitError(
                f"{self.name}: keypoints are of a {self.image_size[0]}x{self.image_size[1]} image, "
                f"{camera.name} of a {camera.image_size[0]}x{camera.image_size[1]} one; use the camera of this video"
            )
        if camera.batch_shape and tuple(camera.batch_shape) != (len(self),):
            raise KitError(
                f"{self.name}: {len(self)} frames of keypoints but {tuple(camera.batch_shape)} cameras in {camera.name}"
            )

    def save(self, path: str | os.PathLike) -> Path:
        """Write .npz with keypoints, fps, image_size, layout and cuts, atomically."""
        info = {"fps": self.fps, "image_size": self.image_size, "layout": "coco17", "cuts": np.array(self.cuts)}
        return write_arrays(path, keypoints=self.keypoints.numpy(), **info)

    @classmethod
    def load(cls, path: str | os.PathLike) -> KeypointTrack:
        """Read a file written by `save` or a detector script.

        Raises:
            KitError: missing, truncated or inconsistent file, layout other than COCO-17, NaN, no frames.
        """
        arrays = read_arrays(path, "keypoint file")
        for key in ("keypoints", "fps", "image_size"):
            if key not in arrays:
                raise KitError(
                    f"{path}: no '{key}' in the file; a keypoint file holds keypoints (frames, 17, 3), fps and image_size"
                )
        layout = str(arrays.get("layout", "coco17")).lower().replace("-", "")
        if layout != "coco17":
            raise KitError(
                f"{path}: keypoint layout '{layout}'; expected COCO-17 (nose, eyes, ears, shoulders ... ankles)"
            )
        if arrays["image_size"].shape != (2,) or arrays["fps"].size != 1:
            raise KitError(f"{path}: image_size must hold width and height, and fps one number")
        keypoints = torch.as_tensor(arrays["keypoints"], dtype=torch.float32)
        cuts = tuple(np.ravel(arrays.get("cuts", [])).tolist())
        return cls(keypoints, arrays["fps"].item(), tuple(arrays["image_size"].tolist()), str(path), cuts)


def person_size(keypoints: torch.Tensor, threshold: float = DETECTED) -> float:
    """Larger side of the bounding box of the detected keypoints, pixels: median over frames with any, at least 1.

    Args:
        keypoints: (T, K, 3) u, v, confidence. threshold: minimum confidence of a keypoint.
    """
    confident, pixels = (keypoints[..., 2] >= threshold).unsqueeze(-1), keypoints[..., :2]
    size = (pixels.where(confident, -torch.inf).amax(1) - pixels.where(confident, torch.inf).amin(1)).amax(-1)
    size = size[torch.isfinite(size)]
    return max(1.0, float(size.median())) if len(size) else 1.0


def fill_gaps(keypoints: torch.Tensor, longest_gap: int = 6) -> torch.Tensor:
    """Fill in missing keypoints (confidence below `DETECTED`) from the neighbouring frames.

    A gap of at most `longest_gap` frames is interpolated, with half the lower confidence of its two ends. Longer gaps
    are interpolated, and gaps at either end of the track held, with confidence 0. A keypoint that is never detected
    gets the mean of the others. So pixels are always finite and near the body, and confidence 0 marks them as made up.

    Args:
        keypoints: (T, 17, 3) u, v, confidence.

    Returns:
        (T, 17, 3).
    """
    out = keypoints.clone()
    detected = keypoints[..., 2] >= DETECTED
    frames = torch.arange(keypoints.shape[0])
    if not detected.any():
        out[..., 2] = 0
        return out
    middle = (keypoints[..., :2] * detected.unsqueeze(-1)).sum((0, 1)) / detected.sum()
    for joint in range(keypoints.shape[1]):
        missing = ~detected[:, joint]
        if not missing.any():
            continue
        rows = frames[detected[:, joint]]
        if len(rows) == 0:
            out[:, joint, :2], out[:, joint, 2] = middle, 0
            continue
        gaps = frames[missing]
        after = torch.searchsorted(rows, gaps)
        left, right = rows[(after - 1).clamp(min=0)], rows[after.clamp(max=len(rows) - 1)]
        inside = (after > 0) & (after < len(rows))
        blend = torch.where(inside, (gaps - left) / (right - left).clamp(min=1), torch.zeros(len(gaps)))
        a, b = keypoints[left, joint], keypoints[right, joint]
        out[gaps, joint, :2] = torch.lerp(a[:, :2], b[:, :2], blend[:, None])
        short = inside & (right - left - 1 <= longest_gap)
        out[gaps, joint, 2] = torch.where(short, torch.minimum(a[:, 2], b[:, 2]) / 2, torch.zeros(len(gaps)))
    return out


def _check(track: KeypointTrack) -> None:
    shape, name = tuple(track.keypoints.shape), track.name
    if len(shape) != 3 or shape[1:] != (17, 3):
        raise KitError(
            f"{name}: keypoints have shape {shape}; expected (frames, 17, 3): COCO-17 pixel u, v and confidence"
        )
    if shape[0] == 0:
        raise KitError(f"{name}: the track has no frames")
    bad = ~torch.isfinite(track.keypoints).flatten(1).all(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise KitError(
            f"{name}: keypoints are not finite in {int(bad.sum())} frame(s), first {first}; mark missing keypoints by confidence 0"
        )
    if (track.confidence < 0).any() or (track.confidence > 1 + 1e-3).any():
        raise KitError(f"{name}: confidence outside 0..1; divide by the largest score of the detector")
    if not np.isfinite(track.fps) or track.fps <= 0:
        raise KitError(f"{name}: frame rate {track.fps} is not a positive number")
    if len(track.image_size) != 2 or min(track.image_size) <= 0:
        raise KitError(f"{name}: image_size {track.image_size} is not a positive width and height")
