"""The BVH format: hierarchy and motion block. Which joint is which is found out in `data_prep.bvh`.

Order of axes, number of channels and rate are read from the file, never assumed: a joint's rotation is the product of
its axis rotations in the order written, leftmost outermost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import read_text, with_decimal_points

_USUAL_RATES = {24, 25, 30, 48, 50, 60, 72, 75, 90, 100, 120, 144, 180, 200, 240, 480}


@dataclass
class Joint:
    """One joint of a BVH hierarchy; `tip` is the offset of its End Site, if it has one."""

    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[str] = field(default_factory=list)
    tip: tuple[float, ...] | None = None


@dataclass(frozen=True)
class BvhMotion:
    """A BVH file as read: joints (parents first), values (T, all channels in file order), frames per second, assumptions."""

    joints: list[Joint]
    values: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()

    def values_by_joint(self) -> list[np.ndarray]:
        """Each joint's own columns of `values`: (T, its channels)."""
        ends = np.cumsum([len(joint.channels) for joint in self.joints])
        return np.split(self.values, ends[:-1], axis=1)


def parse_bvh(path: str | Path) -> BvhMotion:
    """Read the hierarchy and the motion block.

    Raises:
        KitError: not a BVH, a hierarchy that does not close, a truncated or over-long motion block, NaN, no frames.
    """
    path = Path(path)
    head, found, motion = re.sub(r"\r\n?", "\n", read_text(path)).partition("MOTION")
    if "HIERARCHY" not in head:
        raise KitError(f"{path}: no HIERARCHY section; is it a .bvh?")
    if not found:
        raise KitError(f"{path}: no MOTION section; the file is cut short")
    try:
        joints = _parse_hierarchy(head[head.index("HIERARCHY") :])
    except (ValueError, IndexError, TypeError, StopIteration) as fault:
        raise KitError(f"{path}: the HIERARCHY section cannot be read ({fault or 'it ends early'})") from fault
    return BvhMotion(joints, *_parse_motion(with_decimal_points(motion), sum(len(j.channels) for j in joints), path))


def _parse_hierarchy(head: str) -> list[Joint]:
    names: list[str] = []  # may hold blanks and commas, so they are replaced by numbers first

    def take_name(match: re.Match) -> str:
        names.append(match[2].strip())
        return f"\n{match[1].upper()} {len(names) - 1}\n"

    head = re.sub(r"(?im)^[ \t]*(ROOT|JOINT)\b[ \t]*([^\n{]*)", take_name, head)
    words = iter(with_decimal_points(head).replace("{", " { ").replace("}", " } ").split())
    joints: list[Joint] = []
    open_joints: list[int | None] = []  # None stands for an End Site
    pending: int | None = None
    for word in words:
        if word in ("ROOT", "JOINT"):
            parent = open_joints[-1] if open_joints else -1
            if parent is None or (word == "JOINT") != (parent >= 0):
                raise ValueError(f"{word} in the wrong place")
            pending = len(joints)
            joints.append(Joint(names[int(next(words))], parent))
        elif word.lower() == "end":
            while next(words) != "{":  # End Site, with a name in some files
                pass
            open_joints.append(None)
        elif word == "{":
            open_joints.append(pending)
        elif word == "}":
            open_joints.pop()
        elif word.upper() == "OFFSET":
            offset = tuple(float(next(words)) for _ in range(3))
            if open_joints[-1] is None:
                joints[next(i for i in reversed(open_joints) if i is not None)].tip = offset
            else:
                joints[open_joints[-1]].offset = offset
        elif word.upper() == "CHANNELS":
            channels = [next(words).lower() for _ in range(int(next(words)))]
            if any(c[0] not in "xyz" or c[1:] not in ("position", "rotation") for c in channels):
                raise ValueError(f"unknown channel among {' '.join(channels)}")
            if (joint := open_joints[-1]) is None:
                raise ValueError("CHANNELS in an End Site")
            joints[joint].channels = channels
        elif word != "HIERARCHY":
            raise ValueError(f"'{word}' not understood")
    if open_joints:
        raise ValueError("a brace is not closed")
    if not joints:
        raise ValueError("no joints")
    return joints


def _parse_motion(motion: str, channels: int, path: Path) -> tuple[np.ndarray, float, tuple[str, ...]]:
    lines = [line for line in motion.splitlines() if line.strip()]
    try:
        frames = int(lines[0].split(":")[1])
        step = float(lines[1].split(":")[1])
    except (ValueError, IndexError) as fault:
        raise KitError(f"{path}: the MOTION section does not start with Frames: and Frame Time:") from fault
    rows = lines[2:]
    if frames <= 0 or not rows:
        raise KitError(f"{path}: the clip has no frames")
    fps, notes = _rate(step, path)
    if not channels:
        raise KitError(f"{path}: the hierarchy declares no channels; nothing moves")
    words = " ".join(rows).split()
    if len(words) == frames * channels and len(rows) != frames:  # frames wrapped over several lines: the numbers count
        rows = [" ".join(words[i : i + channels]) for i in range(0, len(words), channels)]
    wrong = next((i for i, row in enumerate(rows) if len(row.split()) != channels), None)
    if wrong is not None:
        count, last = len(rows[wrong].split()), wrong == len(rows) - 1 and wrong > 0
        hint = ": the file is cut short" if last else ""
        raise KitError(
            f"{path}: frame {wrong + 1} holds {count} values where the hierarchy declares {channels} channels{hint}"
        )
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError as fault:
        raise KitError(f"{path}: the MOTION section holds something that is not a number ({fault})") from fault
    if len(rows) != frames:
        what = "is cut short" if len(rows) < frames else "holds more than it declares"
        raise KitError(f"{path}: {len(rows)} frames where {frames} are declared: the file {what}")
    values = values.reshape(frames, channels)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise KitError(f"{path}: not finite in {int(bad.sum())} frame(s), first {int(bad.argmax()) + 1}")
    return values, fps, notes


def _rate(step: float, path: Path) -> tuple[float, tuple[str, ...]]:
    """Frames per second of a frame time in seconds, and a note where the file gives the rate in its place."""
    if not np.isfinite(step) or step <= 0:
        raise KitError(f"{path}: frame time {step} is not a positive number")
    if step in _USUAL_RATES:
        return step, (f"Frame Time is {step:g}: taken for the rate, {step:g} Hz, as no frame lasts {step:g} s",)
    if step > 1:
        raise KitError(f"{path}: frame time {step:g} s; expected seconds, e.g. 0.0333333 for 30 Hz")
    fps = 1.0 / step
    return (float(round(fps)) if abs(fps - round(fps)) < 0.02 else fps), ()  # 0.00833333 s is 120 Hz


def rest_positions(motion: BvhMotion) -> torch.Tensor:
    """Joint positions at zero rotations: (J, 3) float64, in the file's unit.

    Files that give every joint position channels may leave OFFSET empty; their median position is the offset then.
    """
    rest: list[torch.Tensor] = []
    for joint, values in zip(motion.joints, motion.values_by_joint(), strict=True):
        offset = torch.tensor(joint.offset, dtype=torch.float64)
        if joint.parent >= 0:
            if not offset.any():
                for k, channel in enumerate(joint.channels):
                    if channel.endswith("position"):
                        offset["xyz".index(channel[0])] = float(np.median(values[:, k]))
            offset = rest[joint.parent] + offset
        rest.append(offset)
    return torch.stack(rest)


def forward(motion: BvhMotion, wanted: set[int], radians: bool = False) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """World position (T, 3) and world rotation (T, 4) xyzw of the wanted joints: index -> (pos, rot).

    Args:
        wanted: joints and all their ancestors. radians: the rotations are not in degrees.
    """
    frames, world = len(motion.values), {}
    for i, (joint, values) in enumerate(zip(motion.joints, motion.values_by_joint(), strict=True)):
        if i not in wanted:
            continue
        own = torch.from_numpy(values)
        offset = torch.tensor(joint.offset, dtype=torch.float64).repeat(frames, 1)
        moves = [k for k, c in enumerate(joint.channels) if c.endswith("position")]
        if joint.parent < 0 or (own[:, moves] != 0).any():  # zeros in every frame: a writer that means "at OFFSET"
            for k in moves:  # positions replace the offset in every writer we know
                offset[:, "xyz".index(joint.channels[k][0])] = own[:, k]
        spins = [k for k, c in enumerate(joint.channels) if c.endswith("rotation")]
        turn = roma.identity_quat(frames, dtype=torch.float64)
        if spins:
            order = "".join(joint.channels[k][0] for k in spins).upper()
            turn = roma.euler_to_unitquat(order, own[:, spins], degrees=not radians)
        if joint.parent < 0:
            world[i] = offset, turn
        else:
            parent_pos, parent_rot = world[joint.parent]
            world[i] = parent_pos + roma.quat_action(parent_rot, offset), roma.quat_product(parent_rot, turn)
    return world


def with_ancestors(joints: list[Joint], chosen: Iterable[int]) -> set[int]:
    """Indices of joints and of all joints above them."""
    wanted: set[int] = set()
    for i in chosen:
        while i >= 0 and i not in wanted:
            wanted.add(i)
            i = joints[i].parent
    return wanted
