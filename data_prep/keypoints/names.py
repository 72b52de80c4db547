"""Keypoint layouts of 2-D pose tools, and how their names map to COCO's 17 keypoints."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from physhmr_kit.vision.keypoints import COCO_NAMES

_OPENPOSE_ARMS = ("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist")
_OPENPOSE_LEGS = ("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle")
_OPENPOSE_FACE = ("REye", "LEye", "REar", "LEar")
_FEET = ("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel")
_MEDIAPIPE = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip

LAYOUTS = {
    17: COCO_NAMES,
    18: (*_OPENPOSE_ARMS, *_OPENPOSE_LEGS, *_OPENPOSE_FACE),
    25: (*_OPENPOSE_ARMS, "MidHip", *_OPENPOSE_LEGS, *_OPENPOSE_FACE, *_FEET),
    26: (*COCO_NAMES, *("",) * 9),
    33: _MEDIAPIPE,
    133: (*COCO_NAMES, *("",) * 116),
    136: (*COCO_NAMES, *("",) * 119),
}
"""Layouts by number of keypoints: COCO-17, OpenPose's COCO-18 and BODY_25, Halpe-26, MediaPipe's 33, COCO-WholeBody's 133,
Halpe-136. Halpe-26 and the last two start with COCO's 17; their other keypoints are left unnamed."""

_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def coco_name(name: str) -> str | None:
    """COCO's name of a keypoint in any spelling (RKnee, right knee, kneeR, RIGHT_KNEE); None if COCO has no such keypoint."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower())
    if len(words) == 1 and words[0][:1] in _SIDES and words[0][1:] in _PARTS:
        words = [words[0][0], words[0][1:]]  # lknee
    if words == ["nose"]:
        return "nose"
    side = [_SIDES[word] for word in words if word in _SIDES]
    part = [word for word in words if word in _PARTS]
    return f"{side[0]}_{part[0]}" if len(words) == 2 and len(side) == len(part) == 1 else None


def as_coco(points: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Keypoints in COCO's order; missing ones are 0 with confidence 0.

    Args:
        points: (..., K, 3) u, v, confidence; NaN where not detected. names: of the K keypoints.

    Returns:
        (..., 17, 3) float32, confidence within 0..1.
    """
    out = np.zeros((*points.shape[:-2], len(COCO_NAMES), 3), np.float32)
    for column, name in enumerate(names):
        known = coco_name(name)
        if known is not None:
            out[..., COCO_NAMES.index(known), :] = points[..., column, :]
    out[~np.isfinite(out).all(-1)] = 0
    out[..., 2] = out[..., 2].clip(0, 1)
    return out
