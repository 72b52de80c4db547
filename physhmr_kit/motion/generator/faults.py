"""Feasibility checks for generated clips; the generator discards a draw that fails one."""

from __future__ import annotations

import numpy as np
import roma
import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.balance import GRAVITY, acceleration, support_margin, tipping
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.overlap import self_overlap
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState

TOUCHES = 0.004
"""m: a lower sole corner is on the floor."""
MARGIN = 0.01
"""m: minimum distance of the zero-moment point from the edge of the support polygon."""
SLIDE = 0.002
"""m: maximum movement of a corner on the floor between two frames."""
SINKS = 0.001
"""m: maximum depth of a corner below the floor."""
HINGE_SPEED = 12.0
"""rad/s: maximum hinge speed."""
LOAD = (0.3, 2.5)
"""Range of the floor's load during contact, in body weights, except next to a flight."""
FRICTION = 0.5
"""Maximum ratio of tangential force to load; the simulated soles and floor have 1."""
FREE_FALL = 0.5
"""m/s^2: maximum deviation of the centre of mass's acceleration from gravity in flight."""


def find_fault(clip: Clip) -> str:
    """Description of the first fault of a clip; empty if there is none.

    Args:
        clip: a synthetic motion of the mean humanoid at the control rate; captured motions fail these checks.
    """
    states = MotionLibrary([clip]).clip(0)
    corners = sole_corners(states.body_pos.double(), states.body_rot.double()).flatten(1, 2).numpy()
    return _soles(corners) or _hinges(states) or _balance(states, corners, clip.fps) or _limbs(states)


def _soles(corners: np.ndarray) -> str:
    """Penetration and sliding of the sole corners (T, 16, 3) m."""
    low = corners[..., 2]
    if low.min() < -SINKS:
        return f"a sole {-1000 * low.min():.1f} mm under the floor in frame {low.min(1).argmin()}"
    down = low < TOUCHES
    slide = np.linalg.norm(np.diff(corners[..., :2], axis=0), axis=-1) * (down[1:] & down[:-1])
    # the other corners of a sole that rolls over an edge are near the floor too, so only the lowest count
    slide[low[1:] > low[1:].min(1, keepdims=True) + 0.001] = 0
    if slide.max() > SLIDE:
        return f"a sole slides {1000 * slide.max():.1f} mm in frame {slide.max(1).argmax()}"
    return ""


def _hinges(states: BodyState) -> str:
    """Hinge speeds. Limits need no check here: `PlantedBody` refuses angles beyond them."""
    speed = torch.diff(states.dof_pos, dim=0).abs() * CONTROL_FPS
    if speed.max() > HINGE_SPEED:
        frame, hinge = divmod(int(speed.argmax()), speed.shape[1])
        return f"{dof_names()[hinge]} turns at {float(speed.max()):.1f} rad/s in frame {frame}"
    return ""


def _limbs(states: BodyState) -> str:
    deep = self_overlap(states)
    if deep.max() > 0:
        return f"limbs {1000 * float(deep.max()):.0f} mm in one another in frame {int(deep.argmax())}"
    return ""


def _balance(states: BodyState, corners: np.ndarray, fps: float) -> str:
    """Floor forces: they must push, within friction, from under the soles; without contact the body falls freely."""
    humanoid, pos = Humanoid.mean(), states.body_pos.double()
    masses, offsets = humanoid.segment_masses().double().numpy(), humanoid.segment_centres().double()
    centres = (pos + roma.quat_action(states.body_rot.double(), offsets.expand_as(pos))).numpy()
    moment, load = tipping(centres, masses, fps)
    com = np.average(centres, axis=1, weights=masses)
    push = (acceleration(com, fps) + np.array([0, 0, GRAVITY]))[1:-1]
    weights = load[1:-1] / (masses.sum() * GRAVITY)
    down = corners[..., 2] < TOUCHES
    touches = np.asarray(down.any(1))
    stands = touches[1:-1]
    inside = stands & touches[:-2] & touches[2:]  # not the first or last frame of a contact
    off = np.linalg.norm(push, axis=1) * ~stands
    if off.max() > FREE_FALL:
        return f"{off.max():.1f} m/s^2 out of free fall in frame {off.argmax() + 1}"
    for wrong in (inside & (weights < LOAD[0]), stands & ((weights < 0) | (weights > LOAD[1]))):
        if wrong.any():
            return f"{weights[wrong.argmax()]:.2f} times the weight on the floor in frame {wrong.argmax() + 1}"
    carries = inside | (stands & (weights > 0.2))  # the first and last frame of a contact carry only part of the load
    slips = carries & (np.linalg.norm(push[:, :2], axis=1) > FRICTION * push[:, 2])
    if slips.any():
        return f"slips in frame {slips.argmax() + 1}"
    at = carries.nonzero()[0] + 1
    points = moment[at] / load[at, None]
    changes = np.flatnonzero((down[at[1:]] != down[at[:-1]]).any(1) | (np.diff(at) > 1)) + 1
    # while the same corners are on the floor they do not move
    for frames, part in zip(np.split(at, changes), np.split(points, changes), strict=True):
        margin = support_margin(part, corners[frames[0], down[frames[0]], :2])
        if not margin.min() >= MARGIN:
            return f"zero-moment point {1000 * margin.min():.0f} mm inside the soles in frame {frames[margin.argmin()]}"
    return ""
