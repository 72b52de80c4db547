"""Grounding: aligns a captured motion with the flat floor z = 0 and plants its feet in stance.

Four steps, each a function: `level` fits the floor the captured feet stood on and maps it to z = 0; `settle_feet` flattens
soles that are nearly flat in stance and bends the toes of a raised heel; `plant_feet` removes sliding and penetration, the
part common to both feet by moving the root and the rest by bending the legs; `lift_sunken` raises a body that stands on its
hands under the floor.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from physhmr_kit.body.skeleton import LEGS, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.kinematics import angular_velocity, forward_kinematics, local_rotations
from physhmr_kit.motion.leg_ik import reach_with, turn_between, turn_x
from physhmr_kit.motion.soles import (
    FLESH,
    NOT_FEET,
    body_poses,
    contact_point,
    find_stance,
    is_slow,
    runs,
    sole_corners,
    sole_tilt,
)


def ground(clip: Clip) -> Clip:
    """Align a clip with the floor z = 0 and plant its feet. Number of frames, rate and name stay the same."""
    clip = level(clip)
    stance = stance_of(clip)
    return lift_sunken(plant_feet(settle_feet(clip, stance), stance), stance)


def stance_of(clip: Clip) -> torch.Tensor:
    """Stance of the left and the right foot of a levelled clip: (T, 2) bool; see `find_stance`."""
    return find_stance(sole_corners(*body_poses(clip)), clip.fps)


def _smooth(values: np.ndarray, seconds: float, fps: float) -> np.ndarray:
    return gaussian_filter1d(values, seconds * fps, axis=0, mode="nearest")


# --- level -----------------------------------------------------------------------------------------------------------

_SLOPE = 0.02  # rad: standard deviation of the floor's slope in captures
_STEEPEST = 0.035  # rad: maximum slope
_PLACE = 0.25  # m: contacts nearer than this are redundant
_NOISE = 0.015  # m: standard deviation of a stance's mean contact from the plane


def level(clip: Clip) -> Clip:
    """Fit the plane the feet stand on, rotate it level and move the clip onto z = 0.

    CMU's floors rise by up to 2 cm per metre walked. The plane is a robust fit to one point per stance, in which each place
    counts once (repeated steps on the spot add no information), with a prior that keeps the plane level where the clip does
    not determine it.
    """
    pos, rot = body_poses(clip)
    point, velocity = contact_point(sole_corners(pos, rot), clip.fps)
    slow = is_slow(velocity, point, clip.fps)
    if not slow.any():
        slow |= True
    plane, centre = _fit_floor(_stance_points(point, slow, clip.fps))
    up = torch.nn.functional.normalize(torch.cat([-plane[1:], plane.new_ones(1)]), dim=0)
    turn = turn_between(up, up.new_tensor([0.0, 0.0, 1.0]))
    pivot = torch.cat([centre, plane[:1]])
    root = roma.quat_action(turn.expand(len(pos), 4), pos[:, 0] - pivot) + torch.cat([centre, plane.new_zeros(1)])
    root[:, :2] -= root[0, :2].clone()
    return clip.with_joints(root, local_rotations(roma.quat_product(turn.expand_as(rot), rot)))


def _stance_points(point: torch.Tensor, slow: torch.Tensor, fps: float) -> torch.Tensor:
    """Mean contact point of each run in which a foot is slow and low: (S, 3) m, at least one. point: (T, 2, 3)."""
    floor = torch.quantile(point[slow][:, 2], 0.1)
    low = slow & ((point[..., 2] - floor).abs() < 0.10)
    stances = [point[a:b, foot] for foot in (0, 1) for a, b in runs(low[:, foot]) if (b - a) / fps >= 0.05]
    means = [stance.mean(0) for stance in stances]
    return torch.stack(means) if means else point[slow].mean(0, keepdim=True)


def _fit_floor(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Robust fit of a plane z = a + b . (xy - centre) to points (S, 3): (3,) a, b and the centre (2,)."""
    centre = points[:, :2].mean(0)
    design = torch.cat([torch.ones(len(points), 1, dtype=points.dtype), points[:, :2] - centre], dim=1)
    prior = torch.diag(points.new_tensor([0.0, (_NOISE / _SLOPE) ** 2, (_NOISE / _SLOPE) ** 2]))
    plane = torch.stack([points[:, 2].median(), *points.new_zeros(2)])
    place = 1 / torch.exp(-((torch.cdist(points[:, :2], points[:, :2]) / _PLACE) ** 2) / 2).sum(1)
    for noise in (0.06, 0.04, 0.03, 0.02, *[_NOISE] * 5):
        # Geman-McClure weights with decreasing scale: a foot on a step or on tiptoe does not tilt the floor
        residual = (points[:, 2] - design @ plane) / noise
        weight = (place / (1 + residual**2) ** 2).unsqueeze(-1)
        plane = torch.linalg.solve(design.T @ (weight * design) + prior, design.T @ (weight[:, 0] * points[:, 2]))
    plane[1:] *= (_STEEPEST / plane[1:].norm().clamp(min=_STEEPEST)).clamp(max=1)
    return plane, centre


# --- settle ----------------------------------------------------------------------------------------------------------

_HEEL_STRIKE = 0.15
"""Maximum time from heel strike to a flat foot, s; 0.1 s in a walk."""


def settle_feet(clip: Clip, stance: torch.Tensor) -> Clip:
    """Flatten the soles of feet in stance.

    Roll is removed in stance, because nobody stands on the edge of a foot for long. Pitch is removed completely below 5 degrees
    and kept above 25, where the heel or forefoot is raised on purpose. After the heel strike a raised forefoot is lowered whatever
    its pitch: feet standing on their heels are errors of the capture (20 to 30 degrees in CMU subject 05). The toes of a raised
    heel are kept flat. Corrections fade in and out over about 0.1 s. Ankle positions do not change.
    """
    pos, rot = body_poses(clip)
    weight = torch.from_numpy(_smooth(stance.double().numpy(), 0.06, clip.fps))
    down = torch.from_numpy(_smooth(_struck(stance, clip.fps).double().numpy(), 0.06, clip.fps))
    yaw, pitch, roll = sole_tilt(rot).unbind(-1)
    pitch = pitch * (1 - weight * _fade(pitch.abs(), 0.08, 0.45))
    pitch = torch.where(pitch < 0, pitch * (1 - down), pitch)
    roll = roll * (1 - weight * _fade(roll.abs(), 0.5, 0.8))
    upright = rot.new_tensor(STANDING)
    rot = rot.clone()
    for foot, (_, _, ankle, toe) in enumerate(LEGS.values()):
        toe_local = roma.quat_product(roma.quat_conjugation(rot[:, ankle]), rot[:, toe])
        angles = torch.stack([yaw[:, foot], pitch[:, foot], roll[:, foot]], dim=-1)
        rot[:, ankle] = roma.quat_product(roma.euler_to_unitquat("ZYX", angles), upright.expand(len(rot), 4))
        flat = turn_x(-pitch[:, foot].clamp(0, 1.0))
        rot[:, toe] = roma.quat_product(rot[:, ankle], slerp(toe_local, flat, weight[:, foot]))
    return clip.with_joints(pos[:, 0], local_rotations(rot))


def _struck(stance: torch.Tensor, fps: float) -> torch.Tensor:
    """Frames of a stance after its heel strike: (T, 2) bool."""
    over = torch.zeros_like(stance)
    for foot in (0, 1):
        for start, stop in runs(stance[:, foot]):
            over[start + round(_HEEL_STRIKE * fps) : stop, foot] = True
    return over


def _fade(value: torch.Tensor, full: float, none: float) -> torch.Tensor:
    """1 up to `full`, 0 from `none` on, smoothstep in between."""
    t = ((none - value) / (none - full)).clamp(0, 1)
    return t * t * (3 - 2 * t)


# --- plant -----------------------------------------------------------------------------------------------------------


def plant_feet(clip: Clip, stance: torch.Tensor) -> Clip:
    """Remove sliding and penetration of feet in stance: the common part by moving the root, the rest by bending the legs.

    Args:
        clip: a levelled clip.
        stance: (T, 2) bool, frames in which each foot stands.
    """
    if not stance.any():
        return clip
    pos, rot = body_poses(clip)
    corners = sole_corners(pos, rot)
    turning = angular_velocity(rot[:, [7, 8]], clip.fps).norm(dim=-1)
    root_shift = _root_correction(corners, stance / (1 + turning**2), clip.fps)
    foot_shift = torch.zeros_like(corners[:, :, 0])
    for _ in range(3):  # smoothing leaves a residual, which is corrected again
        moved = corners + (root_shift[:, None] + foot_shift).unsqueeze(2)
        foot_shift = foot_shift + _foot_corrections(moved, stance, clip.fps)
    target = pos[:, [7, 8]] + root_shift[:, None] + foot_shift
    return _lowered_to(clip, pos + root_shift[:, None], rot, target)


def stand_at(clip: Clip, root_pos: torch.Tensor, body_rot: torch.Tensor, ankles: torch.Tensor) -> Clip:
    """Move a clip's pelvis and ankles to given positions: the legs bend, all other bodies keep their rotations.

    Where an ankle is out of reach, the pelvis is lowered, by 5 cm at most.

    Args:
        root_pos: (T, 3) m, z-up. body_rot: (T, 24, 4) xyzw in the world. ankles: (T, 2, 3) m, left and right.
    """
    pos, _ = forward_kinematics(root_pos, local_rotations(body_rot), mean_offsets().double())
    return _lowered_to(clip, pos, body_rot, ankles)


def _lowered_to(clip: Clip, pos: torch.Tensor, rot: torch.Tensor, ankles: torch.Tensor) -> Clip:
    pos[..., 2] -= _out_of_reach(pos[:, [1, 2]], ankles, clip.fps)[:, None]
    return _with_ankles(clip, pos, rot, ankles)


def _with_ankles(clip: Clip, pos: torch.Tensor, rot: torch.Tensor, ankles: torch.Tensor) -> Clip:
    """The clip with body positions (T, 24, 3) m and rotations (T, 24, 4), the legs bent to ankles at (T, 2, 3) m."""
    rot, offsets = rot.clone(), mean_offsets().double()
    for foot, (hip, knee, ankle, _) in enumerate(LEGS.values()):
        bones = offsets[knee], offsets[ankle]
        rot[:, hip], rot[:, knee] = reach_with(pos[:, hip], ankles[:, foot], rot[:, hip], rot[:, knee], *bones)
    return clip.with_joints(pos[:, 0], local_rotations(rot))


_LEGS_SLIP = 0.08  # m/s: slower slip is left to the legs; captured roots are accurate, and feet creep in any capture


def _root_correction(corners: torch.Tensor, weight: torch.Tensor, fps: float) -> torch.Tensor:
    """Correction of the root that is common to the standing feet: (T, 3) m.

    Horizontally minus the integral of their common slip (a motion retargeted to legs of another length slides at every step
    in the same direction), vertically minus their height; both smoothed, and interpolated where no foot stands.
    weight: (T, 2) of each foot.
    """
    _, velocity = contact_point(corners, fps)
    error = torch.cat([velocity[..., :2], corners[..., 2].amin(-1, keepdim=True)], dim=-1)
    weighted = _smooth((weight.unsqueeze(-1) * error).sum(1).numpy(), 0.15, fps)
    total = _smooth(weight.sum(1).numpy(), 0.15, fps)
    frames, known = np.arange(len(total)), np.flatnonzero(total > 1e-3)
    axes = [np.interp(frames, known, weighted[known, k] / total[known]) for k in range(3)]
    bridged = _smooth(np.stack(axes, axis=1), 0.05, fps)
    slip = bridged[:, :2]
    slip = slip / (1 + (_LEGS_SLIP / np.maximum(np.linalg.norm(slip, axis=1, keepdims=True), 1e-6)) ** 2)
    drift = np.concatenate([np.zeros((1, 2)), np.cumsum((slip[1:] + slip[:-1]) / 2, axis=0) / fps])
    return -torch.from_numpy(np.concatenate([drift, bridged[:, 2:]], axis=1))


def _foot_corrections(corners: torch.Tensor, stance: torch.Tensor, fps: float) -> torch.Tensor:
    """Remaining correction of each foot: (T, 2, 3) m. Static and on the floor in stance, smooth in between."""
    _, velocity = contact_point(corners, fps)
    low = corners[..., 2].amin(-1)
    frames = np.arange(len(stance))
    shift = np.zeros((len(stance), 2, 3))
    for foot in (0, 1):
        known = stance[:, foot].nonzero().flatten().numpy()
        if len(known) == 0:
            continue
        wanted = np.zeros((len(stance), 3))
        wanted[:, 2] = -low[:, foot].numpy()
        for start, stop in runs(stance[:, foot]):
            slid = np.cumsum(velocity[start:stop, foot, :2].numpy(), axis=0) / fps
            wanted[start:stop, :2] = slid.mean(0) - slid  # the foot stays at its mean position
        held = np.clip(frames, known[0], known[-1])
        shift[:, foot] = PchipInterpolator(known, wanted[known])(held) if len(known) > 1 else wanted[known]
        shift[:, foot] = _smooth(shift[:, foot], 0.02, fps)
        sunk = np.maximum(-(low[:, foot].numpy() + shift[:, foot, 2]), 0)
        shift[:, foot, 2] += _smooth(sunk, 0.02, fps)
    return torch.from_numpy(shift)


def _out_of_reach(hips: torch.Tensor, targets: torch.Tensor, fps: float) -> torch.Tensor:
    """How far the pelvis must be lowered to bring both ankles within reach: (T,) m, smooth. hips, targets: (T, 2, 3)."""
    thigh, shank = mean_offsets().double()[[4, 7]].norm(dim=-1)
    longest = 0.996 * float(thigh + shank)  # a knee that straightens completely would snap
    line = targets - hips
    below = (longest**2 - (line[..., :2] ** 2).sum(-1)).clamp(min=0).sqrt()
    missing = (-line[..., 2] - below).clamp(min=0, max=0.05).amax(-1).numpy()
    return torch.from_numpy(_smooth(maximum_filter1d(missing, round(0.1 * fps) + 1), 0.05, fps))


# --- lift ------------------------------------------------------------------------------------------------------------

_SUNK = 0.05  # m: smaller penetration of hands and knees is kept


def lift_sunken(clip: Clip, stance: torch.Tensor) -> Clip:
    """Raise a body whose hands, knees or head are below the floor; feet in stance stay where they are.

    A capture is scaled by its legs; arms of other proportions then reach below the floor in a handstand or cartwheel.

    Args:
        clip: levelled and planted. stance: (T, 2) bool, frames in which each foot stands.
    """
    pos, rot = body_poses(clip)
    depth = (FLESH - pos[:, NOT_FEET, 2].amin(1)).clamp(min=0).numpy()
    if depth.max() <= _SUNK:
        return clip
    height = _smooth(maximum_filter1d(depth, 2 * round(0.1 * clip.fps) + 1), 0.05, clip.fps)
    lift = torch.from_numpy(height)[:, None] * pos.new_tensor([0.0, 0.0, 1.0])
    held = torch.from_numpy(_smooth(stance.double().numpy(), 0.06, clip.fps)).clamp(0, 1).unsqueeze(-1)
    target = pos[:, [7, 8]] + lift[:, None] * (1 - held)
    return _with_ankles(clip, pos + lift[:, None], rot, target)
