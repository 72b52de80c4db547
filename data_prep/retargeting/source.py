"""`SourceMotion`, the input of the retargeter, its clean-up (low-pass filter, backward elbows), and vector helpers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch
from scipy.signal import butter, sosfiltfilt

from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING

JOINT = {name: i for i, name in enumerate(JOINT_NAMES)}
"""Index of each SMPL joint by name."""


@dataclass(frozen=True)
class SourceMotion:
    """A captured motion on its own skeleton: y-up, facing +z with left at +x in the rest pose, any unit of length.

    Attributes:
        pos: (T, 24, 3) float64, where the bone behind each SMPL joint starts.
        rot: (T, 24, 4) float64 xyzw, world rotation of that bone since the rest pose.
        rest: (24, 3) float64, `pos` of the rest pose.
        fps: frames per second.
        name: name of the clip.
        notes: what was detected in the file and repaired, a line each.
        first: number of the first frame in the file, if frames before it were left out.
    """

    pos: torch.Tensor
    rot: torch.Tensor
    rest: torch.Tensor
    fps: float
    name: str
    notes: tuple[str, ...] = ()
    first: int = 0

    def __len__(self) -> int:
        return len(self.pos)

    def cut(self, start: int, stop: int | None = None) -> SourceMotion:
        """Frames start..stop (Python slice rules)."""
        return replace(self, pos=self.pos[start:stop], rot=self.rot[start:stop], first=self.first + start)


def low_pass(source: SourceMotion, hertz: float = 10.0) -> SourceMotion:
    """The source low-pass filtered at `hertz`: fourth-order zero-phase Butterworth, as is usual for markers.

    The Daz-friendly files shake by a centimetre at 20 Hz and more, and at 30 fps nothing above 15 Hz can be kept.
    Sources of 40 fps or less and clips of less than 12 frames are returned as they are.
    """
    if source.fps <= 4 * hertz or len(source) < 12:
        return source
    sos = butter(2, hertz, fs=source.fps, output="sos")

    def smooth(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(sosfiltfilt(sos, x.numpy(), axis=0, padlen=min(30, len(x) - 1)).copy())

    flips = torch.cumprod((source.rot[1:] * source.rot[:-1]).sum(-1, keepdim=True).sign(), dim=0)
    rot = smooth(
        torch.cat([source.rot[:1], source.rot[1:] * flips])
    )  # q and -q are one rotation; a filter needs the nearer
    return replace(source, pos=smooth(source.pos), rot=rot / rot.norm(dim=-1, keepdim=True))


def bending(source: SourceMotion, upper: int, lower: int, end: int) -> torch.Tensor:
    """Axis about which a limb is bent, times the sine of the bend, in the upper bone's rest frame: (T, 3)."""
    above = unit(source.pos[:, lower] - source.pos[:, upper])
    below = unit(source.pos[:, end] - source.pos[:, lower])
    return roma.quat_action(roma.quat_conjugation(source.rot[:, upper]), torch.linalg.cross(above, below))


def mend_elbows(source: SourceMotion) -> tuple[SourceMotion, tuple[str, ...]]:
    """Turn elbows that bend backwards throughout a file forwards (both do in the Daz-friendly 13_18).

    The elbow's rotation is turned by half a turn about the upper arm: the same flexion and the same twist of the forearm,
    forwards. A source whose upper arm itself is twisted by half a turn and bends "backwards" is left alone, since its
    forearm is where it should be.

    Returns:
        the source, and the sides that were mended.
    """
    pos, rot, mended = source.pos.clone(), source.rot.clone(), []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("collar", "shoulder", "elbow", "wrist", "hand")
        collar, shoulder, elbow, wrist, hand = (JOINT[f"{side}_{n}"] for n in names)
        forward = pos.new_tensor([0.0, -sign, 0.0])  # the axis that bends an arm forwards in the T-pose
        along = unit(source.rest[elbow] - source.rest[shoulder])
        seen = bending(source, shoulder, elbow, wrist).mean(0)
        turned = twist(relative(rot[:, collar], rot[:, shoulder]), along)
        if seen.norm() < 0.2 or seen @ forward > -0.5 * seen.norm() or turned.cos().mean() < 0:
            continue
        mended.append(side)
        flexion = relative(rot[:, shoulder], rot[:, elbow])
        half = roma.rotvec_to_unitquat(torch.pi * along).expand_as(flexion)
        forwards = roma.quat_product(roma.quat_product(half, flexion), roma.quat_conjugation(half))
        mended_elbow = roma.quat_product(rot[:, shoulder], forwards)
        turn = roma.quat_product(mended_elbow, roma.quat_conjugation(rot[:, elbow]))
        for joint in (elbow, wrist, hand):
            pos[:, joint] = pos[:, elbow] + roma.quat_action(turn, pos[:, joint] - pos[:, elbow])
            rot[:, joint] = roma.quat_product(turn, rot[:, joint])
    return (replace(source, pos=pos, rot=rot), tuple(mended)) if mended else (source, ())


def z_up(vectors: torch.Tensor) -> torch.Tensor:
    """Positions or directions (..., 3) of a y-up source in the kit's z-up world."""
    return roma.quat_action(vectors.new_tensor(STANDING).expand(*vectors.shape[:-1], 4), vectors)


def unit(v: torch.Tensor) -> torch.Tensor:
    """Vectors (..., n) at length one."""
    return torch.nn.functional.normalize(v, dim=-1, eps=1e-9)


def angle_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angles between vectors (..., 3) x2 -> (...) rad."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def frame(main: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3): the first column lies along `main` (..., 3), the second in its plane with `side` (..., 3)."""
    first = unit(main)
    second = unit(side - (side * first).sum(-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def smallest_turn(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The smallest rotations (..., 4) xyzw that take unit vectors (..., 3) to others, not opposite ones."""
    cosine = (start * end).sum(-1, keepdim=True)
    return unit(torch.cat([torch.linalg.cross(start, end), 1 + cosine], dim=-1))


def relative(parent: torch.Tensor, child: torch.Tensor) -> torch.Tensor:
    """Rotation of a child in its parent's frame: world rotations (..., 4) xyzw x2 -> (..., 4)."""
    return roma.quat_product(roma.quat_conjugation(parent), child)


def since_rest(rot: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Rotations (T, 4) xyzw relative to a rotation at rest (4,)."""
    return roma.quat_product(rot, roma.quat_conjugation(rest).expand_as(rot))


def twist(rotation: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Angle in [-pi, pi) by which rotations (T, 4) xyzw turn about a unit axis (3,): swing-twist decomposition."""
    angle = 2 * torch.atan2(rotation[:, :3] @ axis, rotation[:, 3])
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def mean_twist(rotation: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    """Circular mean of `twist`: (T, 4) xyzw and (3,) -> () rad."""
    angles = twist(rotation, axis)
    return torch.atan2(angles.sin().mean(), angles.cos().mean())
