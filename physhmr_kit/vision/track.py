"""`VisualTrack`: everything the policy is told about a video, frame by frame at 30 fps."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import FEATURE_DIM, Encoding, VisionEncoder
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies
from physhmr_kit.vision.placement import estimate_scale
from physhmr_kit.vision.rays import lift, ray_confidence
from physhmr_kit.vision.synthetic import KeypointNoise, detect

_SHAPES = {
    "keypoints": (17, 3), "ray_point": (12, 3), "ray_confidence": (12,), "centre": (3,), "feature": (FEATURE_DIM,),
    "joint_rot": (24, 4), "velocity": (3,), "contact": (4,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class VisualTrack:
    """Vision of one person, T frames at 30 fps, in the world of the simulation (z-up, metres).

    Attributes:
        keypoints: (T, 17, 3) raw pixels u, v and confidence, gaps filled.
        ray_point: (T, 12, 3) m, a point on the ray of each of the 12 joints of `keypoints.RAY_JOINTS`.
        ray_confidence: (T, 12) the detector's confidence.
        centre: (T, 3) m, camera centre.
        feature: (T, 512) context of the encoder.
        joint_rot: (T, 24, 4) xyzw, the encoder's pose; the root in the world, every other relative to its parent.
        velocity: (T, 3) m/s, the encoder's pelvis velocity, world.
        contact: (T, 4) the encoder's probability of floor contact: left ankle, right ankle, left toe, right toe.
        camera: fixed (batch shape ()) or moving (batch shape (T,)); its world is the simulation's.
        fps: 30.
        scale: lengths of the real world are those of the simulation times this (`placement.estimate_scale`).
        name: label for tables.
    """

    keypoints: torch.Tensor
    ray_point: torch.Tensor
    ray_confidence: torch.Tensor
    centre: torch.Tensor
    feature: torch.Tensor
    joint_rot: torch.Tensor
    velocity: torch.Tensor
    contact: torch.Tensor
    camera: Camera
    fps: float = CONTROL_FPS
    scale: float = 1.0
    name: str = "track"

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

    @property
    def root_rot(self) -> torch.Tensor:
        """(T, 4) xyzw, root orientation in the world as the encoder estimates it."""
        return self.joint_rot[:, 0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.camera.image_size

    def save(self, path: str | os.PathLike) -> Path:
        """Write .npz; the file appears whole or not at all."""
        arrays = {key: getattr(self, key).cpu().numpy() for key in _SHAPES}
        arrays |= {f"camera_{f.name}": np.asarray(getattr(self.camera, f.name)) for f in fields(Camera)}
        return write_arrays(path, **arrays, fps=self.fps, scale=self.scale, name=self.name)

    @classmethod
    def load(cls, path: str | os.PathLike) -> VisualTrack:
        """Read what `save` wrote.

        Raises:
            KitError: missing, truncated or inconsistent file.
        """
        arrays = read_arrays(path, "visual track")
        wanted = [*_SHAPES, *(f"camera_{f.name}" for f in fields(Camera)), "fps", "scale", "name"]
        missing = [key for key in wanted if key not in arrays]
        if missing:
            raise KitError(f"{path}: no '{missing[0]}' in the file; write visual tracks with VisualTrack.save")
        geometry = {k: torch.from_numpy(arrays[f"camera_{k}"]) for k in ("K", "R", "t", "distortion")}
        try:
            camera = Camera(
                **geometry, image_size=tuple(arrays["camera_image_size"].tolist()), name=str(arrays["camera_name"])
            )
            tensors = {key: torch.from_numpy(arrays[key]) for key in _SHAPES}
            return cls(
                **tensors,
                camera=camera,
                fps=float(arrays["fps"]),
                scale=float(arrays["scale"]),
                name=str(arrays["name"]),
            )
        except KitError as fault:
            raise KitError(f"{path}: {str(fault).split(': ', 1)[-1]}") from fault


def see(
    keypoints: torch.Tensor, camera: Camera, encoder: VisionEncoder, name: str = "track", scale: float = 1.0
) -> VisualTrack:
    """Rays, feature and root orientation of keypoints (T, 17, 3) at 30 fps (gaps filled) under a camera."""
    encoding: Encoding = encoder.encode(keypoints, camera)
    point = lift(keypoints[:, RAY_COCO, :2], camera)
    centre = camera.centre.expand(len(keypoints), 3)
    confidence = ray_confidence(point, centre, keypoints[:, RAY_COCO, 2])
    return VisualTrack(
        keypoints, point, confidence, centre, encoding.feature, encoding.joint_rot, encoding.velocity, encoding.contact,
        camera, CONTROL_FPS, scale, name,
    )  # fmt: skip


def synthesize_track(
    motion: Clip | BodyState,
    camera: Camera,
    encoder: VisionEncoder,
    noise: KeypointNoise | None = None,
    generator: torch.Generator | None = None,
) -> VisualTrack:
    """What a detector and the encoder would have made of a motion filmed by a camera.

    Args:
        motion: a clip (resampled to 30 fps, mean shape) or body states of T frames at 30 fps.
        camera: fixed or moving (batch shape (T,)), e.g. of `camera.sample_cameras`.
        noise: of the detector; the default noise when omitted, `KeypointNoise.none()` for a perfect one.
        generator: of the noise; seeded with 0 when omitted.
    """
    if isinstance(motion, Clip):
        name, clip = motion.name, motion.resample(CONTROL_FPS)
        body_pos, body_rot = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    else:
        name, body_pos, body_rot = "synthetic", motion.body_pos, motion.body_rot
    generator = generator or torch.Generator().manual_seed(0)
    keypoints = detect(coco_from_bodies(body_pos, body_rot), camera, noise or KeypointNoise(), generator)
    return see(keypoints, camera, encoder, name)


def track_from_keypoints(
    keypoints: KeypointTrack, camera: Camera, encoder: VisionEncoder, scale: float | None = 1.0
) -> VisualTrack:
    """Vision of a real video from its detected keypoints and its calibrated camera.

    Args:
        keypoints: at any rate; resampled by time to 30 fps, gaps filled.
        camera: of the same image size; z-up world with the floor at z = 0. A moving camera has one pose for each 30 fps frame.
        scale: how much larger the person is than the mean shape; the world is divided by it so that the mean-shape humanoid
            fits (PhysHMR). None: estimated from the rays and the feet on the floor (`placement.estimate_scale`).

    Raises:
        KitError: image size or number of cameras do not match.
    """
    track = keypoints.resample(CONTROL_FPS).filled()
    track.check_camera(camera)
    name = Path(keypoints.name).stem
    seen = see(track.keypoints, camera, encoder, name)
    if scale is None:
        scale = estimate_scale(seen)
    return seen if scale == 1.0 else see(track.keypoints, camera.scaled(1.0 / scale), encoder, name, scale)
