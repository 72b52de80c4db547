"""Checks whether a clip can be tracked, and repairs what can be repaired without inventing motion.

A clip at the wrong height is shifted; a start in mid-air or below the floor is cut off. Clips with motion that no body can
perform (teleports) or too short to track are refused. Damage to the file itself, such as NaN or a missing frame rate, is
refused earlier, by `Clip`.

Contact with the floor is judged by the lowest point of the body: the sole corners, or any other joint less 5 cm of flesh, so
that a body lying or crawling on the floor counts as touching it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import roma
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.motion.balance import GRAVITY
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics, linear_velocity
from physhmr_kit.motion.soles import FLESH, NOT_FEET, runs, sole_corners
from physhmr_kit.utils.errors import KitError

MIN_FRAMES = 5
"""Frames at 30 fps. In a shorter clip most velocities are the one-sided differences at its ends."""
PREVIEW_FRAMES = 15
"""Frames at 30 fps: the 0.5 s an expert may look ahead. Beyond the end of a shorter clip its last pose is held."""
LOWEST_FPS = 5.0
"""Hz. A lower rate is usually a frame time by mistake."""

ROOT_SPEED = 12.0
"""m/s. The fastest sprint on record reached 12.4; the runs in CMU reach 4.7."""
ROOT_JUMP, ROOT_ACCELERATION = 0.10, 50.0
"""m and m/s^2: consecutive steps of the root may differ by ROOT_JUMP + ROOT_ACCELERATION / fps^2."""
TRUNK_TURN, LIMB_TURN = 40.0, 80.0
"""rad/s relative to the parent: root, spine, neck and head; limbs. A skater spins at 36; an ankle in CMU 05_10 reaches 61."""

FLOOR_ERROR = 0.02
"""m: a clip whose floor is further from z = 0 is shifted."""
OFF_FLOOR = 0.05
"""m: a body whose lowest point is further above z = 0 is in the air, further below it is under the floor."""
STRIDE_FLIGHT, LONGEST_FLIGHT = 0.2, 1.0
"""s: the flight of a running stride, in which a clip may begin; an upper bound for jumps (1.2 m high at 1 s)."""

_TRUNK = torch.tensor([name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head") for name in JOINT_NAMES])


def check_clip(clip: Clip) -> tuple[Clip, list[str]]:
    """Check a clip for tracking and repair it where possible.

    Args:
        clip: at the file's own rate; resampling to 30 fps would smooth the faults away.

    Returns:
        the clip (the same object if nothing was changed) and one line for each repair or doubt, without the clip's name.

    Raises:
        KitError: the clip is too short, its rate is implausible, or it has a `Teleport`; names clip, frame, fault and remedy.
    """
    if clip.fps < LOWEST_FPS:
        rate = f"{clip.fps:g} frames per second"
        raise KitError(f"{clip.name}: {rate}; a motion needs at least {LOWEST_FPS:g}. Is it a frame time?")
    _refuse_short(clip)
    steps, fault = teleports(clip.root_pos, clip.joint_rot, clip.fps)
    if steps:
        raise Teleport(f"{clip.name}: {fault}. Cut it in two there (Clip.cut) or leave it out", steps, clip)
    lines = []
    lowest, mass_height = _heights(clip)
    floor = floor_height(lowest, clip.fps)
    if abs(floor) > FLOOR_ERROR:
        clip, lowest = replace(clip, trans=clip.trans - np.array([0, 0, floor], np.float32)), lowest - floor
        done, was = ("lowered", "above") if floor > 0 else ("raised", "below")
        lines.append(f"{done} by {100 * abs(floor):.1f} cm: its floor lay that far {was} z = 0")
    lead = _unfit_start(lowest, mass_height, clip.fps)
    if lead:
        start = f"{100 * abs(float(lowest[0])):.0f} cm {'above' if lowest[0] > 0 else 'below'} the floor"
        if lead == len(clip):
            raise KitError(f"{clip.name}: starts {start} and never comes to it; move it onto z = 0 or leave it out")
        clip, lowest = clip.cut(lead), lowest[lead:]
        _refuse_short(clip, f" without its start {start}")
        lines.append(f"first {lead} frame(s), {lead / clip.fps:.2f} s, cut off: it starts {start}")
    return clip, lines + _doubts(lowest, clip.fps)


class Teleport(KitError):
    """A motion with steps that no body can make.

    Attributes:
        steps: frames of `motion` from which they start, ascending.
        motion: the motion they were found in (a `Clip` or a reader's source motion), to be cut there.
    """

    def __init__(self, message: str, steps: list[int], motion):
        super().__init__(message)
        self.steps, self.motion = steps, motion


def teleports(root_pos: torch.Tensor, joint_rot: torch.Tensor, fps: float, first: int = 0) -> tuple[list[int], str]:
    """Find the steps that no body can make.

    Args:
        root_pos: (T, 3) m. joint_rot: (T, 24, 4), or fewer joints (T, J, 4), xyzw, the root's first.
        fps: frames per second.
        first: number of the first frame in the file, for the description.

    Returns:
        the frames from which they start (counted from 0), and a description of the first; [] and "" if there are none.
    """
    if len(root_pos) < 2:
        return [], ""
    step = torch.diff(root_pos, dim=0)
    speed = step.norm(dim=-1) * fps
    sudden = torch.zeros_like(speed)
    change = torch.diff(step, dim=0).norm(dim=-1)
    later = speed[1:] > speed[:-1]  # of two different consecutive steps, the longer one is the jump
    sudden[1:] = torch.where(later, change, 0)
    sudden[:-1] = torch.maximum(sudden[:-1], torch.where(later, 0, change))
    turn = roma.unitquat_geodesic_distance(joint_rot[1:], joint_rot[:-1]) * fps
    allowed = torch.where(_TRUNK, TRUNK_TURN, LIMB_TURN)[: turn.shape[1]].to(turn)

    jumps = sudden > ROOT_JUMP + ROOT_ACCELERATION / fps**2
    at = (jumps | (speed > ROOT_SPEED) | (turn > allowed).any(1)).nonzero().flatten().tolist()
    if not at:
        return [], ""
    k = at[0]
    joint = int((turn[k] / allowed).argmax())
    if jumps[k]:
        what = f"the root jumps by {float(step[k].norm()):.2f} m, at {float(speed[k]):.1f} m/s out of another speed"
    elif speed[k] > ROOT_SPEED:
        what = f"the root moves at {float(speed[k]):.1f} m/s; no body exceeds {ROOT_SPEED:g}"
    else:
        name, most = JOINT_NAMES[joint], float(allowed[joint])
        what = f"{name} turns at {float(turn[k, joint]):.0f} rad/s; none exceeds {most:g}"
    return at, f"teleports from frame {first + k} to {first + k + 1} ({(first + k) / fps:.2f} s): {what}"


def outline(body_pos: torch.Tensor, body_rot: torch.Tensor, humanoid: Humanoid | None = None) -> torch.Tensor:
    """Points that can touch the floor: the 16 sole corners, then every other joint lowered by 5 cm for its flesh.

    Args:
        body_pos: (T, 24, 3) m. body_rot: (T, 24, 4) xyzw. humanoid: the body; the mean shape by default.

    Returns:
        (T, 36, 3) m.
    """
    soles = sole_corners(body_pos, body_rot, humanoid).flatten(-3, -2)
    return torch.cat([soles, body_pos[:, NOT_FEET] - body_pos.new_tensor([0.0, 0.0, FLESH])], dim=1)


def _heights(clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Heights of the mean humanoid's lowest point and centre of mass (segments as points at their joints): (T,) m each."""
    humanoid = Humanoid.mean()
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, humanoid.offsets)
    masses = humanoid.segment_masses()
    return outline(pos, rot, humanoid)[..., 2].amin(1), pos[..., 2] @ (masses / masses.sum())


def floor_height(lowest: torch.Tensor, fps: float) -> float:
    """Height of the floor, m, from the height of the body's lowest point (T,) in frames where it does not rise or fall.

    z = 0 is accepted if the body rests there for a tenth of these frames (otherwise a start under the floor would pass for
    the floor). If not, their 5th percentile is used, because the minimum would follow a single sunken frame; without any
    such frame, the minimum of all.
    """
    still = lowest[linear_velocity(lowest, fps).abs() < 0.5]
    if len(still) == 0:
        return float(lowest.min())
    if (still.abs() <= FLOOR_ERROR).float().mean() >= 0.1:
        return 0.0
    return float(torch.quantile(still, 0.05))


def _refuse_short(clip: Clip, why: str = "") -> None:
    frames = clip.frames_at(CONTROL_FPS)
    if frames < MIN_FRAMES:
        raise KitError(
            f"{clip.name}: {frames} frame(s) at {CONTROL_FPS:g} fps{why}; tracking needs at least {MIN_FRAMES}."
            " Leave the clip out or record more of it"
        )


def _unfit_start(lowest: torch.Tensor, mass_height: torch.Tensor, fps: float) -> int:
    """Number of leading frames in mid-air or under the floor; none if the start is a flight in free fall."""
    off = lowest.abs() > OFF_FLOOR
    lead = len(off) if off.all() else int(off.int().argmin())
    in_flight = lowest[0] > 0 and (lead / fps <= STRIDE_FLIGHT or falls(mass_height[:lead], fps))
    return 0 if in_flight else lead


def falls(height: torch.Tensor, fps: float) -> bool:
    """Whether a centre of mass at height (T,) m falls freely: its fitted parabola has at least half of gravity."""
    t = torch.arange(len(height)).to(height) / fps
    parabola = torch.stack([t**2 / 2, t, torch.ones_like(t)], dim=1)
    return float(torch.linalg.lstsq(parabola, height[:, None]).solution[0, 0]) < -GRAVITY / 2


def _doubts(lowest: torch.Tensor, fps: float) -> list[str]:
    """Faults that are reported but kept, because cutting them out would tear the motion apart."""
    lines = []
    if len(lowest) / fps * CONTROL_FPS < PREVIEW_FRAMES:
        seconds = PREVIEW_FRAMES / CONTROL_FPS
        lines.append(f"kept, but shorter than the {seconds:g} s an expert may look ahead: its last pose is held")
    for start, stop in runs(lowest > OFF_FLOOR):
        if (stop - start) / fps > LONGEST_FLIGHT:
            lines.append(f"kept, but in the air from {start / fps:.2f} to {stop / fps:.2f} s, longer than any jump")
    if lowest.min() < -OFF_FLOOR:
        deepest = int(lowest.argmin())
        lines.append(f"kept, but {-100 * float(lowest[deepest]):.0f} cm under the floor at {deepest / fps:.2f} s")
    return lines
