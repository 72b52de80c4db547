"""Reads CMU's ASF/AMC: the skeleton file, the motion file, and the mapping of bones to SMPL's 24 joints.

An .asf gives each bone a rest direction (world frame), a length and a local frame C; an .amc gives its angles in that
frame. The world rotation of a bone since rest is M = M_parent C R C^-1 and its end lies at start + length M direction,
as in AMCParser and dm_control's parse_amc. The files are y-up; their unit of length does not matter here, because
`retarget` scales every skeleton to the humanoid's legs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.retargeting.lean import stand_over_feet
from data_prep.retargeting.retarget import refuse_teleport, retarget
from data_prep.retargeting.source import SourceMotion
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.grounding import ground
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import read_text

CMU_FPS = 120.0
"""An .amc holds no rate. By the database's index all trials are at 120 Hz but some late ones at 60 Hz."""

# SMPL joint -> the bone that starts there; sided bones are prefixed with l or r.
# lradius and lwrist are the two halves of one straight forearm (lwrist twists), so the wrist is the start of lhand.
_BONES = {
    "pelvis": "root", "spine1": "lowerback", "spine2": "upperback", "spine3": "thorax", "neck": "upperneck",
    "head": "head", "hip": "femur", "knee": "tibia", "ankle": "foot", "foot": "toes", "collar": "clavicle",
    "shoulder": "humerus", "elbow": "radius", "wrist": "hand", "hand": "fingers",
}  # fmt: skip


def _bone_of(joint: str) -> str:
    side, _, base = joint.partition("_")
    return side[0] + _BONES[base] if base else _BONES[joint]


@dataclass(frozen=True)
class Bone:
    """One bone of an .asf: rest direction (3,) unit, length, local frame C (4,) xyzw, and its angles, e.g. ('rx', 'rz')."""

    direction: torch.Tensor
    length: float
    frame: torch.Tensor
    dofs: tuple[str, ...]
    order: str


@dataclass(frozen=True)
class AsfSkeleton:
    """An .asf file: bones by name ('root' included), each after its parent, and the parents."""

    bones: dict[str, Bone]
    parents: dict[str, str]


def _euler(order: str, degrees) -> torch.Tensor:
    """Rotation by angles about fixed axes, the first letter first: (..., 3) degrees -> (..., 4) xyzw."""
    return roma.euler_to_unitquat(order.lower(), torch.as_tensor(degrees, dtype=torch.float64), degrees=True)


def read_asf(path: str | Path) -> AsfSkeleton:
    """Read a skeleton.

    Raises:
        KitError: missing file, section or bone, or an invalid number.
    """
    path = Path(path)
    sections: dict[str, list[list[str]]] = {}
    for line in read_text(path).splitlines():
        words = line.split("#")[0].replace("(", " ").replace(")", " ").split()
        if words and words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words and sections:
            current.append(words)
    for needed in ("root", "bonedata", "hierarchy"):
        if not sections.get(needed):
            raise KitError(f"{path}: no :{needed} section; is it a complete .asf skeleton?")
    try:
        bones = _parse_bones(sections)
        parents = {child: words[0] for words in sections["hierarchy"] if len(words) > 1 for child in words[1:]}
    except (KeyError, ValueError, IndexError) as fault:
        raise KitError(f"{path}: cannot be read as an .asf skeleton ({fault})") from fault
    missing = [n for n in map(_bone_of, JOINT_NAMES) if n not in bones or (n != "root" and n not in parents)]
    if missing:
        raise KitError(f"{path}: missing bone(s) {', '.join(missing[:5])}; expected the 30 bones of the CMU database")
    return AsfSkeleton({name: bones[name] for name in _parents_first(parents, path)}, parents)


def _parse_bones(sections: dict[str, list[list[str]]]) -> dict[str, Bone]:
    root = {words[0].lower(): words[1:] for words in sections["root"]}
    if any(w[0] == "angle" and w[1].startswith("rad") for w in sections.get("units", [])):
        raise ValueError("angles in radians; only degrees are supported")
    order = tuple(w.lower() for w in root["order"])
    axis = root["axis"][0]
    frame = _euler(axis, np.array(root.get("orientation", ["0"] * 3), float))
    bones = {"root": Bone(torch.zeros(3, dtype=torch.float64), 0.0, frame, order, axis)}
    entry: dict[str, list[str]] = {}
    for words in sections["bonedata"]:
        if words[0] == "begin":
            entry = {}
        elif words[0] == "end":
            direction = torch.tensor([float(v) for v in entry["direction"]], dtype=torch.float64)
            axis = entry["axis"][3] if len(entry["axis"]) > 3 else "XYZ"
            frame = _euler(axis, np.array(entry["axis"][:3], float))
            # the dof line alone says which angles the .amc holds; limits may be zero for a real dof
            dofs = tuple(w.lower() for w in entry.get("dof", []))
            bones[entry["name"][0]] = Bone(direction / direction.norm(), float(entry["length"][0]), frame, dofs, axis)
        else:
            entry[words[0].lower()] = words[1:]
    return bones


def _parents_first(parents: dict[str, str], path: Path) -> list[str]:
    order = ["root"]
    for name in order:
        order += [child for child, parent in parents.items() if parent == name]
        if len(order) > len(parents) + 1:
            break
    if len(order) != len(parents) + 1:
        raise KitError(f"{path}: the hierarchy is not one tree below root")
    return order


def _read_channels(path: Path, skeleton: AsfSkeleton) -> dict[str, np.ndarray]:
    """The angles of each moving bone as written: name -> (T, channels). All frames must have the bones of the first."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    if any(line.lower() == ":radians" for line in lines[:20]):
        raise KitError(f"{path}: angles in radians; only :DEGREES is supported, as in the CMU database")
    lines = [line for line in lines if line and line[0] not in "#:"]
    starts = [i for i, line in enumerate(lines) if line.isdigit()]
    if not starts:
        raise KitError(f"{path}: no frames; an .amc lists a frame number, then one line for each bone")
    size = (starts[1] if len(starts) > 1 else len(lines)) - starts[0]
    for frame, (start, stop) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), start=1):
        if stop - start != size:
            fault = "is cut short" if stop == len(lines) else "is damaged"
            raise KitError(
                f"{path}: frame {frame} has {stop - start - 1} bone lines where frame 1 has {size - 1}: the file {fault}"
            )
    channels = {}
    for row in range(1, size):
        name = lines[starts[0] + row].split()[0]
        block = lines[starts[0] + row :: size]
        if name not in skeleton.bones:
            raise KitError(f"{path}: bone '{name}' is not in the .asf skeleton; is it the right one?")
        width = len(skeleton.bones[name].dofs)
        for frame, line in enumerate(block, start=1):
            if not line.startswith(name + " ") or len(line.split()) != width + 1:
                raise KitError(
                    f"{path}: frame {frame} has '{line[:40]}' where '{name}' with {width} value(s) is expected"
                )
        try:
            values = np.array(" ".join(line[len(name) :] for line in block).split(), dtype=np.float64)
        except ValueError as fault:
            raise KitError(f"{path}: bone '{name}' holds something that is not a number ({fault})") from fault
        channels[name] = values.reshape(len(block), width)
        bad = ~np.isfinite(channels[name]).all(1)
        if bad.any():
            raise KitError(
                f"{path}: bone '{name}' is not finite in {int(bad.sum())} frame(s), first {int(bad.argmax()) + 1}"
            )
    silent = [n for n, b in skeleton.bones.items() if b.dofs and n not in channels]
    if silent:
        raise KitError(
            f"{path}: no line for bone(s) {', '.join(silent[:5])}, which have a dof line in the .asf skeleton"
        )
    return channels


def _forward(skeleton: AsfSkeleton, channels: dict[str, np.ndarray], frames: int):
    """World rotation since rest (T, 4) and start (T, 3) of every bone."""
    rot, start, end = {}, {}, {}
    for name, bone in skeleton.bones.items():
        values = dict(zip(bone.dofs, channels[name].T, strict=True)) if name in channels else {}
        angles = np.stack([values.get("r" + axis, np.zeros(frames)) for axis in bone.order.lower()], axis=-1)
        turn = roma.quat_product(bone.frame.expand(frames, 4), _euler(bone.order, angles))
        if name == "root":
            rot[name] = turn
            move = np.stack([values.get(t, np.zeros(frames)) for t in ("tx", "ty", "tz")], axis=-1)
            start[name] = end[name] = torch.as_tensor(move)
            continue
        parent = skeleton.parents[name]
        local = roma.quat_product(turn, roma.quat_conjugation(bone.frame).expand(frames, 4))
        rot[name] = roma.quat_product(rot[parent], local)
        start[name] = end[parent]
        end[name] = start[name] + roma.quat_action(rot[name], (bone.length * bone.direction).expand(frames, 3))
    return rot, start


def read_source(amc_path: str | Path, asf_path: str | Path | None = None, fps: float = CMU_FPS) -> SourceMotion:
    """Parse a trial without retargeting it; see `read_amc`."""
    amc_path = Path(amc_path)
    skeleton = read_asf(asf_path or _asf_beside(amc_path))
    channels = _read_channels(amc_path, skeleton)
    rot, start = _forward(skeleton, channels, len(channels["root"]))
    _, rest = _forward(skeleton, {}, 1)
    bones = [_bone_of(joint) for joint in JOINT_NAMES]
    pos, turned, at_rest = (torch.stack([part[bone] for bone in bones], dim=1) for part in (start, rot, rest))
    return SourceMotion(pos, turned, at_rest[0], fps, amc_path.stem)


def _asf_beside(amc_path: Path) -> Path:
    """The subject's skeleton: SS.asf for SS_TT.amc, or the only .asf in the folder."""
    if not amc_path.is_file():
        raise KitError(f"{amc_path}: no such file")
    named = amc_path.with_name(amc_path.stem.split("_")[0] + ".asf")
    found = sorted(amc_path.parent.glob("*.asf"))
    if named.is_file():
        return named
    if len(found) == 1:
        return found[0]
    raise KitError(f"{amc_path}: no skeleton beside it; put {named.name} into the same folder")


def read_amc(amc_path: str | Path, asf_path: str | Path | None = None, fps: float = CMU_FPS) -> Clip:
    """A trial of the CMU database as a clip: retargeted, scaled to the humanoid, its feet on the floor.

    Args:
        amc_path: the motion, e.g. 02_01.amc.
        asf_path: the subject's skeleton; the one beside the .amc when omitted.
        fps: frames per second, for the few trials that were not captured at 120 Hz; the clip's rate too.

    Raises:
        KitError: missing or truncated file, unknown or missing bones, wrong number of values, NaN, no frames.
    """
    source = refuse_teleport(read_source(amc_path, asf_path, fps), Path(amc_path))
    return stand_over_feet(ground(retarget(source)))
