"""Support: does a clip stand on what is there? Sitting on a chair, stairs, ladders and hanging are not, on a bare floor.

A frame is unsupported where the zero-moment point lies far beyond the soles and nothing else of the body touches the floor, or where nothing
touches it for longer than any jump.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import FEET, NUM_JOINTS
from physhmr_kit.metrics.feasible import beyond_support
from physhmr_kit.motion.check import LONGEST_FLIGHT
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.soles import runs

FAR = 0.15
"""m: a zero-moment point further beyond the soles is not what a foot, a step or noise explains."""
SUSTAINED = 0.7
"""s: a push from the wall, a stumble or a lunge is over by then; who sits stays."""
SHARE = 0.1
"""A smaller share of a clip's frames is not worth a line."""

_TOUCHES = 0.12  # m: height of a joint of hands, knees, hips or head that lies on the floor
_AIR = 0.10  # m: height of the lowest joint, ankles and toes, of a foot on the floor at most
_OTHERS = [joint for joint in range(NUM_JOINTS) if joint not in FEET]


def unsupported(clip: Clip) -> torch.Tensor:
    """(T,) bool at 30 Hz: frames in which nothing that is there carries the body."""
    states = MotionLibrary([clip]).clip(0)
    height = states.body_pos[..., 2]
    touches = height[:, _OTHERS].amin(1) < _TOUCHES
    off = (beyond_support(states, CONTROL_FPS).nan_to_num(0.0) > FAR) & ~touches
    flies = (height.amin(1) > _AIR + 0.05) & ~touches
    found = torch.zeros(len(height), dtype=torch.bool)
    for frames, least in ((off, SUSTAINED), (flies, LONGEST_FLIGHT)):
        for start, stop in runs(frames):
            if (stop - start) / CONTROL_FPS > least:
                found[start:stop] = True
    return found


def unsupported_share(clip: Clip) -> float:
    """The share of a clip's frames, 0 to 1, in which nothing that is there carries the body."""
    return float(unsupported(clip).double().mean())


def is_doubted(share: float) -> bool:
    """Whether so large a share of a clip's frames lacks support that the clip is doubted; `--skip-unsupported` leaves it out."""
    return share >= SHARE


def doubt_support(share: float) -> list[str]:
    """A line about a clip whose support is doubted, none about another; `share` is its `unsupported_share`."""
    if not is_doubted(share):
        return []
    return [
        f"kept, but without support in {100 * share:.0f} % of its frames: does it sit, climb or hang on what is not there?"
    ]
