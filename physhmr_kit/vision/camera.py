"""`Camera`: calibrated pinhole cameras with OpenCV's lens model, and random synthetic cameras around a body.

Convention (OpenCV): camera axes x right, y down, z forward; x_cam = R x_world + t; the world is z-up, metres.
Lens: k1 k2 p1 p2 k3 on normalised coordinates (OpenCV, "Camera Calibration and 3D Reconstruction").
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import roma
import torch
import torch.nn.functional as F

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays, write_text
from physhmr_kit.vision.lens import distort, undistort

UP = (0.0, 0.0, 1.0)
LEVEL = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""World-to-camera rotation of a camera that looks along +x with a level horizon."""
_NEAR = 1e-3  # m; nearer points, and those behind the camera, are projected from this depth
_TENSORS = {"K": (3, 3), "R": (3, 3), "t": (3,), "distortion": (5,)}


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera, or a batch of cameras with one image size (one per clip, or one per frame of a moving camera).

    Attributes:
        K: (..., 3, 3) intrinsics, pixels, upper triangular.
        R: (..., 3, 3) world-to-camera rotation.
        t: (..., 3) world-to-camera translation, metres.
        distortion: (..., 5) k1 k2 p1 p2 k3; zeros for no distortion.
        image_size: (width, height), pixels.
        name: file or label, for messages.
    """

    K: torch.Tensor
    R: torch.Tensor
    t: torch.Tensor
    distortion: torch.Tensor = field(default_factory=lambda: torch.zeros(5))
    image_size: tuple[int, int] = (1920, 1080)
    name: str = "camera"

    def __post_init__(self):
        for key, shape in _TENSORS.items():
            value = torch.as_tensor(getattr(self, key), dtype=torch.float32)
            if tuple(value.shape[-len(shape) :]) != shape:
                raise KitError(f"{self.name}: {key} has shape {tuple(value.shape)}; expected {shape}")
            if not torch.isfinite(value).all():
                raise KitError(f"{self.name}: {key} holds values that are not finite")
            object.__setattr__(self, key, value)
        batch = self.R.shape[:-2]
        for key, shape in _TENSORS.items():
            object.__setattr__(self, key, getattr(self, key).expand(*batch, *shape))
        object.__setattr__(self, "image_size", tuple(int(v) for v in self.image_size))
        _check(self)

    @property
    def batch_shape(self) -> torch.Size:
        """Batch shape; empty for a single camera."""
        return self.R.shape[:-2]

    @property
    def centre(self) -> torch.Tensor:
        """(..., 3) position of the camera in the world, m: c = -R^T t."""
        return -(self.R.mT @ self.t.unsqueeze(-1)).squeeze(-1)

    @property
    def camera_to_world(self) -> torch.Tensor:
        """(..., 3, 3) R_wc = R^T; its columns are the camera's right, down and forward axes in the world."""
        return self.R.mT

    def to_camera(self, points: torch.Tensor) -> torch.Tensor:
        """Transform world points to the camera frame: (*batch, ..., 3) m -> (*batch, ..., 3) m."""
        R, t = self._broadcast(self.R, 2, points), self._broadcast(self.t, 1, points)
        return (R @ points.unsqueeze(-1)).squeeze(-1) + t

    def project(self, points: torch.Tensor) -> torch.Tensor:
        """Project world points to pixels, with lens distortion: (*batch, ..., 3) m -> (*batch, ..., 2) pixels u, v.

        Pixels of points behind the camera are meaningless, see `is_visible`.
        """
        x_cam = self.to_camera(points)
        xy = x_cam[..., :2] / x_cam[..., 2:].clamp(min=_NEAR)
        x, y = distort(xy, self._broadcast(self.distortion, 1, points)).unbind(-1)
        K = self._broadcast(self.K, 2, points)
        u = K[..., 0, 0] * x + K[..., 0, 1] * y + K[..., 0, 2]
        v = K[..., 1, 1] * y + K[..., 1, 2]
        return torch.stack([u, v], dim=-1)

    def is_visible(self, points: torch.Tensor) -> torch.Tensor:
        """Whether world points are in front of the camera and in the image: (*batch, ..., 3) m -> (*batch, ...) bool."""
        pixels = self.project(points)
        size = pixels.new_tensor(self.image_size)
        return (self.to_camera(points)[..., 2] > _NEAR) & ((pixels >= 0) & (pixels < size)).all(-1)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised, undistorted image coordinates (plane z = 1): (*batch, ..., 2) pixels -> (*batch, ..., 2)."""
        K = self._broadcast(self.K, 2, pixels)
        y = (pixels[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
        x = (pixels[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
        return undistort(torch.stack([x, y], dim=-1), self._broadcast(self.distortion, 1, pixels))

    def unproject(self, pixels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """World points of pixels (*batch, ..., 2) at a depth along the optical axis (*batch, ...) m -> (*batch, ..., 3) m."""
        xy = self.normalise(pixels)
        x_cam = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1) * depth.unsqueeze(-1)
        t = self._broadcast(self.t, 1, pixels)
        return (self._broadcast(self.R, 2, pixels).mT @ (x_cam - t).unsqueeze(-1)).squeeze(-1)

    @property
    def pitch(self) -> torch.Tensor:
        """Angle of the optical axis below the horizontal: (*batch) rad."""
        return -self.R[..., 2, 2].clamp(-1, 1).asin()

    @property
    def roll(self) -> torch.Tensor:
        """Angle of the image's x axis below the horizontal: (*batch) rad."""
        return -self.R[..., 0, 2].clamp(-1, 1).asin()

    def scaled(self, factor: float) -> Camera:
        """The camera in a world scaled by `factor`: same images, other centre."""
        return replace(self, t=self.t * factor)

    def in_world(self, turn: torch.Tensor, shift=(0.0, 0.0, 0.0)) -> Camera:
        """The camera after the world is transformed by x -> turn x + shift, turn (3, 3), shift (3,) m: same images."""
        R = self.R @ turn.to(self.R).mT
        shift = torch.as_tensor(shift).to(self.t)
        return replace(self, R=R, t=self.t - (R @ shift.unsqueeze(-1)).squeeze(-1))

    def at(self, frames) -> Camera:
        """The camera at some frames: rows of a moving camera, a fixed one as it is."""
        return self[frames] if self.batch_shape else self

    def __getitem__(self, rows) -> Camera:
        """A subset of a batch."""
        return replace(self, **{key: getattr(self, key)[rows] for key in _TENSORS})

    def to(self, device) -> Camera:
        """The camera on another device."""
        return replace(self, **{key: getattr(self, key).to(device) for key in _TENSORS})

    @classmethod
    def look_at(
        cls,
        position,
        target,
        focal: float | torch.Tensor = 1500.0,
        image_size: tuple[int, int] = (1920, 1080),
        roll: float | torch.Tensor = 0.0,
        name: str = "camera",
    ) -> Camera:
        """A camera at `position` that looks at `target`, with a level horizon apart from `roll`.

        Args:
            position, target: (..., 3) metres, world; not vertically above each other.
            focal: (...) pixels. roll: (...) radians about the optical axis.
        """
        position, target = (torch.as_tensor(v, dtype=torch.float32) for v in (position, target))
        R = _look_rotation(target - position, torch.as_tensor(roll, dtype=torch.float32))
        return _undistorted(R, position, torch.as_tensor(focal, dtype=torch.float32), image_size, name)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Camera:
        """Read a .json or .npz with K, R_world_to_camera, t_world_to_camera, width, height and optionally dist.

        `R`, `t`, `distortion` and `image_size`, as `save` writes them to .npz, are accepted too.

        Raises:
            KitError: missing or unreadable file, missing entry, wrong shape, invalid K or R.
        """
        path = Path(path)
        data = read_arrays(path, "camera") if path.suffix == ".npz" else _read_json(path)
        size = data["image_size"] if "image_size" in data else [_entry(data, path, k) for k in ("width", "height")]
        values = (
            _entry(data, path, "K"),
            _entry(data, path, "R_world_to_camera", "R"),
            _entry(data, path, "t_world_to_camera", "t"),
            data.get("dist", data.get("distortion", [0.0] * 5)),
        )
        try:
            K, R, t, lens = [np.array(v, np.float32, ndmin=1) for v in values]
            size = tuple(int(v) for v in np.ravel(size))
        except (TypeError, ValueError) as fault:
            raise KitError(f"{path}: K, R, t, dist, width and height must be numbers ({fault})") from fault
        if len(size) != 2:
            raise KitError(f"{path}: image_size has {len(size)} numbers; expected width and height")
        if R.ndim == 2:
            t, lens = t.reshape(-1), lens.reshape(-1)  # columns (3, 1) and rows (1, 5) are common
        missing = 5 - lens.shape[-1]
        if missing not in (0, 1, 5):
            raise KitError(f"{path}: dist has {5 - missing} numbers; expected k1 k2 p1 p2 k3 (4 or 5 of them)")
        lens = np.pad(lens, [(0, 0)] * (lens.ndim - 1) + [(0, missing)])
        read = torch.from_numpy
        return cls(read(K), read(R), read(t), read(lens), size, str(path))

    def save(self, path: str | os.PathLike) -> Path:
        """Write a single camera to .json, or a single or moving one to .npz, atomically; `load` reads it."""
        if Path(path).suffix == ".npz":
            arrays = {key: getattr(self, key).cpu().numpy() for key in _TENSORS}
            return write_arrays(path, **arrays, image_size=self.image_size)
        if self.batch_shape:
            raise KitError(
                f"{path}: a .json holds one camera, not a batch of {tuple(self.batch_shape)}; save it as .npz"
            )
        width, height = self.image_size
        data = {
            "convention": "OpenCV pinhole: x_cam = R_world_to_camera x_world + t_world_to_camera, metres, world z-up, dist = k1 k2 p1 p2 k3",
            "width": width,
            "height": height,
            "K": self.K.double().tolist(),
            "dist": self.distortion.double().tolist(),
            "R_world_to_camera": self.R.double().tolist(),
            "t_world_to_camera": self.t.double().tolist(),
        }
        return write_text(path, json.dumps(data, indent=1))

    def _broadcast(self, value: torch.Tensor, ends: int, like: torch.Tensor) -> torch.Tensor:
        """Insert the axes that `like` has between the batch axes and its last axis."""
        batch = len(self.batch_shape)
        return value.reshape(*value.shape[:batch], *[1] * (like.ndim - 1 - batch), *value.shape[-ends:])


def sample_cameras(
    points: torch.Tensor, generator: torch.Generator, image_size: tuple[int, int] | None = None
) -> Camera:
    """Random cameras that keep moving bodies in view, one per body.

    Sampled are the field of view (35 to 85 degrees diagonal), azimuth (any), pitch (10 degrees up to 45 down), roll
    (standard deviation 4 degrees), aim (off the body by 0.2 m) and distance (1.05 to 2 times the shortest that keeps
    the whole motion in view). The camera stays at least 0.2 m above the floor.

    Args:
        points: (B, T, J, 3) joints in the world, m, or (T, J, 3) for one body.
        generator: on the CPU.
        image_size: (width, height); full HD, portrait or landscape at random, when omitted.

    Returns:
        Camera with batch shape (B,), or () for one body.
    """
    if points.ndim == 3:
        return sample_cameras(points.unsqueeze(0), generator, image_size)[0]
    count = points.shape[0]
    points = points.flatten(1, 2)

    def uniform(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator)).to(points)

    if image_size is None:
        image_size = (1080, 1920) if torch.rand((), generator=generator) < 0.5 else (1920, 1080)
    width, height = image_size
    focal = 0.5 * math.hypot(width, height) / torch.tan(uniform(math.radians(35), math.radians(85)) / 2)
    roll = 0.07 * torch.randn(count, generator=generator).to(points)
    aim = (points.amax(1) + points.amin(1)) / 2 + 0.2 * torch.randn(count, 3, generator=generator).to(points)
    azimuth, down = uniform(-math.pi, math.pi), uniform(math.radians(-10), math.radians(45))
    slack = uniform(1.05, 2.0)
    for _ in range(3):  # distance and pitch depend on each other through the height of the camera
        forward = _direction(azimuth, down)
        R = _look_rotation(forward, roll)
        x, y, z = ((points - aim.unsqueeze(1)) @ R.mT).unbind(-1)
        reach = torch.maximum(x.abs() * 2 / width, y.abs() * 2 / height) * focal.unsqueeze(1)
        distance = slack * (reach / 0.95 - z).amax(1).clamp(min=1.5)
        sine = ((0.2 - aim[:, 2]) / distance).clamp(-0.5, 0.5)
        down = torch.maximum(down, torch.asin(sine))
    return _undistorted(R, aim - distance.unsqueeze(-1) * forward, focal, image_size, "synthetic camera")


def sample_wild_cameras(points: torch.Tensor, generator: torch.Generator, image_size: tuple[int, int]) -> Camera:
    """Random cameras as in videos in the wild, after WHAM (Shin et al. 2024) and GVHMR (Shen et al. 2024).

    Pitch is N(5, 22.5) degrees down; roll is N(0, 7.5) degrees, but uniform up to 20 in one camera of five; the
    distance is 1 to 6 m in two of five, else 4 to 12 m, and at least as long as the person travels; the focal length is
    the image's diagonal times exp N(0, 0.25). Near cameras see only a part of the body. The camera stays 0.2 m above
    the floor.

    Args:
        points: (B, T, J, 3) joints in the world, m. generator: on the CPU. image_size: (width, height).

    Returns:
        Camera with batch shape (B,).
    """
    count = points.shape[0]

    def uniform(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(count, generator=generator)).to(points)

    def normal(spread: float, *shape: int) -> torch.Tensor:
        return (spread * torch.randn(count, *shape, generator=generator)).to(points)

    focal = math.hypot(*image_size) * torch.exp(normal(0.25))
    roll = torch.where(uniform(0, 1) < 0.2, uniform(-20, 20), normal(7.5)) * (math.pi / 180)
    azimuth, down = uniform(-math.pi, math.pi), ((5 + normal(22.5)) * (math.pi / 180)).clamp(-1.0, 1.3)
    travel = (points[:, :, 0].amax(1) - points[:, :, 0].amin(1)).norm(dim=-1)
    distance = torch.where(uniform(0, 1) < 0.4, uniform(1, 6), uniform(4, 12)).maximum(travel)
    aim = points.mean((1, 2)) + 0.05 * distance.unsqueeze(-1) * normal(1.0, 3)
    down = torch.maximum(down, torch.asin(((0.2 - aim[:, 2]) / distance).clamp(-0.9, 0.9)))
    forward = _direction(azimuth, down)
    centre = aim - distance.unsqueeze(-1) * forward
    return _undistorted(_look_rotation(forward, roll), centre, focal, image_size, "synthetic camera")


def _undistorted(
    R: torch.Tensor, centre: torch.Tensor, focal: torch.Tensor, image_size: tuple[int, int], name: str
) -> Camera:
    """Camera with the principal point in the middle of the image: R (..., 3, 3), centre (..., 3) m, focal (...) pixels."""
    K = torch.zeros(*focal.shape, 3, 3, dtype=focal.dtype, device=focal.device)
    K[..., 0, 0] = K[..., 1, 1] = focal
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = image_size[0] / 2, image_size[1] / 2, 1.0
    t = -(R @ centre.unsqueeze(-1)).squeeze(-1)
    return Camera(K, R, t, K.new_zeros(5), image_size, name)


def _direction(azimuth: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Unit vectors (..., 3) from azimuth and angle below the horizontal, (...) rad each."""
    return torch.stack([azimuth.cos() * down.cos(), azimuth.sin() * down.cos(), -down.sin()], dim=-1)


def _look_rotation(forward: torch.Tensor, roll: torch.Tensor) -> torch.Tensor:
    """World-to-camera rotation that looks along `forward` (..., 3), with a level horizon apart from `roll` (...) rad."""
    forward = F.normalize(forward, dim=-1)
    right = torch.linalg.cross(forward, forward.new_tensor(UP).expand_as(forward))
    right = F.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    cos, sin = roll.cos().unsqueeze(-1), roll.sin().unsqueeze(-1)
    return torch.stack([cos * right + sin * down, cos * down - sin * right, forward.expand_as(right)], dim=-2)


def _entry(data: dict, path: Path, *names: str):
    for name in names:
        if name in data:
            return data[name]
    raise KitError(
        f"{path}: no '{names[0]}' in the file; a camera holds K, R_world_to_camera, t_world_to_camera, width, height"
    )


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise KitError(f"{path}: no such camera file")
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as fault:
        raise KitError(f"{path}: not a readable .json camera ({fault})") from fault
    if not isinstance(data, dict):
        raise KitError(
            f"{path}: a camera file holds an object with K, R_world_to_camera, t_world_to_camera, width, height"
        )
    return data


def _check(camera: Camera) -> None:
    K, R, name = camera.K, camera.R, camera.name
    if (K[..., 0, 0] <= 0).any() or (K[..., 1, 1] <= 0).any():
        raise KitError(
            f"{name}: K has a focal length that is not positive; OpenCV's K is [[fx, s, cx], [0, fy, cy], [0, 0, 1]]"
        )
    lower = torch.stack([K[..., 1, 0], K[..., 2, 0], K[..., 2, 1], K[..., 2, 2] - 1])
    if (lower.abs() > 1e-5).any():
        raise KitError(f"{name}: K is not upper triangular with a last row of 0 0 1; is it transposed?")
    off = (R @ R.mT - torch.eye(3).to(R)).abs().amax()
    if off > 1e-3:
        raise KitError(
            f"{name}: R is not a rotation (R R^T is off the identity by {float(off):.2g}); give a 3x3 rotation without scale"
        )
    if (torch.linalg.det(R) < 0).any():
        raise KitError(f"{name}: R is not a rotation but a mirror image (determinant -1); check the axes of its source")
    if len(camera.image_size) != 2 or min(camera.image_size) <= 0:
        raise KitError(f"{name}: image_size {camera.image_size} is not a positive width and height")
    if off > 1e-6:  # read with few digits: take the nearest rotation
        object.__setattr__(camera, "R", roma.special_procrustes(R))
