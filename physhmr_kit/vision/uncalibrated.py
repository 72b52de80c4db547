"""Uncalibrated cameras: estimates camera tilt and height from the person in the video.

The encoder processes the video as if the camera were level and predicts the up direction, which gives the tilt. Its
body is then placed on the rays, and a floor is fitted to the feet in contact: where the person moves about, the slope
of the floor corrects the tilt as far as it is more certain than the encoder's up direction; the height of the floor
gives that of the camera. This assumes that people are upright on average: leaning throughout the video on one spot
tilts the camera. Lengths are those of a mean-shape person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import roma
import torch
import torch.nn.functional as F

from physhmr_kit.body.skeleton import FEET
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.vision.build_track import build_track, with_camera
from physhmr_kit.vision.camera import LEVEL, UP, Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import KeypointTrack
from physhmr_kit.vision.placement import bodies_on_rays
from physhmr_kit.vision.track import VisualTrack

_TILT_SPREAD = (math.radians(3.5), math.radians(1.5))
"""Standard deviations of the encoder's up direction on motion capture, rad: pitch, roll."""

_SOLE_SPREAD = 0.06
"""Standard deviation, m, of the floor height from all feet of a video together; their errors along the rays are correlated."""

_OUTLIER = 0.3  # m, distance from the floor at which a foot in contact has weight 1/2
_ROUNDS = 20  # of reweighting


@dataclass(frozen=True, eq=False)
class CameraEstimate:
    """An estimated camera, its reliability, and the track of the person.

    Attributes:
        track: of the person under the estimated camera, for a person of mean size.
        gravity_deg: median angle between the up direction of a frame and that of the whole video, deg; a lower bound of
            the error, because all frames may share an error.
        height_m: of the camera above the floor in the first frame, for a person of mean size.
        height_spread_m: median distance of feet in contact from the floor, m; NaN if there are none.
        notes: the assumptions made, one line each.
    """

    track: VisualTrack
    gravity_deg: float
    height_m: float
    height_spread_m: float
    notes: tuple[str, ...]

    @property
    def camera(self) -> Camera:
        """z-up world, floor at z = 0; in the first frame it is above the origin and faces +x."""
        return self.track.camera

    def __str__(self) -> str:
        spread = f" (standing feet within {self.height_spread_m:.2f} m)" if math.isfinite(self.height_spread_m) else ""
        first = self.camera[0] if self.camera.batch_shape else self.camera
        down, roll = (round(math.degrees(angle)) for angle in (first.pitch, first.roll))
        return (
            f"estimated camera: {self.height_m:.2f} m above the floor{spread}, looking {abs(down)} degrees "
            f"{'up' if down < 0 else 'down'} and rolled {roll} degrees (frames agree within {self.gravity_deg:.1f}), "
            f"focal length {float(first.K[0, 0]):.0f} px"
        )


def diagonal_focal(image_size: tuple[int, int]) -> float:
    """Focal length, pixels, assumed for an unknown lens: the image's diagonal (diagonal field of view 53 degrees), as in GVHMR."""
    return math.hypot(*image_size)


def level_camera(image_size: tuple[int, int], focal: float | None = None, name: str = "estimated camera") -> Camera:
    """A camera at the origin that looks along +x with a level horizon; principal point in the centre, no distortion."""
    width, height = image_size
    f = diagonal_focal(image_size) if focal is None else focal
    K = torch.tensor([[f, 0.0, width / 2], [0.0, f, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K, LEVEL, torch.zeros(3), image_size=image_size, name=name)


def estimate_camera(
    keypoints: KeypointTrack, encoder: VisionEncoder, focal: float | None = None, lens: Camera | None = None
) -> CameraEstimate:
    """Estimate the tilt and height of a camera from the keypoints of one person.

    Args:
        keypoints: of one person, at any frame rate.
        focal: pixels; the image's diagonal when omitted.
        lens: a camera with known intrinsics (and, if it moves, one pose per 30 fps frame) in a world whose up direction
            and floor are unknown. It replaces `focal`.

    Raises:
        KitError: image size or number of frames of `lens` does not match.
    """
    track = keypoints.resample(CONTROL_FPS).filled()
    notes = []
    if lens is None:
        if focal is None:
            focal = diagonal_focal(track.image_size)
            notes.append(
                f"focal length unknown, assumed to be the image's diagonal, {focal:.0f} px; most lenses have 0.6 to 1.5 times "
                "that, and distances are off by the same factor"
            )
        lens = level_camera(track.image_size, focal)
    track.check_camera(lens)
    first = lens.R.reshape(-1, 3, 3)[0]
    camera = lens.in_world(LEVEL.mT @ first)
    weight = track.confidence.mean(-1)
    up = encoder.encode(track.keypoints, camera, guessed=True).up
    middle = middle_direction(up, weight)
    visible = up[weight > 0] if (weight > 0).any() else up
    spread = torch.rad2deg((visible @ middle).clamp(-1, 1).acos()).median()
    camera = camera.in_world(shortest_turn(middle, torch.tensor(UP)))

    name = Path(keypoints.name).stem
    slope = _floor_up(build_track(track.keypoints, camera, encoder, name))
    camera = camera.in_world(shortest_turn(slope, torch.tensor(UP)))
    camera = camera.in_world(torch.eye(3), -camera.centre.reshape(-1, 3)[0])
    visual = build_track(track.keypoints, camera, encoder, name)
    floor, floor_spread, standing = _floor(visual)
    if not standing:
        notes.append("no foot is in contact with the floor; the floor is assumed under the lowest one")
    camera = replace(camera.in_world(torch.eye(3), (0.0, 0.0, -floor)), name="estimated camera")
    notes.append("lengths are those of a person of mean size")
    return CameraEstimate(with_camera(visual, camera), float(spread), -floor, floor_spread, tuple(notes))


def _soles(track: VisualTrack) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest points of ankles and toes, placed by the rays alone, (T, 4, 3) m, and which are in contact, (T, 4) bool."""
    body_pos, body_rot = bodies_on_rays(track)
    points = torch.cat([body_pos[:, FEET, :2], sole_height(body_pos, body_rot).unsqueeze(-1)], dim=-1)
    return points, (track.contact > 0.5) & (track.ray_confidence.mean(-1, keepdim=True) > 0.3)


def _floor_up(track: VisualTrack) -> torch.Tensor:
    """(3,) normal of the floor under the feet in contact, in the world of the track.

    Robust least squares (Cauchy weights) for z = h + slope . (forward, right), where the prior of the slope is normal
    with mean 0 and standard deviations `_TILT_SPREAD`.
    """
    points, standing = _soles(track)
    if not standing.any():
        return torch.tensor(UP)
    first = track.camera.R.reshape(-1, 3, 3)[0]
    forward = F.normalize(first[2] * torch.tensor([1.0, 1.0, 0.0]), dim=0)
    right = torch.stack([forward[1], -forward[0], torch.zeros(())])
    points = points[standing] - track.centre.reshape(-1, 3)[0]
    rows = torch.stack([torch.ones(len(points)), points @ forward, points @ right], dim=1)
    prior = torch.tensor([0.0, *(1 / spread**2 for spread in _TILT_SPREAD)]).diag()
    weight = torch.ones(len(points))
    for _ in range(_ROUNDS):
        share = weight / (len(points) * _SOLE_SPREAD**2)
        height, *slope = torch.linalg.solve(
            rows.mT @ (share.unsqueeze(1) * rows) + prior, rows.mT @ (share * points[:, 2])
        )
        off = points[:, 2] - rows @ torch.stack([height, *slope])
        weight = 1 / (1 + (off / _OUTLIER).square())
    return F.normalize(torch.tensor(UP) - slope[0] * forward - slope[1] * right, dim=0)


def _floor(track: VisualTrack) -> tuple[float, float, bool]:
    """Floor height and median distance of the soles in contact from it, m, and whether there are any."""
    points, standing = _soles(track)
    heights = points[..., 2]
    if not standing.any():
        return float(heights.amin(-1).quantile(0.1)), float("nan"), False
    floor = heights[standing].median()
    return float(floor), float((heights[standing] - floor).abs().median()), True


def middle_direction(directions: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Geometric median (Weiszfeld's algorithm) of unit vectors (T, 3) with weights (T,): (3,) unit vector."""
    weight = weight + 1e-6
    middle = F.normalize((directions * weight.unsqueeze(-1)).sum(0), dim=0)
    for _ in range(_ROUNDS):
        share = weight / (directions - middle).norm(dim=-1).clamp(min=1e-4)
        middle = F.normalize((directions * share.unsqueeze(-1)).sum(0), dim=0)
    return middle


def shortest_turn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Shortest rotation (3, 3) of unit vector a (3,) to b (3,), which must not be opposite."""
    axis = torch.linalg.cross(a, b)
    sine = axis.norm()
    if sine < 1e-7:
        return torch.eye(3)
    return roma.rotvec_to_rotmat(axis / sine * torch.atan2(sine, a @ b))
