"""Cameras, pixel-as-ray, COCO-17 keypoints, and the encoder that turns a keypoint track into a feature.

Start with `rays.py`, the geometry of the observation; `track.py` holds everything a policy observes of a video.
"""

from typing import TYPE_CHECKING

from physhmr_kit.utils.lazy import lazy_exports
from physhmr_kit.vision.settings import KeypointNoise

if TYPE_CHECKING:
    from physhmr_kit.vision.build_track import synthesize_track, track_from_keypoints
    from physhmr_kit.vision.camera import Camera, sample_cameras
    from physhmr_kit.vision.encoder import FEATURE_DIM, VisionEncoder
    from physhmr_kit.vision.keypoints import COCO_NAMES, RAY_COCO, RAY_JOINTS, KeypointTrack, coco_from_bodies
    from physhmr_kit.vision.placement import estimate_scale
    from physhmr_kit.vision.rays import lift, ray_confidence, ray_residual
    from physhmr_kit.vision.refinement import refined_clip
    from physhmr_kit.vision.synthetic import detect
    from physhmr_kit.vision.track import VisualTrack

__all__ = [
    "COCO_NAMES", "FEATURE_DIM", "RAY_COCO", "RAY_JOINTS", "Camera", "KeypointNoise", "KeypointTrack", "VisionEncoder",
    "VisualTrack", "coco_from_bodies", "detect", "estimate_scale", "lift", "ray_confidence",
    "ray_residual", "refined_clip", "sample_cameras", "synthesize_track", "track_from_keypoints",
]  # fmt: skip

__getattr__ = lazy_exports(
    __name__,
    {
        "build_track": ("synthesize_track", "track_from_keypoints"),
        "camera": ("Camera", "sample_cameras"),
        "encoder": ("FEATURE_DIM", "VisionEncoder"),
        "keypoints": ("COCO_NAMES", "RAY_COCO", "RAY_JOINTS", "KeypointTrack", "coco_from_bodies"),
        "placement": ("estimate_scale",),
        "rays": ("lift", "ray_confidence", "ray_residual"),
        "refinement": ("refined_clip",),
        "synthetic": ("detect",),
        "track": ("VisualTrack",),
    },
)
