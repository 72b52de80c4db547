"""The checks of a generated clip, measured on its frames; the generator draws again when one fails."""

from __future__ import annotations

from functools import cache

import numpy as np
import roma
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.balance import GRAVITY, acceleration, support_margin, tipping
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.overlap import self_overlap
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState

TOUCHES = 0.004
"""m: a sole corner lower than this is on the floor."""
MARGIN = 0.01
"""m: how far the zero-moment point stays inside the corners on the floor."""
SLIDE = 0.002
"""m: how far a corner on the floor may move from one frame to the next."""
SINKS = 0.001
"""m: how deep a corner may lie under the floor."""
HINGE_SPEED = 12.0
"""rad/s: no hinge turns faster."""
LOAD = (0.3, 2.5)
"""Times the weight: what the floor carries while a foot stands, but for the frames next to a flight."""
FRICTION = 0.5
"""Sideways force over load that no foot exceeds; soles and floor of the simulated body have 1."""
FREE_FALL = 0.5
"""m/s^2: how far the centre of mass's acceleration in flight may be from gravity."""


def find_fault(clip: Clip) -> str:
    """The first thing wrong with a clip, in words; empty when nothing is.

    Args:
        clip: a motion of the mean humanoid at its control rate, made by the kit; a captured one passes no such test.
    """
    states = MotionLibrary([clip]).clip(0)
    corners = sole_corners(states.body_pos.double(), states.body_rot.double()).flatten(1, 2).numpy()
    for fault in (_soles(corners), _hinges(states), _balance(states, corners, clip.fps)):
        if fault:
            return fault
    deep = self_overlap(states)
    if deep.max() > 0:
        return f"limbs {1000 * float(deep.max()):.0f} mm in one another in frame {int(deep.argmax())}"
    return ""


def _soles(corners: np.ndarray) -> str:
    """Corners (T, 16, 3) m: none under the floor, none sliding over it."""
    low = corners[..., 2]
    if low.min() < -SINKS:
        return f"a sole {-1000 * low.min():.1f} mm under the floor in frame {low.min(1).argmin()}"
    down = low < TOUCHES
    slide = np.linalg.norm(np.diff(corners[..., :2], axis=0), axis=-1) * (down[1:] & down[:-1])
    # a sole that rolls over an edge comes near the floor with its other corners, so the lowest decides
    slide[low[1:] > low[1:].min(1, keepdims=True) + 0.001] = 0
    if slide.max() > SLIDE:
        return f"a sole slides {1000 * slide.max():.1f} mm in frame {slide.max(1).argmax()}"
    return ""


def _hinges(states: BodyState) -> str:
    """None too fast. Beyond its limits none arrives here: `PlantedBody` refuses it."""
    speed = torch.diff(states.dof_pos, dim=0).abs() * 30.0
    if speed.max() > HINGE_SPEED:
        frame, hinge = divmod(int(speed.argmax()), speed.shape[1])
        return f"{dof_names()[hinge]} turns at {float(speed.max()):.1f} rad/s in frame {frame}"
    return ""


@cache
def _body() -> tuple[np.ndarray, torch.Tensor]:
    return Humanoid.mean().segment_masses().double().numpy(), Humanoid.mean().segment_centres().double()


def _balance(states: BodyState, corners: np.ndarray, fps: float) -> str:
    """The floor only pushes, within friction, from under the soles; and falls free what it does not touch."""
    masses, offsets = _body()
    centres = states.body_pos.double() + roma.quat_action(states.body_rot.double(), offsets.expand_as(states.body_pos))
    moment, load = tipping(centres.numpy(), masses, fps)
    com = np.average(centres.numpy(), axis=1, weights=masses)
    push = (acceleration(com, fps) + np.array([0, 0, GRAVITY]))[1:-1]
    weights = load[1:-1] / (masses.sum() * GRAVITY)
    down = corners[..., 2] < TOUCHES
    stands = np.asarray(down.any(1))
    inside = np.concatenate(
        [stands[:1], stands[:-2] & stands[1:-1] & stands[2:], stands[-1:]]
    )  # of a contact, not its ends
    air, stands, inside = ~stands[1:-1], stands[1:-1], inside[1:-1]
    off = np.linalg.norm(push, axis=1) * air
    if off.max() > FREE_FALL:
        return f"{off.max():.1f} m/s^2 out of free fall in frame {off.argmax() + 1}"
    for wrong in (inside & (weights < LOAD[0]), stands & ((weights < 0) | (weights > LOAD[1]))):
        if wrong.any():
            return f"{weights[wrong.argmax()]:.2f} times the weight on the floor in frame {wrong.argmax() + 1}"
    carries = inside | (stands & (weights > 0.2))  # of the first and the last touch a frame holds but a part
    slips = carries & (np.linalg.norm(push[:, :2], axis=1) > FRICTION * push[:, 2])
    if slips.any():
        return f"slips in frame {slips.argmax() + 1}"
    at = carries.nonzero()[0] + 1
    points = moment[at] / load[at, None]
    changes = np.flatnonzero((down[at[1:]] != down[at[:-1]]).any(1) | (np.diff(at) > 1)) + 1
    for frames, part in zip(
        np.split(at, changes), np.split(points, changes), strict=True
    ):  # corners on the floor rest there
        margin = support_margin(part, corners[frames[0], down[frames[0]], :2])
        if not margin.min() >= MARGIN:
            return f"zero-moment point {1000 * margin.min():.0f} mm inside the soles in frame {frames[margin.argmin()]}"
    return ""
