"""BVH files of many dialects, written from a clip whose motion is known: names, rest frames, axes, channels and extra joints."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES, PARENTS, STANDING
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics

MIDDLE = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
SIDED = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")


@dataclass
class Dialect:
    """How a file is written.

    Attributes:
        middle: names of pelvis, spine1, spine2, spine3, neck, head; '' leaves a joint out (its child is longer).
        sided: names of hip, knee, ankle, foot, collar, shoulder, elbow, wrist, hand with {S} Left/Right, {s} left/right, {L} L/R, {l} l/r.
        prefix: in front of every name. above: a joint above the hips. extra: joints put between spine2 and spine3.
        along_x: at zero rotations every limb and spine bone runs along +x, as Rokoko and LAFAN1 have it.
        rest_turn: (4,) xyzw: how the whole rest pose is turned. world: (3, 3) turn of the world, y-up to what the file has.
        order: axes of the rotations. all_positions: position channels on every joint. unit: file units in a metre.
    """

    middle: tuple[str, ...]
    sided: tuple[str, ...]
    prefix: str = ""
    above: str = ""
    extra: tuple[str, ...] = ()
    along_x: bool = False
    rest_turn: torch.Tensor = field(default_factory=lambda: torch.tensor([0.0, 0, 0, 1], dtype=torch.float64))
    world: torch.Tensor = field(default_factory=lambda: torch.eye(3, dtype=torch.float64))
    order: str = "ZXY"
    all_positions: bool = False
    unit: float = 100.0

    def name(self, smpl: str) -> str:
        if smpl in MIDDLE:
            return self.middle[MIDDLE.index(smpl)]
        side, base = smpl.split("_")
        return self.sided[SIDED.index(base)].format(S=side.capitalize(), s=side, L=side[0].upper(), l=side[0])


MB_LIMBS = ("{S}UpLeg", "{S}Leg", "{S}Foot", "{S}ToeBase", "{S}Shoulder", "{S}Arm", "{S}ForeArm", "{S}Hand", "")
Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
BACKWARDS = roma.rotvec_to_unitquat(torch.tensor([0.0, np.pi, 0.0], dtype=torch.float64))

DIALECTS = {
    "MotionBuilder": Dialect(("Hips", "LowerBack", "Spine", "Spine1", "Neck1", "Head"), (*MB_LIMBS[:8], "{S}HandIndex1"), order="ZYX"),
    "Mixamo": Dialect(("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), (*MB_LIMBS[:8], "{S}HandMiddle1"), prefix="mixamorig:"),
    "MotionBuilder character": Dialect(("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), MB_LIMBS, prefix="Character1_"),
    "namespace": Dialect(("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), MB_LIMBS, prefix="Actor:"),
    "Rokoko": Dialect(("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), (*MB_LIMBS[:8], "{S}HandMiddle1"), along_x=True, order="YXZ"),
    "LAFAN1": Dialect(("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"), ("{S}UpLeg", "{S}Leg", "{S}Foot", "{S}Toe", "{S}Shoulder", "{S}Arm", "{S}ForeArm", "{S}Hand", ""), along_x=True, order="ZYX"),
    "OptiTrack": Dialect(("Hip", "Ab", "", "Chest", "Neck", "Head"), ("{L}Thigh", "{L}Shin", "{L}Foot", "{L}Toe", "{L}Shoulder", "{L}UArm", "{L}FArm", "{L}Hand", ""), order="XYZ", unit=1.0),
    "Xsens": Dialect(("Hips", "Chest", "Chest2", "Chest4", "Neck", "Head"), ("{S}Hip", "{S}Knee", "{S}Ankle", "{S}Toe", "{S}Collar", "{S}Shoulder", "{S}Elbow", "{S}Wrist", ""), extra=("Chest3",), order="YXZ"),
    "Bandai-Namco": Dialect(("Hips", "Spine", "", "Chest", "Neck", "Head"), ("UpperLeg_{L}", "LowerLeg_{L}", "Foot_{L}", "Toes_{L}", "Shoulder_{L}", "UpperArm_{L}", "LowerArm_{L}", "Hand_{L}", ""), above="joint_Root", along_x=True, all_positions=True),
    "Acclaim": Dialect(("root", "lowerback", "upperback", "thorax", "upperneck", "head"), ("{l}femur", "{l}tibia", "{l}foot", "{l}toes", "{l}clavicle", "{l}humerus", "{l}radius", "{l}hand", "{l}fingers"), unit=17.7),
    "Poser lower case": Dialect(("hip", "abdomen", "", "chest", "neck", "head"), ("{l}thigh", "{l}shin", "{l}foot", "", "{l}collar", "{l}shldr", "{l}forearm", "{l}hand", "{l}mid1")),
    "Daz upper case": Dialect(("HIP", "ABDOMEN", "", "CHEST", "NECK", "HEAD"), ("{L}THIGH", "{L}SHIN", "{L}FOOT", "", "{L}COLLAR", "{L}SHLDR", "{L}FOREARM", "{L}HAND", "")),
    "SMPL": Dialect(("Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head"), ("{L}_Hip", "{L}_Knee", "{L}_Ankle", "{L}_Foot", "{L}_Collar", "{L}_Shoulder", "{L}_Elbow", "{L}_Wrist", "{L}_Hand"), prefix="m_avg_", rest_turn=BACKWARDS),
    "Blender": Dialect(("spine", "spine.001", "spine.002", "spine.003", "neck", "head"), ("thigh.{L}", "shin.{L}", "foot.{L}", "toe.{L}", "shoulder.{L}", "upper_arm.{L}", "forearm.{L}", "hand.{L}", ""), world=Z_UP, unit=1.0, order="XYZ"),
    "Biped, names with blanks": Dialect(("Pelvis", "Spine", "Spine1", "Spine2", "Neck", "Head"), ("{L} Thigh", "{L} Calf", "{L} Foot", "{L} Toe0", "{L} Clavicle", "{L} UpperArm", "{L} Forearm", "{L} Hand", ""), prefix="Bip01 ", above="", world=Z_UP),
    "Unreal": Dialect(("pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head"), ("thigh_{l}", "calf_{l}", "foot_{l}", "ball_{l}", "clavicle_{l}", "upperarm_{l}", "lowerarm_{l}", "hand_{l}", "middle_01_{l}")),
    "no collars, toes, hands or neck": Dialect(("Hips", "Spine", "", "Chest", "", "Head"), ("{S}Hip", "{S}Knee", "{S}Ankle", "", "", "{S}Shoulder", "{S}Elbow", "", "")),
}  # fmt: skip

_TIPS = {"ankle": "foot", "wrist": "hand", "elbow": "wrist"}


def _frames(dialect: Dialect) -> dict[str, torch.Tensor]:
    """SMPL joint -> rotation (4,) of its bone at zero rotations, seen from the T-pose: what the file calls no rotation."""
    frames = dict.fromkeys(JOINT_NAMES, roma.quat_conjugation(dialect.rest_turn))
    if dialect.along_x:
        turn = lambda *degrees: roma.euler_to_unitquat("XYZ", torch.tensor(degrees, dtype=torch.float64), degrees=True)  # noqa: E731
        for name in ("spine1", "spine2", "spine3", "neck", "head"):
            frames[name] = turn(0.0, 0.0, 90.0)  # the bone's own x points up
        for side in ("left", "right"):
            for joint in ("hip", "knee"):
                frames[f"{side}_{joint}"] = turn(0.0, 0.0, -90.0)
            for joint in ("ankle", "foot"):
                frames[f"{side}_{joint}"] = turn(0.0, -67.0, -90.0)
        for joint in ("collar", "shoulder", "elbow", "wrist", "hand"):
            frames[f"right_{joint}"] = turn(180.0, 0.0, 180.0)
    return frames


def write(clip: Clip, dialect: Dialect, path: Path) -> Path:
    """Write a clip in a dialect. The skeleton has the humanoid's proportions."""
    offsets = Humanoid.mean().offsets.double()
    lying = roma.quat_conjugation(torch.tensor(STANDING, dtype=torch.float64))
    local = clip.joint_rot.double()
    local[:, 0] = roma.quat_product(lying.expand(len(clip), 4), local[:, 0])
    root = roma.quat_action(lying.expand(len(clip), 4), clip.root_pos.double())
    _, rot = forward_kinematics(root, local, offsets)
    world = roma.rotmat_to_unitquat(dialect.world)
    frames = _frames(dialect)

    lines, columns, none = ["HIERARCHY"], [], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(len(clip), 4)

    def told(smpl: str) -> torch.Tensor:
        """World rotation of a bone as the file has it, (T, 4)."""
        turned = roma.quat_product(world.expand(len(clip), 4), rot[:, JOINT_NAMES.index(smpl)])
        return roma.quat_product(turned, frames[smpl].expand(len(clip), 4))

    def numbers(v) -> str:
        return " ".join(f"{x:.6f}" for x in v)

    def joint(
        label: str, offset, channels_pos: bool, values_pos, above: torch.Tensor, own: torch.Tensor, kind: str
    ) -> None:
        turns = roma.unitquat_to_euler(
            dialect.order, roma.quat_product(roma.quat_conjugation(above), own), degrees=True
        )
        spins = " ".join(f"{axis}rotation" for axis in dialect.order)
        moves = "Xposition Yposition Zposition " if channels_pos else ""
        lines.extend(
            [
                f"{kind} {dialect.prefix}{label}",
                "{",
                f"OFFSET {numbers(offset)}",
                f"CHANNELS {6 if channels_pos else 3} {moves}{spins}",
            ]
        )
        columns.append(torch.cat([values_pos, turns], dim=1) if channels_pos else turns)

    def add(smpl: str, parent: str, offset: torch.Tensor, above: torch.Tensor, kind: str) -> None:
        index = JOINT_NAMES.index(smpl)
        children = [JOINT_NAMES[c] for c, p in enumerate(PARENTS) if p == index]
        label = dialect.name(smpl)
        if not label:  # left out: its children hang on its parent, as far away as they are
            for child in children:
                add(child, parent, offset + offsets[JOINT_NAMES.index(child)], above, kind)
            return
        seen = roma.quat_action(roma.quat_conjugation(frames[parent]), offset) if parent else offset
        seen, moved = seen * dialect.unit, dialect.all_positions or not parent
        place = (root @ dialect.world.T) * dialect.unit if not parent else seen.expand(len(clip), 3)
        if smpl == "spine3" and dialect.extra:
            for name in dialect.extra:
                joint(name, seen / 2, False, None, above, told("spine2"), "JOINT")
                seen, above = seen / 2, told("spine2")
        own = told(smpl)
        joint(label, seen, moved, place, above, own, kind)
        for child in children:
            add(child, smpl, offsets[JOINT_NAMES.index(child)], own, "JOINT")
        base = smpl.split("_")[-1]
        beyond = offsets[JOINT_NAMES.index(f"{smpl.split('_')[0]}_{_TIPS[base]}")] if base in _TIPS else None
        if not lines[-1].startswith("}"):  # no child was written
            end = beyond if beyond is not None else torch.tensor([0.0, 0.12, 0.0], dtype=torch.float64)
            end = roma.quat_action(roma.quat_conjugation(frames[smpl]), end) * dialect.unit
            lines.extend(["End Site", "{", f"OFFSET {numbers(end)}", "}"])
        lines.extend("}" for _ in range(1 + (len(dialect.extra) if smpl == "spine3" else 0)))

    if dialect.above:
        joint(dialect.above, torch.zeros(3), True, torch.zeros(len(clip), 3, dtype=torch.float64), none, none, "ROOT")
    add("pelvis", "", torch.zeros(3, dtype=torch.float64), none, "JOINT" if dialect.above else "ROOT")
    lines.extend("}" for _ in range(bool(dialect.above)))
    rows = [" ".join(f"{x:.6f}" for x in row) for row in torch.cat(columns, dim=1)]
    lines += ["MOTION", f"Frames: {len(clip)}", f"Frame Time: {1 / clip.fps:.7f}", *rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def edit_rows(text: str, change) -> str:
    """A file's text with the values of each frame changed: a list of strings -> a list of strings."""
    head, _, motion = text.partition("MOTION\n")
    count, step, *rows = motion.strip().splitlines()
    return head + "MOTION\n" + "\n".join([count, step, *(" ".join(change(row.split())) for row in rows)]) + "\n"
