"""Cuts motions at teleports: calibration frames at the ends are dropped, and a clip with one teleport becomes two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from data_prep.retargeting.source import SourceMotion
from physhmr_kit.motion.check import Teleport
from physhmr_kit.motion.clip import Clip

CALIBRATION = 0.25
"""s: at most this long before the first teleport or after the last one is a calibration pose, not part of the motion."""
SPIKE = 0.25
"""s: frames between two teleports this close are a briefly lost marker, not a motion of their own."""
MOST_PARTS = 4
"""A motion that would be cut into more parts is refused."""

Motion = TypeVar("Motion", Clip, SourceMotion)


def whole_parts(steps: Sequence[int], frames: int, fps: float) -> list[range]:
    """The ranges of frames between teleports that are motions.

    Args:
        steps: increasing numbers of the frames that teleports start from. frames, fps: of the whole motion.

    Returns:
        one range if only the ends were bad, two if the motion teleports once, none if it does so too often.
    """
    borders = [0, *(step + 1 for step in steps), frames]
    stretches = [range(a, b) for a, b in pairwise(borders)]
    while len(stretches) > 1 and len(stretches[0]) <= CALIBRATION * fps:
        stretches.pop(0)
    while len(stretches) > 1 and len(stretches[-1]) <= CALIBRATION * fps:
        stretches.pop()
    parts = [s for s in stretches if len(s) > SPIKE * fps or len(stretches) == 1]
    return parts if len(parts) <= MOST_PARTS else []


def cut(fault: Teleport) -> tuple[list[Clip | SourceMotion], list[str]]:
    """The usable parts of a motion that teleports, and notes on what was done.

    Raises:
        Teleport: more than `MOST_PARTS` parts would be left.
    """
    motion, fps = fault.motion, fault.motion.fps
    frames = len(motion)
    parts = whole_parts(fault.steps, frames, fps)
    if not parts:
        where = str(fault).partition(". Cut it in two")[0]
        raise Teleport(f"{where}; {len(fault.steps)} such steps in {frames} frames", fault.steps, motion)
    lines = []
    if parts[0].start:
        lines.append(f"first {parts[0].start} frame(s) left out: calibration or junk before a jump")
    if parts[-1].stop < frames:
        lines.append(f"last {frames - parts[-1].stop} frame(s) left out: calibration or junk after a jump")
    if len(parts) == 1:
        return [_slice(motion, parts[0], motion.name)], lines
    count = "two" if len(parts) == 2 else str(len(parts))
    steps = [f"from frame {a.stop - 1} to {b.start} ({(a.stop - 1) / fps:.2f} s)" for a, b in pairwise(parts)]
    lines.append(f"cut in {count} where it teleports, {', '.join(steps)}")
    return [_slice(motion, part, f"{motion.name}_part{n}") for n, part in enumerate(parts, start=1)], lines


def _slice(motion: Motion, part: range, name: str) -> Motion:
    return replace(motion.cut(part.start, part.stop), name=name)
