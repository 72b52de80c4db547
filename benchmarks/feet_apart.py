"""What it does to captured motion that its feet stay as far apart as they were.

    python benchmarks/feet_apart.py ../shared/data/cmu

Imports every .amc and .bvh twice, with legs that keep their directions under the humanoid's narrower hips, and with legs
spread until the ankles are as far apart as the source's (`data_prep.retarget`). Prints, as medians and means over the clips: distance of the
ankles along the hips while walking, share of frames in which shapes of the body lie more than 1 cm in one another, share of
frames whose zero-moment point is more than 5 cm beyond the soles. Some three minutes on two cores for 66 clips.
"""

from __future__ import annotations

import sys

import torch

from data_prep import retarget as room
from data_prep import sources
from data_prep.sources import load_clips
from physhmr_kit.metrics.feasible import ankles_apart, beyond_support, self_overlap
from physhmr_kit.motion.library import MotionLibrary


def measure(paths: list[str]) -> torch.Tensor:
    """(clips, 3): ankles cm, overlap %, off balance %."""
    library, rows = MotionLibrary(load_clips(paths)), []
    for clip in range(library.num_clips):
        states = library.clip(clip)
        beyond = beyond_support(states)
        rows.append(
            [
                100 * float(ankles_apart(states.body_pos, 30.0).nanmedian()),
                100 * float((self_overlap(states) > 0.01).double().mean()),
                100 * float((beyond[~beyond.isnan()] > 0.05).double().mean()),
            ]
        )
    return torch.tensor(rows)


def main(paths: list[str]) -> None:
    spread = room._feet_apart
    print("| legs | ankles apart cm | overlap % of frames | off balance % of frames |\n|---|---:|---:|---:|")
    for name, turn in (("keep their directions", lambda world, *_: world), ("keep the feet apart", spread)):
        room._feet_apart = turn
        sources._read_once.cache_clear()
        rows = measure(paths)
        cells = (
            f"{float(m):.1f} (mean {float(n):.1f})"
            for m, n in zip(rows.nanmedian(0).values, rows.nanmean(0), strict=True)
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["../shared/data/cmu"])
