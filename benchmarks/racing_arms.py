"""Clips in which hinges of an arm race, and what leading the arm around does about it (`data_prep.arms`).

    python benchmarks/racing_arms.py ../shared/data/cmu

Imports every .bvh and .amc three times: as captured, with joints brought within their limits frame by frame, with arms led around first. For each
clip in which an arm's hinge is faster than 18 rad/s when limited frame by frame it prints, before -> after: the fastest hinge of the two arms as a simulator at
30 Hz is asked for it, and how far the wrists are from where the capture has them, seen from the chest. A few minutes for 66 clips.
"""

from __future__ import annotations

import sys

import roma
import torch

from data_prep import bvh, cmu, sources
from data_prep import retarget as room
from data_prep.arms import RACING
from data_prep.source import JOINT
from data_prep.sources import load_clips
from physhmr_kit.body import dof_names
from physhmr_kit.motion.library import MotionLibrary

HINGES = [i for i, name in enumerate(dof_names()) if any(j in name for j in ("shoulder", "elbow", "wrist"))]


def imported(paths: list[str], keep_limits: bool, lead: bool) -> MotionLibrary:
    """The clips as one of the three imports has them."""
    whole, glide = room.retarget, room.glide
    bvh.retarget = cmu.retarget = lambda source: whole(source, keep_limits=keep_limits)
    if not lead:
        room.glide = lambda joint_rot, fps, offsets: joint_rot
    sources._read_once.cache_clear()
    try:
        return MotionLibrary(load_clips(paths, check=False))
    finally:
        bvh.retarget = cmu.retarget = whole
        room.glide = glide


def fastest(library: MotionLibrary, clip: int) -> float:
    """rad/s of the fastest hinge of the arms."""
    return float(library.clip(clip).dof_pos[:, HINGES].diff(dim=0).abs().max()) * 30.0


def wrists(library: MotionLibrary, clip: int) -> torch.Tensor:
    """Where the wrists are, seen from the chest: (T, 2, 3) m."""
    states, chest = library.clip(clip), JOINT["spine3"]
    away = states.body_pos[:, [JOINT["left_wrist"], JOINT["right_wrist"]]] - states.body_pos[:, [chest]]
    return roma.quat_action(roma.quat_conjugation(states.body_rot[:, [chest]]).expand(-1, 2, -1), away)


def main(paths: list[str]) -> None:
    captured, limited, led = (imported(paths, *how) for how in ((False, False), (True, False), (True, True)))
    print("| clip | fastest hinge of an arm, rad/s | wrists off, largest, cm | frames with a wrist off by 5 cm |")
    print("|---|---:|---:|---:|")
    racing = [c for c in range(len(limited)) if fastest(limited, c) > RACING]
    for clip in racing:
        true = wrists(captured, clip)
        off = [100 * (wrists(library, clip) - true).norm(dim=-1).amax(1) for library in (limited, led)]
        cells = [
            " -> ".join(f"{fastest(library, clip):.0f}" for library in (limited, led)),
            " -> ".join(f"{float(o.max()):.0f}" for o in off),
            " -> ".join(str(int((o > 5).sum())) for o in off),
        ]
        print(f"| {limited.names[clip]} | {' | '.join(cells)} |")
    print(f"\n{len(racing)} of {len(limited)} clips")


if __name__ == "__main__":
    main(sys.argv[1:] or ["../shared/data/cmu"])
