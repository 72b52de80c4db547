"""BVH: any of several naming schemes (Daz-friendly CMU, MotionBuilder CMU, SMPL's own) to a clip.

Order of axes, number of channels and rate are read from the file, never assumed: a joint's rotation is the product of
its axis rotations in the order written, leftmost outermost. The unit of length does not matter, since `retarget`
scales every skeleton to the humanoid's legs. A first frame that only shows the rest pose is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.lean import stand_over_feet
from data_prep.retarget import refuse_teleport, retarget
from data_prep.source import SourceMotion
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.grounding import ground
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.utils.errors import KitError

# SMPL joint -> names it goes by, {S} for Left/Right, {s} for l/r. Schemes in order: SMPL, Daz-friendly, MotionBuilder.
_NAMES = {
    "pelvis": ("pelvis", "hip", "Hips"),
    "spine1": ("spine1", "abdomen", "LowerBack"),
    "spine2": ("spine2", None, "Spine"),
    "spine3": ("spine3", "chest", "Spine1"),
    "neck": ("neck", "neck", "Neck1"),
    "head": ("head", "head", "Head"),
    "hip": ("{side}_hip", "{s}Thigh", "{S}UpLeg"),
    "knee": ("{side}_knee", "{s}Shin", "{S}Leg"),
    "ankle": ("{side}_ankle", "{s}Foot", "{S}Foot"),
    "foot": ("{side}_foot", None, "{S}ToeBase"),
    "collar": ("{side}_collar", "{s}Collar", "{S}Shoulder"),
    "shoulder": ("{side}_shoulder", "{s}Shldr", "{S}Arm"),
    "elbow": ("{side}_elbow", "{s}ForeArm", "{S}ForeArm"),
    "wrist": ("{side}_wrist", "{s}Hand", "{S}Hand"),
    "hand": ("{side}_hand", "{s}Mid1", "{S}HandIndex1"),
}  # fmt: skip
_SCHEMES = ("SMPL", "Daz-friendly", "MotionBuilder")


@dataclass
class Joint:
    """One joint of a BVH hierarchy; `tip` is the offset of its End Site, if it has one."""

    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[str] = field(default_factory=list)
    tip: tuple[float, ...] | None = None


@dataclass(frozen=True)
class BvhMotion:
    """A BVH file as read: joints (parents first), values (T, all channels in file order), frames per second."""

    joints: list[Joint]
    values: np.ndarray
    fps: float


def parse_bvh(path: str | Path) -> BvhMotion:
    """Read the hierarchy and the motion block.

    Raises:
        KitError: not a BVH, a hierarchy that does not close, a truncated or over-long motion block, NaN, no frames.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    try:
        text = path.read_text(errors="strict")
    except (OSError, UnicodeDecodeError) as fault:
        raise KitError(f"{path}: not a readable text file ({fault})") from fault
    head, found, motion = text.partition("MOTION")
    if "HIERARCHY" not in head:
        raise KitError(f"{path}: no HIERARCHY section; is it a .bvh?")
    if not found:
        raise KitError(f"{path}: no MOTION section; the file is cut short")
    try:
        joints = _parse_hierarchy(head)
    except (ValueError, IndexError) as fault:
        raise KitError(f"{path}: the HIERARCHY section cannot be read ({fault})") from fault
    return BvhMotion(joints, *_parse_motion(motion, sum(len(j.channels) for j in joints), path))


def _parse_hierarchy(head: str) -> list[Joint]:
    words = iter(head.split())
    joints: list[Joint] = []
    open_joints: list[int | None] = []  # None stands for an End Site
    pending: int | None = None
    for word in words:
        if word in ("ROOT", "JOINT"):
            parent = open_joints[-1] if open_joints else -1
            if parent is None or (word == "JOINT") != (parent >= 0):
                raise ValueError(f"{word} in the wrong place")
            pending = len(joints)
            joints.append(Joint(next(words), parent))
        elif word == "End":
            next(words)
            pending = None
        elif word == "{":
            open_joints.append(pending)
        elif word == "}":
            open_joints.pop()
        elif word == "OFFSET":
            offset = tuple(float(next(words)) for _ in range(3))
            if open_joints[-1] is None:
                joints[next(i for i in reversed(open_joints) if i is not None)].tip = offset
            else:
                joints[open_joints[-1]].offset = offset
        elif word == "CHANNELS":
            channels = [next(words).lower() for _ in range(int(next(words)))]
            if any(c[0] not in "xyz" or c[1:] not in ("position", "rotation") for c in channels):
                raise ValueError(f"unknown channel among {' '.join(channels)}")
            joints[open_joints[-1]].channels = channels
        elif word != "HIERARCHY":
            raise ValueError(f"'{word}' not understood")
    if open_joints:
        raise ValueError("a brace is not closed")
    if not joints:
        raise ValueError("no joints")
    return joints


def _parse_motion(motion: str, channels: int, path: Path) -> tuple[np.ndarray, float]:
    lines = [line for line in motion.splitlines() if line.strip()]
    try:
        frames = int(lines[0].split(":")[1])
        step = float(lines[1].split(":")[1])
    except (ValueError, IndexError) as fault:
        raise KitError(f"{path}: the MOTION section does not start with Frames: and Frame Time:") from fault
    if frames <= 0 or not lines[2:]:
        raise KitError(f"{path}: the clip has no frames")
    if not np.isfinite(step) or step <= 0:
        raise KitError(f"{path}: frame time {step} is not a positive number")
    rows = lines[2:]
    wrong = next((i for i, row in enumerate(rows) if len(row.split()) != channels), None)
    if wrong is not None:
        count, last = len(rows[wrong].split()), wrong == len(rows) - 1 and wrong > 0
        hint = ": the file is cut short" if last else ""
        raise KitError(
            f"{path}: frame {wrong + 1} holds {count} values where the hierarchy declares {channels} channels{hint}"
        )
    try:
        values = np.array(" ".join(rows).split(), dtype=np.float64)
    except ValueError as fault:
        raise KitError(f"{path}: the MOTION section holds something that is not a number ({fault})") from fault
    if len(rows) != frames:
        fault = "is cut short" if len(rows) < frames else "holds more than it declares"
        raise KitError(f"{path}: {len(rows)} frames where {frames} are declared: the file {fault}")
    values = values.reshape(frames, channels)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise KitError(f"{path}: not finite in {int(bad.sum())} frame(s), first {int(bad.argmax()) + 1}")
    fps = 1.0 / step
    return values, float(round(fps)) if abs(fps - round(fps)) < 0.02 else fps  # 0.00833333 s is 120 Hz


def _forward(joints: list[Joint], values: np.ndarray, wanted: set[int]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """World position (T, 3) and world rotation (T, 4) xyzw of the wanted joints: index -> (pos, rot)."""
    frames, column, world = len(values), 0, {}
    for i, joint in enumerate(joints):
        own = torch.from_numpy(values[:, column : column + len(joint.channels)])
        column += len(joint.channels)
        if i not in wanted:
            continue
        offset = torch.tensor(joint.offset, dtype=torch.float64).repeat(frames, 1)
        for k, channel in enumerate(joint.channels):
            if channel.endswith("position"):  # positions replace the offset in every writer we know
                offset[:, "xyz".index(channel[0])] = own[:, k]
        spins = [k for k, c in enumerate(joint.channels) if c.endswith("rotation")]
        order = "".join(joint.channels[k][0] for k in spins).upper()
        turn = roma.identity_quat(frames, dtype=torch.float64)
        if order:
            turn = roma.euler_to_unitquat(order, own[:, spins], degrees=True)
        if joint.parent < 0:
            world[i] = offset, turn
        else:
            above, over = world[joint.parent]
            world[i] = above + roma.quat_action(over, offset), roma.quat_product(over, turn)
    return world


def _with_ancestors(joints: list[Joint], chosen: Iterable[int]) -> set[int]:
    wanted = set()
    for i in chosen:
        while i >= 0 and i not in wanted:
            wanted.add(i)
            i = joints[i].parent
    return wanted


def _match(joints: list[Joint], path: Path) -> tuple[dict[str, int], str]:
    """SMPL joint -> index of the joint of the file, and the naming scheme."""
    index = {joint.name.lower(): i for i, joint in enumerate(joints)}
    best: dict[str, int] = {}
    lacking: list[str] = []
    scheme = ""
    for column, label in enumerate(_SCHEMES):
        found, missing = {}, []
        for smpl in JOINT_NAMES:
            side, _, base = smpl.partition("_")
            name = _NAMES[base or side][column]
            if name is None:
                continue
            name = name.format(side=side, s=side[0], S=side.capitalize())
            if name.lower() in index:
                found[smpl] = index[name.lower()]
            else:
                missing.append(name)
        if len(found) > len(best):
            best, lacking, scheme = found, missing, label
    if lacking or not best:
        some = ", ".join(joint.name for joint in joints[:3])
        fault = f"missing joint(s) {', '.join(lacking[:5])}" if len(best) > 8 else f"unknown joint names ({some} ...)"
        raise KitError(f"{path}: {fault}; the kit reads skeletons named as {', '.join(_SCHEMES)}")
    return best, scheme


def _without_rest_frame(rot: torch.Tensor, fps: float) -> int:
    """How many leading frames to drop, 0 when the motion starts at once.

    Daz-friendly files start with the rest pose and were filtered over 9 frames with it in front, so that the way out of
    it shows as jumps too. rot: (T, 24, 4) world rotations.
    """
    if len(rot) < 20:
        return 0
    step = roma.unitquat_geodesic_distance(rot[1:], rot[:-1])
    usual = torch.quantile(step[min(30, len(step) // 2) :], 0.99, dim=0) + np.radians(0.5)
    jumps = (step[: len(step) // 4][:30] > 3 * usual).any(1)
    if not jumps[0]:
        return 0
    return min(int(jumps.nonzero()[-1]) + 1 + round(0.05 * fps), len(rot) - 1)


def _bodies(world: dict, where: dict[str, int], joints: list[Joint], path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (T, 24, 3) and world rotations (T, 24, 4) of SMPL's joints, those that the file lacks made up."""
    rows = {smpl: world[i] for smpl, i in where.items()}
    for side in ("left_", "right_"):
        if side + "foot" not in rows:  # no toe joint: the end of the foot, moving with it
            pos, rot = rows[side + "ankle"]
            tip = joints[where[side + "ankle"]].tip
            if tip is None:
                raise KitError(f"{path}: {joints[where[side + 'ankle']].name} has neither a toe joint nor an End Site")
            rows[side + "foot"] = pos + roma.quat_action(rot, pos.new_tensor(tip).expand_as(pos)), rot
    if "spine2" not in rows:  # one joint fewer: SMPL's lower two share the bend of the source's lower one
        (_, below), (pos, rot), (above, _) = rows["pelvis"], rows["spine1"], rows["spine3"]
        rows["spine1"] = pos, slerp(below, rot, rot.new_full((len(rot),), 0.5))
        rows["spine2"] = (pos + above) / 2, rot
    pos, rot = (torch.stack([rows[name][k] for name in JOINT_NAMES], dim=1) for k in (0, 1))
    return pos, rot


def _source(motion: BvhMotion, where: dict[str, int], path: Path) -> SourceMotion:
    joints = motion.joints
    wanted = _with_ancestors(joints, where.values())
    pos, rot = _bodies(_forward(joints, motion.values, wanted), where, joints, path)
    unmoved = [replace(joint, channels=[]) for joint in joints]
    rest, _ = _bodies(_forward(unmoved, np.zeros((1, 0)), wanted), where, joints, path)
    start = _without_rest_frame(rot, motion.fps)
    return refuse_teleport(SourceMotion(pos[start:], rot[start:], rest[0], motion.fps, path.stem), path, start)


def read_source(path: str | Path) -> SourceMotion:
    """Parse a file without retargeting it; see `read_bvh`."""
    path = Path(path)
    motion = parse_bvh(path)
    where, _ = _match(motion.joints, path)
    return _source(motion, where, path)


def _is_own(joints: list[Joint], where: dict[str, int]) -> bool:
    """Whether the skeleton is the kit's own, as `physhmr_kit.motion.export` writes it, in some unit of length."""
    if len(where) < len(JOINT_NAMES):
        return False
    offsets = torch.tensor([joints[where[name]].offset for name in JOINT_NAMES])[1:]
    own = mean_offsets()[1:]
    unit = offsets.norm() / own.norm()
    return bool(unit > 0) and torch.allclose(offsets / unit, own, atol=2e-3)


def read_bvh(path: str | Path) -> Clip:
    """A BVH file as a clip: retargeted, scaled to the humanoid, its feet on the floor, at the file's own rate.

    A file on the kit's own skeleton (one that `write_bvh` wrote) comes back as it was, without any of this.

    Raises:
        KitError: missing, damaged or truncated file, unknown joint names, NaN, no frames.
    """
    path = Path(path)
    motion = parse_bvh(path)
    where, _ = _match(motion.joints, path)
    if not _is_own(motion.joints, where):
        return stand_over_feet(ground(retarget(_source(motion, where, path))))
    pos, rot = _bodies(_forward(motion.joints, motion.values, set(where.values())), where, motion.joints, path)
    offsets = torch.tensor([motion.joints[where[name]].offset for name in JOINT_NAMES])[1:]
    upright = rot.new_tensor(STANDING)
    root = roma.quat_action(upright.expand(len(pos), 4), pos[:, 0]) * float(mean_offsets().norm() / offsets.norm())
    return Clip.from_joints(
        root, local_rotations(roma.quat_product(upright.expand_as(rot), rot)), motion.fps, path.stem
    )
