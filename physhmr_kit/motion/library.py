"""`MotionLibrary`: many clips in one packed array, looked up by clip and time in a batched gather."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import roma
import torch

from physhmr_kit.body.hinges import dof_limits, rotation_to_dof
from physhmr_kit.body.skeleton import NUM_DOFS, mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS, Clip, slerp
from physhmr_kit.motion.kinematics import (
    angular_velocity,
    forward_kinematics,
    hinge_kinematics,
    linear_velocity,
    local_rotations,
)
from physhmr_kit.motion.library_files import STATE_WIDTH, map_array, read_index
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

SETTLED_FRAMES = 250_000
"""Frames (2.3 hours, 450 MB) up to which a library caches the states of `MotionLibrary.starts`."""


class Motions:
    """Identity of a library's motions, shared by its copies on other devices: a key for caches of derived data."""


class MotionLibrary:
    """Clips at the control rate with the precomputed states that tracking needs.

    Poses come from forward kinematics on the humanoid's offsets, velocities from central differences. Hinge angles
    are clamped to the anatomical limits, which the simulated body cannot exceed.

    Args:
        clips: motions at any rate; each is resampled to 30 fps.
        offsets: (24, 3) m, the humanoid's; the mean shape by default.
        device: of the tensors.

    Raises:
        KitError: no clips, or a clip shorter than two frames at 30 fps.
    """

    def __init__(self, clips: Sequence[Clip], offsets: torch.Tensor | None = None, device: str | torch.device = "cpu"):
        if not clips:
            raise KitError("motion library: no clips given")
        offsets = mean_offsets() if offsets is None else offsets.cpu()
        parts = [states_of(clip, offsets) for clip in clips]
        packed = torch.cat([p.pack() for p in parts]).to(device)
        self._fill([c.name for c in clips], [len(p) for p in parts], packed, offsets.to(device))

    def _fill(self, names: list[str], lengths: list[int], packed: torch.Tensor, offsets: torch.Tensor) -> None:
        self.device, self.offsets, self.names, self._packed = packed.device, offsets, names, packed
        self.motions = Motions()
        self.lengths = torch.tensor(lengths, device=packed.device)
        """(C,) frames of each clip at 30 fps."""
        self.longest = max(lengths)
        """Frames of the longest clip, without a device synchronisation."""
        self._ends = torch.cumsum(self.lengths, 0) - 1
        self._starts = self._ends + 1 - self.lengths
        self._settled: torch.Tensor | None = None
        self.torques: torch.Tensor | None = None
        """(F, 69) N m: `inverse_dynamics.reference_torques` of each packed row on the mean humanoid, on the CPU; None if the
        library was packed without them."""

    @classmethod
    def open(cls, folder: str | os.PathLike) -> MotionLibrary:
        """Open a library written by `data_prep.pack`, memory-mapped on the CPU.

        Raises:
            KitError: the library is missing or damaged.
        """
        index = read_index(folder)
        library = cls.__new__(cls)
        states = torch.from_numpy(map_array(folder, index.states, (index.frames, STATE_WIDTH)))
        library._fill([c.name for c in index.clips], [c.frames for c in index.clips], states, mean_offsets())
        if index.torques:
            library.torques = torch.from_numpy(map_array(folder, index.torques, (index.frames, NUM_DOFS)))
        return library

    def only(self, wanted: Sequence[bool]) -> MotionLibrary:
        """A library of the clips for which `wanted` is true; it shares the packed frames, whose rows stay the same.

        Raises:
            KitError: `wanted` is false for all clips.
        """
        if all(wanted):
            return self
        kept = torch.tensor(wanted, device=self.device).nonzero().flatten()
        if len(kept) == 0:
            raise KitError(f"none of the {len(self)} clips is wanted")
        chosen = copy.copy(self)
        chosen.motions = Motions()
        chosen.names = [self.names[i] for i in kept.tolist()]
        for name in ("lengths", "_starts", "_ends"):
            setattr(chosen, name, getattr(self, name)[kept])
        chosen.longest = int(chosen.lengths.max())
        return chosen

    @classmethod
    def joined(cls, libraries: Sequence[MotionLibrary]) -> MotionLibrary:
        """Concatenate libraries of one body into a copy on the CPU; torques are kept if all have them."""
        joined = cls.__new__(cls)
        names = unique_names([name for library in libraries for name in library.names])
        lengths = [n for library in libraries for n in library.lengths.tolist()]
        packed = torch.cat([library._packed[library._every_row()].cpu() for library in libraries])
        joined._fill(names, lengths, packed, libraries[0].offsets.cpu())
        torques = [x.torques[x._every_row()].cpu() for x in libraries if x.torques is not None]
        if len(torques) == len(libraries):
            joined.torques = torch.cat(torques)
        return joined

    def _every_row(self) -> torch.Tensor | slice:
        """The packed rows of all clips, in clip order."""
        if int(self.lengths.sum()) == self.num_frames:
            return slice(None)
        every = torch.arange(self.num_frames)
        return torch.cat([every[self.span(c)] for c in range(self.num_clips)])

    def clips(self) -> list[Clip]:
        """The motions as clips of the mean shape at 30 fps."""
        states = map(self.clip, range(self.num_clips))
        return [
            Clip.from_joints(s.root_pos, local_rotations(s.body_rot), CONTROL_FPS, name)
            for s, name in zip(states, self.names, strict=True)
        ]

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.names)

    @property
    def num_frames(self) -> int:
        """Number of packed rows: frames of all clips, including those dropped by `only`."""
        return len(self._packed)

    def __len__(self) -> int:
        return self.num_clips

    def to(self, device: str | torch.device) -> MotionLibrary:
        """The library on another device; itself if it is already there."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved.device, moved._settled = torch.device(device), None
        for name in ("offsets", "lengths", "_starts", "_ends", "_packed"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def last_frames(self, clip_ids: torch.Tensor) -> torch.Tensor:
        """Index of the last frame of each clip: (N,) -> (N,)."""
        return self.lengths.index_select(0, clip_ids) - 1

    def rows(self, clip_ids: torch.Tensor, frame_ids: torch.Tensor) -> torch.Tensor:
        """Packed row of each (clip, frame), frames clamped to the clip: (N,), (N,) -> (N,)."""
        first = self._starts.index_select(0, clip_ids)
        return (first + frame_ids).clamp(first, self._ends.index_select(0, clip_ids))

    def frames(self, clip_ids: torch.Tensor, frame_ids: torch.Tensor) -> BodyState:
        """States at whole frames: clip_ids (N,), frame_ids (N,) at 30 fps -> BodyState of N rows."""
        return self.at(self.rows(clip_ids, frame_ids))

    def at(self, rows: torch.Tensor) -> BodyState:
        """States at packed rows (N,), see `rows` -> BodyState of N rows."""
        return BodyState.unpack(self._packed.index_select(0, rows))

    def starts(self, rows: torch.Tensor) -> BodyState:
        """Initial states for a simulator at packed rows (N,) -> BodyState of N rows.

        Root and hinges are those of `at`; body poses and velocities are recomputed from them, which differs from the clip
        where it exceeds the anatomical limits. Computed for all frames at the first call, or only for the requested rows in
        a library of more than `SETTLED_FRAMES`.
        """
        if self.num_frames > SETTLED_FRAMES:
            return self._settle(self.at(rows))
        if self._settled is None:
            every = torch.arange(self.num_frames, device=self.device)
            self._settled = torch.cat([self._settle(self.at(part)).pack() for part in every.split(4096)])
        return BodyState.unpack(self._settled.index_select(0, rows))

    def _settle(self, s: BodyState) -> BodyState:
        lin, ang = s.body_lin_vel[:, 0], s.body_ang_vel[:, 0]
        return hinge_kinematics(s.root_pos, s.root_rot, lin, ang, s.dof_pos, s.dof_vel, self.offsets)

    def clip(self, clip_id: int) -> BodyState:
        """All frames of one clip."""
        return BodyState.unpack(self._packed[self.span(clip_id)])

    def span(self, clip_id: int) -> slice:
        """The packed rows of one clip."""
        return slice(int(self._starts[clip_id]), int(self._ends[clip_id]) + 1)

    def lookup(self, clip_ids: torch.Tensor, seconds: torch.Tensor) -> BodyState:
        """States at any time: positions and velocities interpolated linearly, rotations by slerp.

        Args:
            clip_ids: (N,) clip index.
            seconds: (N,) time in the clip, clamped to its duration.
        """
        at = (seconds * CONTROL_FPS).clamp(min=0).minimum((self.lengths[clip_ids] - 1).to(seconds))
        frame = at.floor().long()
        a, b, w = self.frames(clip_ids, frame), self.frames(clip_ids, frame + 1), at - frame
        body, dof = w[:, None, None], w[:, None]
        return BodyState(
            torch.lerp(a.body_pos, b.body_pos, body),
            slerp(a.body_rot, b.body_rot, w[:, None].expand(-1, a.body_rot.shape[1])),
            torch.lerp(a.body_lin_vel, b.body_lin_vel, body),
            torch.lerp(a.body_ang_vel, b.body_ang_vel, body),
            torch.lerp(a.dof_pos, b.dof_pos, dof),
            torch.lerp(a.dof_vel, b.dof_vel, dof),
        )


def unique_names(names: Sequence[str]) -> list[str]:
    """Make names unique: repeated ones get the suffix _2, _3 and so on."""
    taken: dict[str, None] = {}
    for name in names:
        free, count = name, 2
        while free in taken:
            free, count = f"{name}_{count}", count + 1
        taken[free] = None
    return list(taken)


def states_of(clip: Clip, offsets: torch.Tensor) -> BodyState:
    """The states of a clip at 30 fps, hinge angles clamped to the limits. offsets: (24, 3) m.

    Raises:
        KitError: a clip shorter than two frames at 30 fps.
    """
    clip = clip.resample(CONTROL_FPS)
    if len(clip) < 2:
        raise KitError(f"{clip.name}: {len(clip)} frame(s) at {CONTROL_FPS:g} fps; a motion needs at least two")
    rot = clip.joint_rot
    body_pos, body_rot = forward_kinematics(clip.root_pos, rot, offsets)
    limits = dof_limits()
    dof = rotation_to_dof(rot[:, 1:]).clamp(limits[:, 0], limits[:, 1])
    return BodyState(
        body_pos,
        roma.quat_normalize(body_rot),
        linear_velocity(body_pos, clip.fps),
        angular_velocity(body_rot, clip.fps),
        dof,
        linear_velocity(dof, clip.fps),
    )
