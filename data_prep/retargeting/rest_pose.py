"""Turns the bone frames of a skeleton so that its rest pose is a T-pose, y-up, facing +z, left at +x.

The retargeter needs each bone's rotation *since rest*, with an upright rest pose. Most skeletons stand upright at zero
rotations, facing any direction: one turn for all bones is enough. Others (Rokoko, LAFAN1, Bandai-Namco) have every bone along one
axis at zero rotations; there each bone gets its own turn, which aligns it with the T-pose. Directions come from the
skeleton's geometry (hip line, spine, collars, limbs); the turn about a bone's axis is that of its zero pose, plus the quarter
turns that fit the motion best.
"""

from __future__ import annotations

import math

import roma
import torch
from scipy.spatial.transform import Rotation

from data_prep.retargeting.source import angle_between, frame, mean_twist, relative, since_rest, smallest_turn, unit
from physhmr_kit.body.skeleton import JOINT_NAMES, PARENTS, mean_offsets

Rows = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""SMPL joint -> position (T, 3) and world rotation (T, 4) xyzw, for the joints a file has."""

_X, _Y, _Z = torch.eye(3, dtype=torch.float64)
_SNAP, _SNAP_BONE = math.radians(25.0), math.radians(35.0)
_ALIGNED = math.radians(2.0)  # a bone this near to an axis of its own frame was meant to lie along it
_QUARTER_TURNS = torch.from_numpy(Rotation.create_group("O").as_matrix().round())  # the 24 that take axes to axes


def common_turn(rest: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """The turn (4,) xyzw that makes a rest pose upright and face +z, or None if the rest pose is not a standing body.

    Turns within 25 degrees of quarter turns are replaced by them: a rest pose that leans a little is meant to be upright.

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
    return _snapped(left, up, _SNAP)


def turns_of_bones(rows: Rows, tips: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The turn (4,) xyzw of each bone that aligns it with a T-pose, for a rest pose that is not a standing body.

    Args:
        rows: joints of the file, y-up. tips: SMPL joint -> end of its bone (3,) in its own frame, where the file has an End Site.
    """
    turns: dict[str, torch.Tensor] = {}

    def bone(start: str, end: str) -> torch.Tensor:
        (a, rot), (b, _) = rows[start], rows[end]
        return roma.quat_action(roma.quat_conjugation(rot), b - a).mean(0)

    def lay(name: str, parent: str, along: torch.Tensor, target: torch.Tensor, step: float = math.pi / 2) -> None:
        """The smallest turn from the parent's that aligns `along` with `target`, plus the twist about it that fits the motion.

        A bone near an axis of its frame but not along it has a frame that was upright in the T-pose: then the axes agree.
        """
        axis = nearest_axis(along)
        if _ALIGNED < float(angle_between(axis, along)) < _SNAP_BONE:
            along, target = axis, nearest_axis(target)
        first = roma.quat_product(_swing(roma.quat_action(turns[parent], unit(along)), target), turns[parent])
        above, own = since_rest(rows[parent][1], turns[parent]), since_rest(rows[name][1], first)
        angle = mean_twist(relative(above, own), target)
        if step:
            angle = step * torch.round(angle / step)
        turns[name] = roma.quat_product(roma.rotvec_to_unitquat(angle * target), first)

    spine = [n for n in ("spine1", "spine2", "spine3") if n in rows]
    chest = spine[-1]
    left, right = bone("pelvis", "left_hip"), bone("pelvis", "right_hip")
    up = bone("pelvis", spine[0]) - (left + right) / 2
    if float(up.norm()) < 0.1 * float((left - right).norm()):
        up = bone("pelvis", chest) - (left + right) / 2
    turns["pelvis"] = _snapped(left - right, up, _SNAP_BONE)
    for below, name, above in zip(["pelvis", *spine], spine[:-1], spine[1:], strict=False):
        lay(name, below, bone(name, above), _Y)
    collars = [bone(chest, f"{s}_collar" if f"{s}_collar" in rows else f"{s}_shoulder") for s in ("left", "right")]
    shoulders = [bone(chest, f"{s}_shoulder") for s in ("left", "right")]
    if float((collars[0] - collars[1]).norm()) < 0.1 * float((shoulders[0] - shoulders[1]).norm()):
        collars = shoulders
    upper = "neck" if "neck" in rows else "head"
    turns[chest] = _snapped(collars[0] - collars[1], bone(chest, upper), _SNAP_BONE)
    if "neck" in rows:
        lay("neck", chest, bone("neck", "head"), _Y)
    below = "neck" if "neck" in rows else chest
    if "head" in tips:
        lay("head", below, tips["head"], _Y)
    else:
        turns["head"] = turns[below]  # as in every rig whose neck and head lie in one line
    offsets = dict(zip(JOINT_NAMES, mean_offsets().double(), strict=True))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")
        hip, knee, ankle, foot, collar, shoulder, elbow, wrist, hand = (f"{side}_{n}" for n in names)
        lay(hip, "pelvis", bone(hip, knee), -_Y)
        lay(knee, hip, bone(knee, ankle), -_Y)
        toe = bone(ankle, foot) if foot in rows else tips.get(ankle, _X * 0)
        lay(ankle, knee, toe if toe.any() else bone(knee, ankle), unit(offsets[foot]))
        if foot in rows:
            turns[foot] = turns[ankle]
        below = chest
        if collar in rows:
            lay(collar, chest, bone(collar, shoulder), unit(offsets[shoulder]), step=0.0)
            below = collar
        lay(shoulder, below, bone(shoulder, elbow), sign * _X)
        forearm = bone(elbow, wrist) if wrist in rows else tips.get(elbow, bone(shoulder, elbow))
        _turn_hinge(rows, turns, shoulder, elbow, forearm, sign)
        lay(elbow, shoulder, forearm, sign * _X, step=math.pi)
        if wrist in rows:
            palm = bone(wrist, hand) if hand in rows else tips.get(wrist, _X * 0)
            lay(wrist, elbow, palm if palm.any() else forearm, sign * _X, step=math.pi)
            if hand in rows:
                turns[hand] = turns[wrist]
    return turns


def _turn_hinge(rows: Rows, turns: dict, shoulder: str, elbow: str, forearm: torch.Tensor, sign: float) -> None:
    """Twist an upper arm until its elbow bends about -y (left) or +y (right), as in a T-pose with palms down."""
    upper = since_rest(rows[shoulder][1], turns[shoulder])
    above = unit(rows[elbow][0] - rows[shoulder][0])
    below = unit(roma.quat_action(rows[elbow][1], forearm.expand_as(above)))
    seen = roma.quat_action(roma.quat_conjugation(upper), torch.linalg.cross(above, below)).mean(0)
    if float(seen.norm()) < 0.1:
        return
    expected = -sign * _Y
    angle = torch.atan2(torch.linalg.cross(expected, seen) @ (sign * _X), expected @ seen)
    turns[shoulder] = roma.quat_product(roma.rotvec_to_unitquat(-angle * sign * _X), turns[shoulder])


def turned_rest(rows: Rows, turns: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Joint positions of the rest pose with each bone turned: SMPL joint -> (3,), the pelvis at the origin."""
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
    """The signed axis (3,) nearest to a vector (3,)."""
    axis = torch.zeros_like(v)
    axis[v.abs().argmax()] = v[v.abs().argmax()].sign()
    return axis


def _snapped(left: torch.Tensor, up: torch.Tensor, within: float) -> torch.Tensor:
    """The turn (4,) that takes `left` to +x and `up` as nearly to +y as that allows; quarter turns `within` rad of it win."""
    turn = frame(left, up).T
    nearest = _QUARTER_TURNS[(_QUARTER_TURNS * turn).sum((1, 2)).argmax()]
    return roma.rotmat_to_unitquat(nearest if roma.rotmat_geodesic_distance(nearest, turn) < within else turn)


def _swing(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """The smallest turn (4,) that takes one unit vector (3,) to another; for opposite ones half a turn about z or x."""
    if float(start @ end) < -1 + 1e-9:
        return roma.rotvec_to_unitquat(math.pi * (_Z if abs(float(end @ _Z)) < 0.5 else _X))
    return smallest_turn(start, end)
