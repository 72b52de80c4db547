"""`Clip`: one motion on disk and in memory, in the convention of AMASS."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.body.skeleton import NUM_JOINTS, PELVIS_AT_REST
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays

CONTROL_FPS = 30.0
"""Rate of the controller and of everything resampled for it, Hz."""


@dataclass(frozen=True)
class Clip:
    """A motion of SMPL's 24 joints: z-up world, metres, radians.

    Attributes:
        poses: (T, 72) float32 axis-angle; the first three turn the root in the world, the rest are parent-relative.
        trans: (T, 3) float32 metres, SMPL's translation: pelvis = trans + j0 (see `root_pos`).
        fps: frames per second.
        name: a short name for tables.
        betas: (10,) SMPL shape; zeros for the mean shape.
        gender: 'neutral', 'male' or 'female'.
    """

    poses: np.ndarray
    trans: np.ndarray
    fps: float
    name: str = "clip"
    betas: np.ndarray = field(default_factory=lambda: np.zeros(10, np.float32))
    gender: str = "neutral"

    def __post_init__(self):
        object.__setattr__(self, "poses", np.asarray(self.poses, np.float32))
        object.__setattr__(self, "trans", np.asarray(self.trans, np.float32))
        _check(self, self.name)

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last frame."""
        return (len(self) - 1) / self.fps

    @property
    def root_pos(self) -> torch.Tensor:
        """(T, 3) pelvis in the world, m: trans + j0 of the mean shape."""
        return torch.from_numpy(self.trans) + torch.tensor(PELVIS_AT_REST)

    @property
    def joint_rot(self) -> torch.Tensor:
        """(T, 24, 4) quaternions xyzw, root in the world, others parent-relative."""
        return roma.rotvec_to_unitquat(torch.from_numpy(self.poses).reshape(-1, NUM_JOINTS, 3))

    @classmethod
    def from_joints(cls, root_pos, joint_rot, fps: float, name: str = "clip") -> Clip:
        """A clip from pelvis positions (T, 3) m and rotations (T, 24, 4) xyzw (root in the world)."""
        poses = roma.unitquat_to_rotvec(torch.as_tensor(joint_rot, dtype=torch.float32)).reshape(-1, 72)
        trans = torch.as_tensor(root_pos, dtype=torch.float32) - torch.tensor(PELVIS_AT_REST)
        return cls(poses.numpy(), trans.numpy(), fps, name)

    def resample(self, fps: float = CONTROL_FPS) -> Clip:
        """The same motion at another rate, by time: positions linear, rotations spherical-linear."""
        if abs(fps - self.fps) < 1e-6:
            return self
        count = int(np.floor(self.duration * fps + 1e-6)) + 1
        at = torch.arange(count, dtype=torch.float64) * (self.fps / fps)
        low = at.floor().long().clamp(max=len(self) - 1)
        high = (low + 1).clamp(max=len(self) - 1)
        blend = (at - low).float()
        rot, pos = self.joint_rot, self.root_pos
        between = slerp(rot[low], rot[high], blend[:, None].expand(-1, NUM_JOINTS))
        moved = torch.lerp(pos[low], pos[high], blend[:, None])
        return replace(Clip.from_joints(moved, between, fps, self.name), betas=self.betas, gender=self.gender)

    def cut(self, start: int, stop: int | None = None) -> Clip:
        """Frames start..stop (Python slice rules)."""
        return replace(self, poses=self.poses[start:stop], trans=self.trans[start:stop])

    def save(self, path: str | os.PathLike) -> Path:
        """Write an AMASS-convention .npz; the file appears whole or not at all."""
        return write_arrays(
            path, poses=self.poses, trans=self.trans, betas=self.betas, gender=self.gender, mocap_framerate=self.fps
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Clip:
        """Read a clip of the kit or of AMASS (SMPL+H 156 or SMPL-X 165 columns; the body's 66 are used).

        Raises:
            KitError: missing, truncated or inconsistent file, NaN, no frames, unknown layout.
        """
        path = Path(path)
        files = read_arrays(path, "clip", _KEYS)
        for key in ("poses", "trans"):
            if key not in files:
                raise KitError(f"{path}: no '{key}' in the file; a clip holds poses, trans and mocap_framerate")
        rates = np.ravel(files.get("mocap_framerate", files.get("mocap_frame_rate", ())))
        if len(rates) != 1:
            raise KitError(f"{path}: no mocap_framerate in the file; add it, in frames per second")
        poses = np.asarray(files["poses"], np.float32)
        if poses.ndim != 2 or poses.shape[1] not in (72, 156, 165):
            raise KitError(
                f"{path}: poses have shape {poses.shape}; expected (frames, 72), (frames, 156) or (frames, 165)"
            )
        if poses.shape[1] != 72:
            poses = np.concatenate([poses[:, :66], np.zeros((len(poses), 6), np.float32)], axis=1)
        fps = float(rates[0])
        rounded = float(np.round(fps))
        fps = rounded if abs(fps - rounded) < 0.01 else fps  # AMASS writes 120.00004
        said = np.ravel(files.get("gender", "neutral"))  # whatever it is, it refuses no file
        gender = (said[0].decode() if isinstance(said[0], bytes) else str(said[0])) if len(said) else "neutral"
        betas = np.zeros(10, np.float32)
        given = np.ravel(files.get("betas", betas))[:10]
        betas[: len(given)] = given
        try:
            return cls(poses, files["trans"], fps, path.stem, betas, gender)
        except KitError as fault:
            raise KitError(f"{path}: {str(fault).split(': ', 1)[-1]}") from fault


_KEYS = {"poses", "trans", "betas", "gender", "mocap_framerate", "mocap_frame_rate"}


def slerp(a: torch.Tensor, b: torch.Tensor, blend: torch.Tensor) -> torch.Tensor:
    """Spherical-linear interpolation on the shortest arc: a, b (..., 4) xyzw, blend (...) in 0..1 -> (..., 4)."""
    turn = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(a), b))
    return roma.quat_product(a, roma.rotvec_to_unitquat(turn * blend.unsqueeze(-1)))


def _check(clip: Clip, name: str) -> None:
    if clip.poses.ndim != 2 or clip.poses.shape[1] != 72:
        raise KitError(f"{name}: poses have shape {clip.poses.shape}; expected (frames, 72)")
    if len(clip.poses) == 0:
        raise KitError(f"{name}: the clip has no frames")
    if clip.trans.shape != (len(clip.poses), 3):
        raise KitError(f"{name}: trans has shape {clip.trans.shape}; expected ({len(clip.poses)}, 3)")
    if not np.isfinite(clip.fps) or clip.fps <= 0:
        raise KitError(f"{name}: frame rate {clip.fps} is not a positive number")
    for key in ("poses", "trans"):
        bad = ~np.isfinite(getattr(clip, key)).all(axis=1)
        if bad.any():
            raise KitError(f"{name}: {key} is not finite in {int(bad.sum())} frame(s), first {int(np.argmax(bad))}")
