"""BVH: any of several naming schemes (Daz-friendly CMU, MotionBuilder CMU, SMPL's own) to a clip.

Order of axes, number of channels and rate are read from the file, never assumed: a joint's rotation is the product of
its axis rotations in the order written, leftmost outermost. The unit of length does not matter, since `retarget`
scales every skeleton to the humanoid's legs. A first frame that only shows the rest pose is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.retarget import retarget
from data_prep.source import SourceMotion
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, mean_offsets
from physhmr_kit.errors import KitError
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.grounding import ground

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
    first = len(rows[0].split())
    if first != channels:
        raise KitError(f"{path}: a frame holds {first} values where the hierarchy declares {channels} channels")
    try:
        values = np.array(" ".join(rows).split(), dtype=np.float64)
    except ValueError as fault:
        raise KitError(f"{path}: the MOTION section holds something that is not a number ({fault})") from fault
    if values.size != frames * channels:
        fault = "is cut short" if values.size < frames * channels else "holds more than it declares"
        raise KitError(
            f"{path}: {values.size / channels:.6g} frames of {channels} values where {frames} are declared: the file {fault}"
        )
    values = values.reshape(frames, channels)
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise KitError(f"{path}: not finite in {int(bad.sum())} frame(s), first {int(bad.argmax()) + 1}")
    fps = 1.0 / step
    return values, float(round(fps)) if abs(fps - round(fps)) < 0.02 else fps  # 0.00833333 s is 120 Hz


def _forward(joints: list[Joint], values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """World position (T, J, 3) and world rotation (T, J, 4) of every joint."""
    frames = len(values)
    pos, rot, column = [], [], 0
    for joint in joints:
        own = torch.from_numpy(values[:, column : column + len(joint.channels)])
        column += len(joint.channels)
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
            pos.append(offset)
            rot.append(turn)
        else:
            above = rot[joint.parent]
            pos.append(pos[joint.parent] + roma.quat_action(above, offset))
            rot.append(roma.quat_product(above, turn))
    return torch.stack(pos, 1), torch.stack(rot, 1)


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
        known = (
            f"missing joint(s) {', '.join(lacking[:5])}"
            if len(best) > 8
            else f"unknown joint names ({joints[0].name}, ...)"
        )
        raise KitError(f"{path}: {known}; the kit reads skeletons named as {', '.join(_SCHEMES)}")
    return best, scheme


def _without_rest_frame(motion: BvhMotion, rot: torch.Tensor) -> int:
    """How many leading frames show the rest pose, or a low-pass filter's way out of it (Daz-friendly files were filtered
    over 9 frames with the rest pose in front): 0 when the motion starts at once."""
    if len(rot) < 20:
        return 0
    step = roma.unitquat_geodesic_distance(rot[1:], rot[:-1])
    usual = torch.quantile(step[min(30, len(step) // 2) :], 0.99, dim=0) + np.radians(0.5)
    jumps = (step[: len(step) // 4][:30] > 3 * usual).any(1)
    if not jumps[0]:
        return 0
    return min(int(jumps.nonzero()[-1]) + 1 + round(0.05 * motion.fps), len(rot) - 1)


def read_source(path: str | Path) -> SourceMotion:
    """Parse a file without retargeting it; see `read_bvh`."""
    path = Path(path)
    motion = parse_bvh(path)
    where, _ = _match(motion.joints, path)
    pos, rot = _forward(motion.joints, motion.values)
    still = np.zeros((1, motion.values.shape[1]))
    at_rest = [replace(j, channels=[c for c in j.channels if c.endswith("rotation")]) for j in motion.joints]
    rest, _ = _forward(at_rest, still[:, : sum(len(j.channels) for j in at_rest)])

    def bodies(p, r):
        rows = {smpl: (p[:, i], r[:, i]) for smpl, i in where.items()}
        for side in ("left_", "right_"):
            if side + "foot" not in rows:  # no toe joint: the end of the foot, moving with it
                ankle = where[side + "ankle"]
                tip = motion.joints[ankle].tip
                if tip is None:
                    raise KitError(
                        f"{path}: the joint {motion.joints[ankle].name} has neither a toe joint nor an End Site"
                    )
                tip = torch.tensor(tip, dtype=torch.float64)
                rows[side + "foot"] = p[:, ankle] + roma.quat_action(r[:, ankle], tip.expand(len(p), 3)), r[:, ankle]
        if "spine2" not in rows:  # one joint fewer: SMPL's lower two share the bend of the source's lower one
            (_, r0), (p1, r1), (p3, _) = rows["pelvis"], rows["spine1"], rows["spine3"]
            rows["spine1"] = p1, slerp(r0, r1, torch.full((len(r1),), 0.5, dtype=r1.dtype))
            rows["spine2"] = (p1 + p3) / 2, r1
        return tuple(torch.stack([rows[n][k] for n in JOINT_NAMES], 1) for k in (0, 1))

    rest_pos, _ = bodies(rest, roma.identity_quat((1, len(motion.joints)), dtype=torch.float64))
    pos, rot = bodies(pos, rot)
    start = _without_rest_frame(motion, rot)
    return SourceMotion(pos[start:], rot[start:], rest_pos[0], motion.fps, path.stem)


def read_bvh(path: str | Path) -> Clip:
    """A BVH file as a clip: retargeted, scaled to the humanoid, its feet on the floor, at the file's own rate.

    Raises:
        KitError: missing, damaged or truncated file, unknown joint names, NaN, no frames.
    """
    return ground(retarget(read_source(path)))
