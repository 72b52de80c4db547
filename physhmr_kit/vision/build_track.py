"""Builds a `VisualTrack` from keypoints and a camera: rays, the encoder's estimate, and the size of the person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies
from physhmr_kit.vision.placement import estimate_scale
from physhmr_kit.vision.rays import lift, ray_confidence
from physhmr_kit.vision.settings import KeypointNoise
from physhmr_kit.vision.swaps import unswapped
from physhmr_kit.vision.synthetic import detect
from physhmr_kit.vision.track import VisualTrack


def build_track(keypoints: torch.Tensor, camera: Camera, encoder: VisionEncoder, name: str = "track") -> VisualTrack:
    """Rays and the encoder's estimate for keypoints (T, 17, 3) at 30 fps, gaps filled.

    Left-right swaps of the detector are corrected first (`swaps.unswapped`).
    """
    keypoints = unswapped(keypoints)
    encoding = encoder.encode(keypoints, camera)
    return VisualTrack(
        keypoints, *_rays(keypoints, camera), encoding.feature, encoding.joint_rot, encoding.contact,
        encoding.uncertainty, camera, CONTROL_FPS, 1.0, name,
    )  # fmt: skip


def with_camera(track: VisualTrack, camera: Camera) -> VisualTrack:
    """The track with its camera replaced by one that differs only in position: new rays, same estimate.

    The encoder does not depend on the camera position, so it need not run again.
    """
    point, confidence, centre = _rays(track.keypoints, camera)
    return replace(track, ray_point=point, ray_confidence=confidence, centre=centre, camera=camera)


def with_scale(track: VisualTrack, scale: float | None = None) -> VisualTrack:
    """A track of scale 1 in a world divided by the person's size, so that the mean-shape humanoid fits (PhysHMR).

    Args:
        scale: size of the person relative to the mean shape; estimated when omitted (`placement.estimate_scale`).
    """
    scale = estimate_scale(track) if scale is None else scale
    return track if scale == 1.0 else replace(with_camera(track, track.camera.scaled(1.0 / scale)), scale=scale)


def track_from_keypoints(
    keypoints: KeypointTrack, camera: Camera, encoder: VisionEncoder, scale: float | None = 1.0
) -> VisualTrack:
    """The track of a real video from detected keypoints and a calibrated camera.

    Args:
        keypoints: at any frame rate; resampled to 30 fps, gaps filled.
        camera: of the same image size; z-up world, floor at z = 0. A moving camera has one pose per 30 fps frame.
        scale: see `with_scale`; None to estimate it.

    Raises:
        KitError: image size or number of camera poses does not match.
    """
    prepared = keypoints.resample(CONTROL_FPS).filled()
    prepared.check_camera(camera)
    return with_scale(build_track(prepared.keypoints, camera, encoder, Path(keypoints.name).stem), scale)


def synthesize_track(
    motion: Clip | BodyState,
    camera: Camera,
    encoder: VisionEncoder,
    noise: KeypointNoise | None = None,
    generator: torch.Generator | None = None,
) -> VisualTrack:
    """The track of a motion filmed by a synthetic camera and detector.

    Args:
        motion: a clip (resampled to 30 fps, mean shape) or body states of T frames at 30 fps.
        camera: fixed or moving (batch shape (T,)), e.g. from `camera.sample_cameras`.
        noise: of the detector, `KeypointNoise.none()` for a perfect one.
        generator: for the noise; seeded with 0 when omitted.
    """
    if isinstance(motion, Clip):
        name, clip = motion.name, motion.resample(CONTROL_FPS)
        body_pos, body_rot = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    else:
        name, body_pos, body_rot = "synthetic", motion.body_pos, motion.body_rot
    generator = generator or torch.Generator().manual_seed(0)
    keypoints = detect(coco_from_bodies(body_pos, body_rot), camera, noise or KeypointNoise(), generator)
    return build_track(keypoints, camera, encoder, name)


def _rays(keypoints: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ray points (T, 12, 3) m, their confidence (T, 12) and camera centres (T, 3) m, from keypoints (T, 17, 3)."""
    point, centre = lift(keypoints[:, RAY_COCO, :2], camera), camera.centre.expand(len(keypoints), 3)
    return point, ray_confidence(point, centre, keypoints[:, RAY_COCO, 2]), centre
