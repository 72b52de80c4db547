"""Reads BVH files of any human skeleton.

`data_prep.retargeting.roles` finds which joint is which, `data_prep.retargeting.axes` which way is up, `data_prep.retargeting.rest_pose` makes the rest pose upright.
The unit of length does not matter, since `retarget` scales every skeleton to the humanoid's legs. A first frame that only
shows the rest pose is dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.bvh_file import BvhMotion, forward, parse_bvh, rest_positions, with_ancestors
from data_prep.retargeting.axes import LEG, find_up, leg_length, path_unit, upright_turn
from data_prep.retargeting.joint_positions import rotations_of
from data_prep.retargeting.lean import stand_over_feet
from data_prep.retargeting.rest_pose import Rows, common_turn, nearest_axis, turned_rest, turns_of_bones
from data_prep.retargeting.retarget import refuse_teleport, retarget
from data_prep.retargeting.roles import find_roles, is_animal
from data_prep.retargeting.source import JOINT, SourceMotion, since_rest, unit, z_up
from data_prep.retargeting.trunk import facing_ahead, straighten
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.grounding import ground
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.utils.errors import KitError

_Y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
_SIDES = ("left_", "right_")
_LEAP = 10.0  # rad/s: slower is no jump out of a rest pose but a motion that begins fast


def read_bvh(path: str | Path) -> Clip:
    """A BVH file as a clip: retargeted, scaled to the humanoid, its feet on the floor, at the file's own rate.

    A file on the kit's own skeleton (one that `write_bvh` wrote) is returned as it is.

    Raises:
        KitError: missing, damaged or truncated file, a joint that cannot be found, an ambiguous up axis, NaN, no frames.
    """
    path = Path(path)
    motion = read_motion(path)
    return motion if isinstance(motion, Clip) else stand_over_feet(ground(retarget(refuse_teleport(motion, path))))


def read_motion(path: str | Path) -> Clip | SourceMotion:
    """The clip of a file on the kit's own skeleton, else the motion on the file's skeleton; see `read_bvh`."""
    motion, path = parse_bvh(path), Path(path)
    return _own_clip(motion, path.stem) or _source(motion, path)


def read_source(path: str | Path) -> SourceMotion:
    """Parse a file without retargeting it; see `read_bvh`. The notes say what was detected in the file."""
    return _source(parse_bvh(path), Path(path))


def _source(motion: BvhMotion, path: Path) -> SourceMotion:
    where = find_roles(motion.joints, path)
    radians = _in_radians(motion)
    notes = list(motion.notes) + (["rotations are in radians, not degrees"] if radians else [])
    world = forward(motion, with_ancestors(motion.joints, where.values()), radians)
    rows: Rows = {name: world[i] for name, i in where.items()}
    ends = {name: motion.joints[i].tip or () for name, i in where.items()}
    tips = {name: torch.tensor(end, dtype=torch.float64) for name, end in ends.items() if any(end)}
    zero = rest_positions(motion)
    rest = {name: zero[i] for name, i in where.items()}

    turn = common_turn(rest)
    expected = _Y if turn is None else nearest_axis(roma.quat_action(roma.quat_conjugation(turn), _Y))
    up, note = find_up(_stacked(rows), motion.fps, expected, str(path))
    if is_animal(motion.joints) and note == "" and _trunk_lies(rows, up):
        raise KitError(
            f"{path}: seems to be a four-legged animal (a tail, and a level trunk); the kit reads human skeletons"
        )
    if not torch.equal(up, _Y):
        notes.append(note or f"turned: {'xyz'[int(up.abs().argmax())]} is up in the file")
        across = roma.rotmat_to_unitquat(upright_turn(up))
        rows = {
            n: (roma.quat_action(across.expand(len(p), 4), p), roma.quat_product(across.expand_as(r), r))
            for n, (p, r) in rows.items()
        }
    if turn is None:
        notes.append("zero rotations are not a standing pose: each bone is aligned with a T-pose by its direction")
        turns = turns_of_bones(rows, tips)
        rest = turned_rest(rows, turns)
    else:
        turns = dict.fromkeys(rows, turn)
        rest = {n: roma.quat_action(turn, p) for n, p in rest.items()}
    tips = {n: roma.quat_action(turns[n], tip) for n, tip in tips.items()}
    rows = {n: (p, since_rest(r, turns[n])) for n, (p, r) in rows.items()}
    lines, misleading = straighten(rows, rest)
    notes += lines
    _make_up(rows, rest, tips)
    pos, rot = (torch.stack([rows[name][k] for name in JOINT_NAMES], dim=1) for k in (0, 1))
    pos, unit_note = _in_one_unit(pos, motion.fps)
    notes += [unit_note] if unit_note else []
    rest_pos = torch.stack([rest[name] for name in JOINT_NAMES])
    if misleading:
        head = rot[:, JOINT["head"]]
        rest_pos, rot = rotations_of(pos, motion.fps)
        rot[:, JOINT["head"]] = facing_ahead(head, rot[:, JOINT["spine3"]])
    source = SourceMotion(pos, rot, rest_pos, motion.fps, path.stem, tuple(notes))
    _refuse_swapped_sides(rows, "left_foot" in where, path)
    start, stop = _without_rest_frames(rot, motion.fps)
    return source.cut(start, stop)


def _own_clip(motion: BvhMotion, name: str) -> Clip | None:
    """The clip of a file on the kit's own skeleton in any unit (see `physhmr_kit.motion.export`); None for other skeletons."""
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
    turned = local_rotations(roma.quat_product(rot.new_tensor(STANDING).expand_as(rot), rot))
    return Clip.from_joints(z_up(pos[:, 0]) / float(unit), turned, motion.fps, name)


def _in_radians(motion: BvhMotion) -> bool:
    """Whether rotations are in radians: read as degrees they would hardly move the body, as radians they move it plausibly."""
    spins = [c.endswith("rotation") for joint in motion.joints for c in joint.channels]
    angles = motion.values[:, np.array(spins)] if any(spins) else np.zeros((1, 1))
    if np.abs(angles).max() > 2 * np.pi + 0.1 or len(angles) < 2:
        return False
    speed = np.abs(np.diff(angles, axis=0)).max(1) * motion.fps
    bent = np.abs(angles).max(0)
    return bool(
        np.median(speed) < 15 and (bent > 0.35).sum() > 6 and np.median(np.ptp(angles, axis=0)[bent > 0.35]) > 0.1
    )


def _stacked(rows: Rows) -> torch.Tensor:
    """(T, 24, 3) positions; joints that the file lacks take the position of a neighbour."""
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
    """Add the joints that a file lacks to `rows` and `rest`: from End Sites, else from SMPL's proportions."""
    own = dict(zip(JOINT_NAMES, mean_offsets().double(), strict=True))
    leg = sum(float((rest[b] - rest[a]).norm()) for a, b in (("left_hip", "left_knee"), ("left_knee", "left_ankle")))
    scale = leg / float(own["left_knee"].norm() + own["left_ankle"].norm())

    def add(name: str, parent: str, offset: torch.Tensor) -> None:
        pos, rot = rows[parent]
        rest[name] = rest[parent] + offset
        rows[name] = pos + roma.quat_action(rot, offset.expand_as(pos)), rot

    for side in _SIDES:
        if side + "foot" not in rows:  # no toe joint: the end of the foot, moving with it
            add(side + "foot", side + "ankle", tips.get(side + "ankle", own[side + "foot"] * scale))
        if side + "wrist" not in rows:
            add(
                side + "wrist", side + "elbow", tips.get(side + "elbow", rest[side + "elbow"] - rest[side + "shoulder"])
            )
        if side + "hand" not in rows:
            forearm = rest[side + "wrist"] - rest[side + "elbow"]
            add(side + "hand", side + "wrist", tips.get(side + "wrist", forearm / 3))
        if side + "collar" not in rows:
            add(side + "collar", "spine3", rest[side + "shoulder"] - own[side + "shoulder"] * scale - rest["spine3"])
    if "neck" not in rows:
        add("neck", "spine3", (rest["head"] - rest["spine3"]) * 0.7)
    if "spine1" not in rows:  # one joint between hips and arms: its bend is distributed evenly
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
    """Positions (T, 24, 3) with the root's path in the unit of the limbs, and a note where it had to be converted."""
    limbs = pos - pos[:, :1]
    metres = LEG / leg_length(pos)
    factor, _ = path_unit(pos[:, 0] * metres, limbs[:, [7, 8, 10, 11]] * metres, _Y, fps)
    if factor == 1.0:
        return pos, ""
    return limbs + pos[:, :1] * factor, f"the root's path is in another unit than its limbs: multiplied by {factor:g}"


def _refuse_swapped_sides(rows: Rows, toes: bool, path: Path) -> None:
    """Refuse a file with left and right swapped: its toes, if it has any, point backwards."""
    hips = rows["left_hip"][0] - rows["right_hip"][0]
    trunk = rows["spine3"][0] - (rows["left_hip"][0] + rows["right_hip"][0]) / 2
    forward_of = unit(torch.linalg.cross(hips, trunk))
    feet = sum(unit(rows[s + "foot"][0] - rows[s + "ankle"][0]) for s in _SIDES)
    if toes and float(((feet * forward_of).sum(-1) < -0.5).double().mean()) > 0.9:
        raise KitError(f"{path}: left and right seem to be swapped: the toes point backwards; rename the joints")


def _without_rest_frames(rot: torch.Tensor, fps: float) -> tuple[int, int]:
    """The frames to keep, start and stop: without a rest pose before or after the motion.

    Daz-friendly files start with the rest pose and were filtered over 9 frames with it in front, so that several
    frames show jumps. rot: (T, 24, 4) world rotations.
    """
    if len(rot) < 20:
        return 0, len(rot)
    start, end = (_leading_jumps(r, fps) for r in (rot, rot.flip(0)))
    return (start, len(rot) - end) if start + end < len(rot) else (start, len(rot))


def _leading_jumps(rot: torch.Tensor, fps: float) -> int:
    """How many frames at the start belong to jumps out of a rest pose, and 0.05 s more; 0 for no jump at once."""
    step = roma.unitquat_geodesic_distance(rot[1:], rot[:-1])
    usual = torch.quantile(step[min(30, len(step) // 2) :], 0.99, dim=0) + np.radians(0.5)
    jumps = (step[: len(step) // 4][:30] > torch.clamp(3 * usual, min=_LEAP / fps)).any(1)
    if not jumps[0]:
        return 0
    return min(int(jumps.nonzero()[-1]) + 1 + round(0.05 * fps), len(rot) - 1)
