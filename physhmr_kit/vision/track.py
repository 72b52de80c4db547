"""`VisualTrack`: everything the policy observes of a video, frame by frame at 30 fps (built by `build_track.py`)."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import FEATURE_DIM

_SHAPES = {
    "keypoints": (17, 3), "ray_point": (12, 3), "ray_confidence": (12,), "centre": (3,), "feature": (FEATURE_DIM,),
    "joint_rot": (24, 4), "contact": (4,), "uncertainty": (24,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class VisualTrack:
    """Visual observation of one person, T frames at 30 fps, in the simulation's world (z-up, metres).

    Attributes:
        keypoints: (T, 17, 3) raw pixels u, v and confidence, gaps filled.
        ray_point: (T, 12, 3) m, a point on the ray of each of the 12 joints of `keypoints.RAY_JOINTS`.
        ray_confidence: (T, 12) the detector's confidence.
        centre: (T, 3) m, camera centre.
        feature: (T, 512) context feature of the encoder.
        joint_rot: (T, 24, 4) xyzw, the encoder's pose; the root in the world, every other relative to its parent.
        contact: (T, 4) the encoder's probability of floor contact: left ankle, right ankle, left toe, right toe.
        uncertainty: (T, 24) m, median error of each joint relative to the pelvis, as the encoder predicts it.
        camera: fixed (batch shape ()) or moving (batch shape (T,)), in the simulation's world.
        fps: 30.
        scale: real lengths are those of the simulation times this (`placement.estimate_scale`).
        name: label for tables.
        first: index of the first frame in the whole video at 30 fps.
    """

    keypoints: torch.Tensor
    ray_point: torch.Tensor
    ray_confidence: torch.Tensor
    centre: torch.Tensor
    feature: torch.Tensor
    joint_rot: torch.Tensor
    contact: torch.Tensor
    uncertainty: torch.Tensor
    camera: Camera
    fps: float = CONTROL_FPS
    scale: float = 1.0
    name: str = "track"
    first: int = 0

    def __post_init__(self):
        frames = self.keypoints.shape[0]
        for key, shape in _SHAPES.items():
            value = torch.as_tensor(getattr(self, key), dtype=torch.float32)
            object.__setattr__(self, key, value)
            if tuple(value.shape) != (frames, *shape):
                raise KitError(f"{self.name}: {key} has shape {tuple(value.shape)}; expected {(frames, *shape)}")
            if not torch.isfinite(value).all():
                raise KitError(f"{self.name}: {key} holds values that are not finite")
        if frames == 0:
            raise KitError(f"{self.name}: the track has no frames")

    def __len__(self) -> int:
        return self.keypoints.shape[0]

    def __getitem__(self, rows: slice) -> VisualTrack:
        """A range of frames, as a track."""
        camera = self.camera[rows] if self.camera.batch_shape else self.camera
        first = self.first + range(len(self))[rows].start
        return replace(self, camera=camera, first=first, **{key: getattr(self, key)[rows] for key in _SHAPES})

    @property
    def root_rot(self) -> torch.Tensor:
        """(T, 4) xyzw, the encoder's root orientation in the world."""
        return self.joint_rot[:, 0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.camera.image_size

    def save(self, path: str | os.PathLike) -> Path:
        """Write .npz, atomically."""
        arrays = {key: getattr(self, key).cpu().numpy() for key in _SHAPES}
        arrays |= {f"camera_{f.name}": np.asarray(getattr(self.camera, f.name)) for f in fields(Camera)}
        return write_arrays(path, **arrays, fps=self.fps, scale=self.scale, name=self.name, first=self.first)

    @classmethod
    def load(cls, path: str | os.PathLike) -> VisualTrack:
        """Read a file written by `save`.

        Raises:
            KitError: missing, truncated or inconsistent file.
        """
        arrays = read_arrays(path, "visual track")
        wanted = [*_SHAPES, *(f"camera_{f.name}" for f in fields(Camera)), "fps", "scale", "name"]
        missing = [key for key in wanted if key not in arrays]
        if missing:
            raise KitError(f"{path}: no '{missing[0]}' in the file; visual tracks are written by VisualTrack.save")
        K, R, t, lens = (torch.from_numpy(arrays[f"camera_{k}"]) for k in ("K", "R", "t", "distortion"))
        try:
            camera = Camera(K, R, t, lens, tuple(arrays["camera_image_size"].tolist()), str(arrays["camera_name"]))
            fps, scale, first = float(arrays["fps"]), float(arrays["scale"]), int(arrays.get("first", 0))
            tensors = {key: torch.from_numpy(arrays[key]) for key in _SHAPES}
            return cls(**tensors, camera=camera, fps=fps, scale=scale, name=str(arrays["name"]), first=first)
        except KitError as fault:
            raise KitError(f"{path}: {str(fault).split(': ', 1)[-1]}") from fault
