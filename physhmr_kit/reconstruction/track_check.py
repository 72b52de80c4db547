"""Checks a visual track for a wrong camera, frame rate or person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from physhmr_kit.metrics.reprojection import MIN_CONFIDENCE, reprojection_error
from physhmr_kit.motion.kinematics import heading, linear_velocity
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.keypoints import RAY_COCO, person_size
from physhmr_kit.vision.placement import bodies_on_rays, encoder_clip
from physhmr_kit.vision.track import VisualTrack

MAX_REPROJECTION = 0.08
"""Median distance of limbs from their keypoints, as a share of the person's box, above which something is wrong."""
MAX_SPEED = 12.0
"""m/s, pelvis; a sprinter's top speed."""
MAX_FLOOR_GAP = 0.25
"""Largest distance, m, of soles in contact from the floor when only the rays place the body."""


@dataclass(frozen=True, eq=False)
class TrackCheck:
    """Result of `check_track`.

    Attributes:
        body: (T,) the encoder's bodies on rays and floor.
        figures: name -> value with unit, in the order to print.
        warnings: one line for each fault, with a remedy.
    """

    body: BodyState
    figures: dict[str, str]
    warnings: tuple[str, ...]


def check_track(track: VisualTrack) -> TrackCheck:
    """Check a track of two frames or more; it is not changed."""
    body = MotionLibrary([encoder_clip(track)]).clip(0)
    off = reprojection_error(body.body_pos, body.body_rot, track.keypoints, track.camera).nanmedian()
    confident = track.keypoints[..., 2] >= MIN_CONFIDENCE
    box = person_size(track.keypoints, MIN_CONFIDENCE)
    pitch, roll = (torch.rad2deg(angle).median() for angle in (track.camera.pitch, track.camera.roll))
    height, away = track.centre[:, 2].median(), (track.centre - body.root_pos).norm(dim=-1).median()
    speed = linear_velocity(body.root_pos, track.fps).norm(dim=-1).max()
    floor = _floor_gap(track)
    turn = heading(body.root_rot).diff()
    flips = int((torch.atan2(turn.sin(), turn.cos()).abs() > math.radians(120)).sum())
    share = float(confident[:, list(RAY_COCO)].float().mean())
    scale = track.scale
    soles = f"{100 * scale * floor:+.0f} cm from the floor, placed by the rays alone"
    figures = {
        "frames": f"{len(track)} at {track.fps:g} fps, image {track.image_size[0]}x{track.image_size[1]}",
        "confident keypoints": f"{100 * share:.0f} % of the limbs'",
        "reprojection, median": f"{off:.0f} px, {100 * off / box:.1f} % of the person's box",
        "camera": f"{scale * height:.2f} m above the floor, looking {pitch:.0f} degrees down, rolled {roll:.0f} degrees",
        "person": f"{scale * away:.2f} m away, {scale:.2f} times the mean shape",
        "fastest": f"{scale * speed:.1f} m/s (pelvis)",
        "soles in contact": "none" if math.isnan(floor) else soles,
    }
    far, gap = not off <= MAX_REPROJECTION * box, abs(floor) > MAX_FLOOR_GAP  # `off` may be NaN
    checks = (
        (height < 0, "the camera is below the floor: is its world z-up, in metres, with the floor at z = 0?"),
        (abs(pitch) > 60, "the camera looks more than 60 degrees up or down: is R world-to-camera, and OpenCV's (y down)?"),
        (abs(roll) > 45, "the camera is rolled by more than 45 degrees: was the video rotated after calibration?"),
        (far, "the encoder's body is far from the keypoints: check K, the image size and the person"),
        (gap, f"soles in contact miss the floor by {100 * scale * abs(floor):.0f} cm: check the camera's height and focal length"),
        (flips > 0, f"the person turns round within a frame, {flips} time(s): left and right swapped, or two people?"),
        (speed * scale > MAX_SPEED, "the pelvis moves faster than anybody runs: check the frame rate, and that it is one person"),
        (not 0.81 < scale < 1.24, "the person's size is at the end of what is allowed: check focal length and camera height"),
        (share < 0.5, "fewer than half of the limbs' keypoints are confident: expect a poor result"),
    )  # fmt: skip
    return TrackCheck(body, figures, tuple(warning for wrong, warning in checks if wrong))


def _floor_gap(track: VisualTrack) -> float:
    """Median height of soles in contact when the floor does not place the body, m; NaN where there is none."""
    soles = sole_height(*bodies_on_rays(track))[track.contact > 0.5]
    return float(soles.median()) if len(soles) else math.nan
