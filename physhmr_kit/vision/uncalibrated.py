"""Uncalibrated cameras: which way is up and how high the camera is, estimated from the person in the video.

The encoder reads the video as if the camera were level and predicts where up is; the camera is tilted accordingly. Then its body
is placed on the rays, and the feet that it predicts to be in contact give the floor: its slope, where the person moves about,
corrects the tilt as far as it is known better than the encoder's up, and its height is that of the camera. All of this assumes
that people stand upright on average: somebody who leans for the whole video on one spot tilts the camera. Lengths are those of a
mean-shape person.
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
"""Standard deviation of the encoder's up on captured motion, rad: about the image's horizontal axis (pitch), about the other (roll)."""

_SOLE_SPREAD = 0.06
"""Standard deviation, m, of the height of the floor under all feet of a video together: their errors along the rays are much alike."""

_OUTLIER = 0.3  # m from the floor at which a foot in contact counts half


@dataclass(frozen=True, eq=False)
class CameraEstimate:
    """A camera, how reliable it is, and the person under it.

    Attributes:
        track: of the person under the estimated camera, for a person of mean size.
        gravity_deg: median angle between a frame's up and the one of the whole video, deg. Frames that agree may all be
            wrong: this is a lower bound of the error.
        height_m: of the camera above the floor (in the first frame), for a person of mean size.
        height_spread_m: median distance of a standing foot from that floor, m; NaN where none is in contact.
        notes: what had to be assumed, a line each.
    """

    track: VisualTrack
    gravity_deg: float
    height_m: float
    height_spread_m: float
    notes: tuple[str, ...]

    @property
    def camera(self) -> Camera:
        """z-up world, floor at z = 0; at first it looks along +x from above the origin."""
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
    """Focal length, pixels, to assume for an unknown lens: the image's diagonal, a field of view of 53 degrees (as GVHMR assumes)."""
    return math.hypot(*image_size)


def level_camera(image_size: tuple[int, int], focal: float | None = None, name: str = "estimated camera") -> Camera:
    """A camera at the origin that looks along +x with a level horizon; principal point in the middle, no distortion."""
    width, height = image_size
    f = diagonal_focal(image_size) if focal is None else focal
    K = torch.tensor([[f, 0.0, width / 2], [0.0, f, height / 2], [0.0, 0.0, 1.0]])
    return Camera(K, LEVEL, torch.zeros(3), image_size=image_size, name=name)


def estimate_camera(
    keypoints: KeypointTrack, encoder: VisionEncoder, focal: float | None = None, lens: Camera | None = None
) -> CameraEstimate:
    """Tilt and height of the camera of a video, from the keypoints of one person.

    Args:
        keypoints: of one person, at any rate.
        focal: pixels; the image's diagonal when omitted.
        lens: a camera whose intrinsics (and, if it moves, rotations and path, one pose for each 30 fps frame) are known, in
            a world whose up and floor are not. It replaces `focal`.

    Raises:
        KitError: a lens of another image size or number of frames.
    """
    track = keypoints.resample(CONTROL_FPS).filled()
    notes = []
    if lens is None:
        if focal is None:
            focal = diagonal_focal(track.image_size)
            notes.append(
                f"focal length unknown, taken as the image's diagonal, {focal:.0f} px; most lenses have 0.6 to 1.5 of that, and "
                "distances are as wrong as it is"
            )
        lens = level_camera(track.image_size, focal)
    track.check_camera(lens)
    first = lens.R.reshape(-1, 3, 3)[0]
    camera = lens.in_world(LEVEL.mT @ first)
    weight = track.confidence.mean(-1)
    up = encoder.encode(track.keypoints, camera, guessed=True).up
    middle = middle_direction(up, weight)
    told = up[weight > 0] if (weight > 0).any() else up
    spread = torch.rad2deg((told @ middle).clamp(-1, 1).acos()).median()
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
    """Lowest points of ankles and toes where the rays alone put them, (T, 4, 3) m, and which are in contact, (T, 4) bool."""
    body_pos, body_rot = bodies_on_rays(track)
    points = torch.cat([body_pos[:, FEET, :2], sole_height(body_pos, body_rot).unsqueeze(-1)], dim=-1)
    return points, (track.contact > 0.5) & (track.ray_confidence.mean(-1, keepdim=True) > 0.3)


def _floor_up(track: VisualTrack, rounds: int = 20) -> torch.Tensor:
    """(3,) normal of the floor under the feet in contact, in the track's world, whose up is right within `_TILT_SPREAD`.

    Least squares for z = h + slope . (forward, right), of which the slope is 0 but for that spread; a height counts the less
    the further it is from the plane (Cauchy weights, reweighted in `rounds`).
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
    for _ in range(rounds):
        share = weight / (len(points) * _SOLE_SPREAD**2)
        height, *slope = torch.linalg.solve(
            rows.mT @ (share.unsqueeze(1) * rows) + prior, rows.mT @ (share * points[:, 2])
        )
        off = points[:, 2] - rows @ torch.stack([height, *slope])
        weight = 1 / (1 + (off / _OUTLIER).square())
    return F.normalize(torch.tensor(UP) - slope[0] * forward - slope[1] * right, dim=0)


def _floor(track: VisualTrack) -> tuple[float, float, bool]:
    """Height of the floor, median distance of the soles in contact from it (m), and whether there are any."""
    points, standing = _soles(track)
    heights = points[..., 2]
    if not standing.any():
        return float(heights.amin(-1).quantile(0.1)), float("nan"), False
    floor = heights[standing].median()
    return float(floor), float((heights[standing] - floor).abs().median()), True


def middle_direction(directions: torch.Tensor, weight: torch.Tensor, steps: int = 20) -> torch.Tensor:
    """Geometric median (Weiszfeld's iteration) of unit vectors (T, 3) with weights (T,): (3,), of length one."""
    weight = weight + 1e-6
    middle = F.normalize((directions * weight.unsqueeze(-1)).sum(0), dim=0)
    for _ in range(steps):
        share = weight / (directions - middle).norm(dim=-1).clamp(min=1e-4)
        middle = F.normalize((directions * share.unsqueeze(-1)).sum(0), dim=0)
    return middle


def shortest_turn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(3, 3) shortest rotation that takes unit vector a (3,) to b (3,), which are not opposite."""
    axis = torch.linalg.cross(a, b)
    sine = axis.norm()
    if sine < 1e-7:
        return torch.eye(3)
    return roma.rotvec_to_rotmat(axis / sine * torch.atan2(sine, a @ b))
