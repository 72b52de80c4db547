"""Detects motions that need more than a flat floor: sitting on a chair, climbing stairs or ladders, hanging.

A frame is unsupported where the zero-moment point lies far beyond the soles and no other part of the body touches the floor,
or where nothing touches it for longer than any jump.
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
"""m: a zero-moment point further beyond the soles is not explained by a foot, a step or noise."""
SUSTAINED = 0.7
"""s: a push off a wall, a stumble or a lunge is shorter than this; sitting is not."""
SHARE = 0.1
"""A smaller share of unsupported frames is not reported."""

_TOUCHES = 0.12  # m: height below which a joint of hands, knees, hips or head lies on the floor
_AIR = 0.15  # m: height of the lowest joint above which no foot is on the floor
_OTHERS = [joint for joint in range(NUM_JOINTS) if joint not in FEET]


def unsupported(clip: Clip) -> torch.Tensor:
    """(T,) bool at 30 Hz: frames in which the floor does not support the body."""
    states = MotionLibrary([clip]).clip(0)
    height = states.body_pos[..., 2]
    touches = height[:, _OTHERS].amin(1) < _TOUCHES
    off = (beyond_support(states, CONTROL_FPS).nan_to_num(0.0) > FAR) & ~touches
    flies = (height.amin(1) > _AIR) & ~touches
    found = torch.zeros(len(height), dtype=torch.bool)
    for frames, least in ((off, SUSTAINED), (flies, LONGEST_FLIGHT)):
        for start, stop in runs(frames):
            if (stop - start) / CONTROL_FPS > least:
                found[start:stop] = True
    return found


def unsupported_share(clip: Clip) -> float:
    """The share of a clip's frames, 0 to 1, in which the floor does not support the body."""
    return float(unsupported(clip).double().mean())


def is_doubted(share: float) -> bool:
    """Whether a clip with this `unsupported_share` is reported, and left out by `--skip-unsupported`."""
    return share >= SHARE
