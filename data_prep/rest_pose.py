"""Rest poses: every bone's frame turned so that the skeleton at rest stands in a T-pose, y-up, facing +z, left at +x.

The retargeter reads a bone's rotation *since rest* and needs that rest to be upright. Most skeletons stand upright at zero
rotations, facing wherever they like: one turn for all bones does. Others (Rokoko, LAFAN1, Bandai-Namco) have every bone along one
axis at zero rotations; there each bone gets a turn of its own, which lays it along the T-pose. Directions come from the
skeleton's own geometry (hip line, spine, collars, limbs); the turn about a bone's axis is the one of its zero pose, by quarter
turns as the motion asks for.
"""

from __future__ import annotations

import itertools
import math

import roma
import torch

from data_prep.source import twist, unit
from physhmr_kit.body.skeleton import JOINT_NAMES, PARENTS, mean_offsets

Rows = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""SMPL joint -> position (T, 3) and world rotation (T, 4) xyzw, for the joints a file has."""

_X, _Y, _Z = torch.eye(3, dtype=torch.float64)
_SNAP, _SNAP_BONE = math.radians(25.0), math.radians(35.0)
_ALIGNED = math.radians(2.0)  # a bone this near to an axis of its own frame was meant to lie along it


def common_turn(rest: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """The turn (4,) xyzw that makes a rest pose upright and face +z, or None where the rest pose is no standing body.

    Turns within 25 degrees of quarter turns are taken for these: a rest pose that leans a little is meant to be upright.

    Args:
        rest: SMPL joint -> position (3,) at zero rotations, float64.
    """
    hips, shoulders = ([rest[f"{s}_{j}"] for s in ("left", "right")] for j in ("hip", "shoulder"))
    up = unit((shoulders[0] + shoulders[1]) / 2 - (hips[0] + hips[1]) / 2)
    left = unit(hips[0] - hips[1])
    across = unit(shoulders[0] - shoulders[1])
    legs = [
        unit(rest[f"{s}_{b}"] - rest[f"{s}_{a}"])
        for s in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    straight = all(float(leg @ up) < -0.6 for leg in legs) and float((rest["head"] - hips[0]) @ up) > 0
    if not straight or abs(float(left @ up)) > 0.35 or float(left @ across) < 0.7:
        return None
    turn = _to_standard(left, up)
    return roma.rotmat_to_unitquat(_squared(turn, _SNAP))


def turns_of_bones(rows: Rows, tips: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """For a rest pose that is no standing body: the turn (4,) xyzw of each bone that lays it along a T-pose.

    Args:
        rows: what the file has, y-up. tips: SMPL joint -> where its bone ends (3,), in its own frame, where a file says so.
    """
    turns: dict[str, torch.Tensor] = {}

    def bone(start: str, end: str) -> torch.Tensor:
        (a, rot), (b, _) = rows[start], rows[end]
        return roma.quat_action(roma.quat_conjugation(rot), b - a).mean(0)

    def lay(name: str, parent: str, along: torch.Tensor, target: torch.Tensor, step: float = math.pi / 2) -> None:
        """The smallest turn from the parent's that lays `along` on `target`, plus what the motion asks for about it.

        A bone that lies near an axis of its frame but not along it has a frame that was made upright in the T-pose: then the axes agree.
        """
        axis = nearest_axis(along)
        if _ALIGNED < _between(axis, unit(along)) < _SNAP_BONE:
            along, target = axis, nearest_axis(target)
        first = roma.quat_product(_swing(roma.quat_action(turns[parent], unit(along)), target), turns[parent])
        above = roma.quat_product(rows[parent][1], roma.quat_conjugation(turns[parent]).expand_as(rows[parent][1]))
        own = roma.quat_product(rows[name][1], roma.quat_conjugation(first).expand_as(rows[name][1]))
        angles = twist(roma.quat_product(roma.quat_conjugation(above), own), target)
        mean = torch.atan2(angles.sin().mean(), angles.cos().mean())
        if step:
            mean = step * torch.round(mean / step)
        turns[name] = roma.quat_product(roma.rotvec_to_unitquat(mean * target), first)

    spine = [n for n in ("spine1", "spine2", "spine3") if n in rows]
    chest = spine[-1]
    left, right = bone("pelvis", "left_hip"), bone("pelvis", "right_hip")
    up = bone("pelvis", spine[0]) - (left + right) / 2
    if float(up.norm()) < 0.1 * float((left - right).norm()):
        up = bone("pelvis", chest) - (left + right) / 2
    turns["pelvis"] = roma.rotmat_to_unitquat(_squared(_to_standard(unit(left - right), unit(up)), _SNAP_BONE))
    for below, name, above in zip(["pelvis", *spine], spine[:-1], spine[1:], strict=False):
        lay(name, below, bone(name, above), _Y)
    collars = [bone(chest, f"{s}_collar" if f"{s}_collar" in rows else f"{s}_shoulder") for s in ("left", "right")]
    shoulders = [bone(chest, f"{s}_shoulder") for s in ("left", "right")]
    if float((collars[0] - collars[1]).norm()) < 0.1 * float((shoulders[0] - shoulders[1]).norm()):
        collars = shoulders
    upper = "neck" if "neck" in rows else "head"
    standard = _to_standard(unit(collars[0] - collars[1]), unit(bone(chest, upper)))
    turns[chest] = roma.rotmat_to_unitquat(_squared(standard, _SNAP_BONE))
    if "neck" in rows:
        lay("neck", chest, bone("neck", "head"), _Y)
    below = "neck" if "neck" in rows else chest
    if float(tips.get("head", _X * 0).norm()) > 0:
        lay("head", below, tips["head"], _Y)
    else:
        turns["head"] = turns[below]  # its axes run like the neck's, as in every rig whose bones lie in one line
    offsets = dict(zip(JOINT_NAMES, mean_offsets().double(), strict=True))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")
        hip, knee, ankle, foot, collar, shoulder, elbow, wrist, hand = (f"{side}_{n}" for n in names)
        lay(hip, "pelvis", bone(hip, knee), -_Y)
        lay(knee, hip, bone(knee, ankle), -_Y)
        toe = bone(ankle, foot) if foot in rows else tips.get(ankle, _X * 0)
        lay(ankle, knee, toe if float(toe.norm()) > 0 else bone(knee, ankle), unit(offsets[foot]))
        if foot in rows:
            turns[foot] = turns[ankle]
        below = chest
        if collar in rows:
            lay(collar, chest, bone(collar, shoulder), unit(offsets[shoulder]), step=0.0)
            below = collar
        lay(shoulder, below, bone(shoulder, elbow), sign * _X)
        end = wrist if wrist in rows else None
        forearm = bone(elbow, end) if end else tips.get(elbow, bone(shoulder, elbow))
        _turn_hinge(rows, turns, shoulder, elbow, forearm, sign)
        lay(elbow, shoulder, forearm, sign * _X, step=math.pi)
        if wrist in rows:
            palm = bone(wrist, hand) if hand in rows else tips.get(wrist, _X * 0)
            lay(wrist, elbow, palm if float(palm.norm()) > 0 else forearm, sign * _X, step=math.pi)
            if hand in rows:
                turns[hand] = turns[wrist]
    return turns


def _turn_hinge(rows: Rows, turns: dict, shoulder: str, elbow: str, forearm: torch.Tensor, sign: float) -> None:
    """Turn an upper arm about itself until its elbow bends about -y (left) or +y (right), as a T-pose with palms down does."""
    upper = roma.quat_product(rows[shoulder][1], roma.quat_conjugation(turns[shoulder]).expand_as(rows[shoulder][1]))
    above = unit(rows[elbow][0] - rows[shoulder][0])
    below = unit(roma.quat_action(rows[elbow][1], forearm.expand_as(above)))
    seen = roma.quat_action(roma.quat_conjugation(upper), torch.linalg.cross(above, below)).mean(0)
    if float(seen.norm()) < 0.1:
        return
    expected = -sign * _Y
    angle = torch.atan2(torch.linalg.cross(expected, seen) @ (sign * _X), expected @ seen)
    turns[shoulder] = roma.quat_product(roma.rotvec_to_unitquat(-angle * sign * _X), turns[shoulder])


def rest_positions(rows: Rows, turns: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Where the joints are once each bone is turned: SMPL joint -> (3,), the pelvis at the origin."""
    rest = {"pelvis": torch.zeros(3, dtype=torch.float64)}
    for name, parent in zip(JOINT_NAMES[1:], PARENTS[1:], strict=True):
        if name not in rows:
            continue
        above = JOINT_NAMES[parent]
        while above not in rows:
            above = JOINT_NAMES[PARENTS[JOINT_NAMES.index(above)]]
        (a, rot), (b, _) = rows[above], rows[name]
        offset = roma.quat_action(roma.quat_conjugation(rot), b - a).mean(0)
        rest[name] = rest[above] + roma.quat_action(turns[above], offset)
    return rest


def nearest_axis(v: torch.Tensor) -> torch.Tensor:
    """(3,) -> (3,) the signed axis it lies nearest to."""
    axis = torch.zeros_like(v)
    axis[v.abs().argmax()] = v[v.abs().argmax()].sign()
    return axis


def _between(a: torch.Tensor, b: torch.Tensor) -> float:
    """The angle between two unit vectors (3,), rad."""
    return float(torch.atan2(torch.linalg.cross(a, b).norm(), a @ b))


def _squared(turn: torch.Tensor, within: float) -> torch.Tensor:
    """A rotation matrix (3, 3), or the nearest one that takes axes to axes where it is `within` rad of it."""
    nearest = max(_quarter_turns(), key=lambda quarter: float((quarter * turn).sum()))
    return nearest if float(roma.rotmat_geodesic_distance(nearest, turn)) < within else turn


def _to_standard(left: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """(3, 3) rotation that takes `left` to +x exactly and `up` as nearly to +y as that allows."""
    up = unit(up - (up @ left) * left)
    return torch.stack([left, up, torch.linalg.cross(left, up)])


def _swing(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The smallest turn (4,) that takes one unit vector (3,) to another; of opposite ones, half a turn about z or x."""
    if float(start @ end) < -1 + 1e-9:
        return roma.rotvec_to_unitquat(math.pi * (_Z if abs(float(end @ _Z)) < 0.5 else _X))
    cross = torch.linalg.cross(start, end)
    return unit(torch.cat([cross, (1 + start @ end).reshape(1)]))


def _quarter_turns() -> list[torch.Tensor]:
    """The 24 rotation matrices that take axes to axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = torch.zeros(3, 3, dtype=torch.float64)
            turn[torch.arange(3), torch.tensor(order)] = torch.tensor(signs, dtype=torch.float64)
            if torch.linalg.det(turn) > 0:
                found.append(turn)
    return found
