"""BVH to a clip: any human skeleton whose joints we can tell by name and place.

`data_prep.roles` says which joint is which, `data_prep.axes` which way is up, `data_prep.rest_pose` makes the rest pose upright. The
unit of length does not matter, since `retarget` scales every skeleton to the humanoid's legs. A first frame that only
shows the rest pose is dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.axes import find_up, path_unit, upright_turn
from data_prep.bvh_file import BvhMotion, at_rest, forward, parse_bvh, with_ancestors
from data_prep.joint_positions import rotations_of
from data_prep.lean import stand_over_feet
from data_prep.rest_pose import Rows, common_turn, nearest_axis, rest_positions, turns_of_bones
from data_prep.retarget import refuse_teleport, retarget
from data_prep.roles import Roles, find_roles, is_animal
from data_prep.source import JOINT, SourceMotion, unit
from data_prep.trunk import facing_ahead, straighten
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.grounding import ground
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.utils.errors import KitError

_Y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
_SIDES = ("left_", "right_")
_LEAP = 10.0  # rad/s: slower is no leap out of a rest pose but a motion that begins fast


def read_bvh(path: str | Path) -> Clip:
    """A BVH file as a clip: retargeted, scaled to the humanoid, its feet on the floor, at the file's own rate.

    A file on the kit's own skeleton (one that `write_bvh` wrote) comes back as it was, without any of this.

    Raises:
        KitError: missing, damaged or truncated file, a role that no joint plays, an up that cannot be told, NaN, no frames.
    """
    path = Path(path)
    own = read_own(path)
    return own or stand_over_feet(ground(retarget(refuse_teleport(read_source(path), path))))


def read_source(path: str | Path) -> SourceMotion:
    """Parse a file without retargeting it; see `read_bvh`. Its notes say what was found out about the file."""
    path = Path(path)
    motion = parse_bvh(path)
    roles = find_roles(motion.joints, path)
    where = _joints_of(roles)
    radians = _in_radians(motion)
    notes = list(motion.notes) + (["rotations are in radians, not degrees"] if radians else [])
    world = forward(motion, with_ancestors(motion.joints, roles.indices()), radians)
    rows: Rows = {name: world[i] for name, i in where.items()}
    tips = {
        n: torch.tensor(motion.joints[i].tip, dtype=torch.float64) for n, i in where.items() if motion.joints[i].tip
    }
    zero = forward(at_rest(motion), with_ancestors(motion.joints, roles.indices()))
    rest = {name: zero[i][0][0] for name, i in where.items()}

    turn = common_turn(rest)
    expected = _Y if turn is None else nearest_axis(roma.quat_action(roma.quat_conjugation(turn), _Y))
    up, note = find_up(_stacked(rows), motion.fps, expected, str(path))
    if is_animal(motion.joints) and note == "" and _trunk_lies(rows, up):
        raise KitError(
            f"{path}: an animal on four legs, it seems (a tail, and a level trunk); the kit reads human skeletons"
        )
    if not torch.equal(up, _Y):
        notes.append(note or f"turned: {'xyz'[int(up.abs().argmax())]} is up in the file")
        across = roma.rotmat_to_unitquat(upright_turn(up))
        rows = {n: (_act(across, p), roma.quat_product(across.expand_as(r), r)) for n, (p, r) in rows.items()}
    if turn is None:
        notes.append("no standing pose at zero rotations: each bone is laid along a T-pose by its direction")
        turns = turns_of_bones(rows, tips)
        rest = rest_positions(rows, turns)
    else:
        turns = dict.fromkeys(rows, turn)
        rest = {n: _act(turn, p[None])[0] for n, p in rest.items()}
    tips = {n: _act(turns[n], tip[None])[0] for n, tip in tips.items()}
    rows = {n: (p, roma.quat_product(r, roma.quat_conjugation(turns[n]).expand_as(r))) for n, (p, r) in rows.items()}
    lines, misleading = straighten(rows, rest)
    notes += lines
    _make_up(rows, rest, tips)
    pos, rot = (torch.stack([rows[name][k] for name in JOINT_NAMES], dim=1) for k in (0, 1))
    pos, unit_note = _in_one_unit(pos, motion.fps)
    notes += [unit_note] if unit_note else []
    at_rest_pos = torch.stack([rest[name] for name in JOINT_NAMES])
    if misleading:
        told = rot
        at_rest_pos, rot = rotations_of(pos, motion.fps)
        rot[:, JOINT["head"]] = facing_ahead(told[:, JOINT["head"]], rot[:, JOINT["spine3"]])
    source = SourceMotion(pos, rot, at_rest_pos, motion.fps, path.stem, tuple(notes))
    _refuse_swapped_sides(rows, "left_foot" in where, path)
    start, stop = _without_rest_frames(rot, motion.fps)
    return source.cut(start, stop)


def read_own(path: Path) -> Clip | None:
    """The clip of a file on the kit's own skeleton, as `physhmr_kit.motion.export` writes it, in some unit of length; else None."""
    motion = parse_bvh(path)
    index = {joint.name: i for i, joint in enumerate(motion.joints)}
    if not set(JOINT_NAMES) <= set(index):
        return None
    where = [index[name] for name in JOINT_NAMES]
    offsets = torch.tensor([motion.joints[i].offset for i in where])[1:]
    own = mean_offsets()[1:]
    unit = offsets.norm() / own.norm()
    if unit == 0 or not torch.allclose(offsets / unit, own, atol=2e-3):
        return None
    world = forward(motion, with_ancestors(motion.joints, where))
    pos, rot = (torch.stack([world[i][k] for i in where], dim=1) for k in (0, 1))
    upright = rot.new_tensor(STANDING)
    root = roma.quat_action(upright.expand(len(pos), 4), pos[:, 0]) / float(unit)
    return Clip.from_joints(
        root, local_rotations(roma.quat_product(upright.expand_as(rot), rot)), motion.fps, path.stem
    )


def _joints_of(roles: Roles) -> dict[str, int]:
    """SMPL joint -> joint of the file; spine and neck spread over however many there are."""
    where = {"pelvis": roles.pelvis, "head": roles.head, **roles.limbs}
    spine = roles.spine or (roles.pelvis,)
    where["spine3"] = spine[-1]
    if len(spine) > 1:
        where["spine1"] = spine[0]
    if len(spine) > 2:
        where["spine2"] = spine[len(spine) // 2]
    if roles.neck:
        where["neck"] = roles.neck[-1]
    return where


def _in_radians(motion: BvhMotion) -> bool:
    """Whether rotations are told in radians: in degrees they would hardly move the body, in radians they move it as bodies move."""
    spins = [c.endswith("rotation") for joint in motion.joints for c in joint.channels]
    angles = motion.values[:, np.array(spins)] if any(spins) else np.zeros((1, 1))
    if np.abs(angles).max() > 2 * np.pi + 0.1 or len(angles) < 2:
        return False
    speed = np.abs(np.diff(angles, axis=0)).max(1) * motion.fps
    bent = np.abs(angles).max(0)
    return bool(
        np.median(speed) < 15 and (bent > 0.35).sum() > 6 and np.median(np.ptp(angles, axis=0)[bent > 0.35]) > 0.1
    )


def _act(turn: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return roma.quat_action(turn.expand(len(points), 4), points)


def _stacked(rows: Rows) -> torch.Tensor:
    """(T, 24, 3) positions, those of joints the file lacks taken from the joint above."""
    stand_in = {"foot": "ankle", "hand": "elbow", "wrist": "elbow", "collar": "shoulder", "neck": "head"}
    found = []
    for name in JOINT_NAMES:
        side, _, base = name.rpartition("_")
        other = f"{side}_{stand_in[base]}".lstrip("_") if base in stand_in else "spine3"
        found.append(rows[name if name in rows else other][0])
    return torch.stack(found, dim=1)


def _trunk_lies(rows: Rows, up: torch.Tensor) -> bool:
    pos = _stacked(rows)
    trunk = unit(pos[:, [16, 17]].mean(1) - pos[:, [1, 2]].mean(1))
    return float((trunk @ up).median()) < 0.6


def _make_up(rows: Rows, rest: dict[str, torch.Tensor], tips: dict[str, torch.Tensor]) -> None:
    """Add the joints that a file lacks: from End Sites, else from SMPL's proportions. `rows` and `rest` are added to."""
    own = dict(zip(JOINT_NAMES, mean_offsets().double(), strict=True))
    leg = sum(float((rest[b] - rest[a]).norm()) for a, b in (("left_hip", "left_knee"), ("left_knee", "left_ankle")))
    scale = leg / float(own["left_knee"].norm() + own["left_ankle"].norm())

    def add(name: str, parent: str, offset: torch.Tensor) -> None:
        pos, rot = rows[parent]
        rest[name] = rest[parent] + offset
        rows[name] = pos + roma.quat_action(rot, offset.expand_as(pos)), rot

    def beyond(joint: str, offset: torch.Tensor) -> torch.Tensor:
        tip = tips.get(joint)
        return tip if tip is not None and float(tip.norm()) > 0 else offset

    for side in _SIDES:
        arm = rest[side + "elbow"] - rest[side + "shoulder"]
        if side + "foot" not in rows:  # no toe joint: the end of the foot, moving with it
            add(side + "foot", side + "ankle", beyond(side + "ankle", own[side + "foot"] * scale))
        if side + "wrist" not in rows:
            add(side + "wrist", side + "elbow", beyond(side + "elbow", arm))
        if side + "hand" not in rows:
            forearm = rest[side + "wrist"] - rest[side + "elbow"]
            add(side + "hand", side + "wrist", beyond(side + "wrist", forearm / 3))
        if side + "collar" not in rows:
            add(side + "collar", "spine3", rest[side + "shoulder"] - own[side + "shoulder"] * scale - rest["spine3"])
    if "neck" not in rows:
        add("neck", "spine3", (rest["head"] - rest["spine3"]) * 0.7)
    if "spine1" not in rows:  # one joint between hips and arms: its bend is shared out evenly
        (below, low), (above, high) = rows["pelvis"], rows["spine3"]
        for name, share in (("spine1", 1 / 3), ("spine2", 2 / 3)):
            rows[name] = torch.lerp(below, above, share), slerp(low, high, low.new_full((len(low),), share))
            rest[name] = torch.lerp(rest["pelvis"], rest["spine3"], share)
    elif "spine2" not in rows:  # one joint fewer: SMPL's lower two share the bend of the source's lower one
        (_, below), (pos, rot), (above, _) = rows["pelvis"], rows["spine1"], rows["spine3"]
        rows["spine1"] = pos, slerp(below, rot, rot.new_full((len(rot),), 0.5))
        rows["spine2"] = (pos + above) / 2, rot
        rest["spine2"] = (rest["spine1"] + rest["spine3"]) / 2


def _in_one_unit(pos: torch.Tensor, fps: float) -> tuple[torch.Tensor, str]:
    """Positions (T, 24, 3) whose root moves in the unit of its limbs, and a line where a file told it in another."""
    limbs = pos - pos[:, :1]
    metres = 0.8 / float(
        (limbs[:, 4] - limbs[:, 1]).norm(dim=-1).median() + (limbs[:, 7] - limbs[:, 4]).norm(dim=-1).median()
    )
    factor, _ = path_unit(pos[:, 0] * metres, limbs[:, [7, 8, 10, 11]] * metres, _Y, fps)
    if factor == 1.0:
        return pos, ""
    return limbs + pos[:, :1] * factor, f"the root's path is in another unit than its limbs: multiplied by {factor:g}"


def _refuse_swapped_sides(rows: Rows, toes: bool, path: Path) -> None:
    """Refuse a file whose left is its right: its toes, if it has any, point backwards."""
    hips = rows["left_hip"][0] - rows["right_hip"][0]
    trunk = rows["spine3"][0] - (rows["left_hip"][0] + rows["right_hip"][0]) / 2
    forward_of = unit(torch.linalg.cross(hips, trunk))
    feet = sum(unit(rows[s + "foot"][0] - rows[s + "ankle"][0]) for s in _SIDES)
    if toes and float(((feet * forward_of).sum(-1) < -0.5).double().mean()) > 0.9:
        raise KitError(
            f"{path}: left and right are swapped, it seems: its toes point behind its hips; rename the joints"
        )


def _without_rest_frames(rot: torch.Tensor, fps: float) -> tuple[int, int]:
    """The frames to keep, start and stop: without a rest pose in front of the motion or after it.

    Daz-friendly files start with the rest pose and were filtered over 9 frames with it in front, so that the way out of
    it shows as jumps too. rot: (T, 24, 4) world rotations.
    """
    if len(rot) < 20:
        return 0, len(rot)
    start, end = (_leading_jumps(r, fps) for r in (rot, rot.flip(0)))
    return (start, len(rot) - end) if start + end < len(rot) else (start, len(rot))


def _leading_jumps(rot: torch.Tensor, fps: float) -> int:
    step = roma.unitquat_geodesic_distance(rot[1:], rot[:-1])
    usual = torch.quantile(step[min(30, len(step) // 2) :], 0.99, dim=0) + np.radians(0.5)
    jumps = (step[: len(step) // 4][:30] > torch.clamp(3 * usual, min=_LEAP / fps)).any(1)
    if not jumps[0]:
        return 0
    return min(int(jumps.nonzero()[-1]) + 1 + round(0.05 * fps), len(rot) - 1)
