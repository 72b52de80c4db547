"""`Clip`: one motion, in memory and on disk, in AMASS conventions."""

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
"""Control rate, Hz; the motion library resamples every clip to it."""


@dataclass(frozen=True)
class Clip:
    """A motion of SMPL's 24 joints: z-up world, metres, radians.

    Attributes:
        poses: (T, 72) float32 axis-angle; the root's three in the world, the others relative to the parent.
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
        self._check()

    def _check(self) -> None:
        if self.poses.ndim != 2 or self.poses.shape[1] != 72:
            raise KitError(f"{self.name}: poses have shape {self.poses.shape}; expected (frames, 72)")
        if len(self) == 0:
            raise KitError(f"{self.name}: the clip has no frames")
        if self.trans.shape != (len(self), 3):
            raise KitError(f"{self.name}: trans has shape {self.trans.shape}; expected ({len(self)}, 3)")
        if not np.isfinite(self.fps) or self.fps <= 0:
            raise KitError(f"{self.name}: frame rate {self.fps} is not a positive number")
        for key in ("poses", "trans"):
            bad = ~np.isfinite(getattr(self, key)).all(axis=1)
            if bad.any():
                raise KitError(f"{self.name}: {key} is not finite in {bad.sum()} frame(s), first {np.argmax(bad)}")

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def duration(self) -> float:
        """Time from the first to the last frame, s."""
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

    def with_joints(self, root_pos, joint_rot) -> Clip:
        """The clip with other pelvis positions and rotations (see `from_joints`); rate, name, betas and gender stay."""
        moved = Clip.from_joints(root_pos, joint_rot, self.fps, self.name)
        return replace(moved, betas=self.betas, gender=self.gender)

    def frames_at(self, fps: float) -> int:
        """Number of frames after resampling to another rate."""
        return int(np.floor(self.duration * fps + 1e-6)) + 1

    def resample(self, fps: float = CONTROL_FPS) -> Clip:
        """The same motion at another rate, interpolated in time: positions linearly, rotations by slerp."""
        if abs(fps - self.fps) < 1e-6:
            return self
        at = torch.arange(self.frames_at(fps), dtype=torch.float64) * (self.fps / fps)
        low = at.floor().long().clamp(max=len(self) - 1)
        high = (low + 1).clamp(max=len(self) - 1)
        blend = (at - low).float()
        rot, pos = self.joint_rot, self.root_pos
        between = slerp(rot[low], rot[high], blend[:, None].expand(-1, NUM_JOINTS))
        moved = torch.lerp(pos[low], pos[high], blend[:, None])
        return replace(self.with_joints(moved, between), fps=fps)

    def cut(self, start: int, stop: int | None = None) -> Clip:
        """The frames [start:stop], with Python slice rules."""
        return replace(self, poses=self.poses[start:stop], trans=self.trans[start:stop])

    def save(self, path: str | os.PathLike) -> Path:
        """Write an .npz in AMASS conventions; the write is atomic."""
        return write_arrays(
            path, poses=self.poses, trans=self.trans, betas=self.betas, gender=self.gender, mocap_framerate=self.fps
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Clip:
        """Load an .npz of the kit or of AMASS (SMPL+H with 156 or SMPL-X with 165 columns, of which the body's 66 are used).

        Raises:
            KitError: the file is missing, truncated or inconsistent, has NaN or no frames, or an unknown layout.
        """
        path = Path(path)
        keys = {"poses", "trans", "betas", "gender", "mocap_framerate", "mocap_frame_rate"}
        files = read_arrays(path, "clip", keys)
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
        gender = next(iter(np.ravel(files.get("gender", ()))), "neutral")  # an odd gender is no reason to refuse a file
        gender = gender.decode() if isinstance(gender, bytes) else str(gender)
        betas = np.zeros(10, np.float32)
        given = np.ravel(files.get("betas", betas))[:10]
        betas[: len(given)] = given
        try:
            return cls(poses, files["trans"], fps, path.stem, betas, gender)
        except KitError as fault:
            raise KitError(f"{path}: {str(fault).split(': ', 1)[-1]}") from fault


def slerp(a: torch.Tensor, b: torch.Tensor, blend: torch.Tensor) -> torch.Tensor:
    """Spherical linear interpolation along the shorter arc: a, b (..., 4) xyzw, blend (...) in 0..1 -> (..., 4)."""
    turn = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(a), b))
    return roma.quat_product(a, roma.rotvec_to_unitquat(turn * blend.unsqueeze(-1)))
