"""Roles: which joint of a foreign skeleton is the left knee, whatever its maker calls it.

Names are cut into words (`mixamorig:LeftUpLeg` -> mixamorig, left, up, leg), the side is taken out, and what is left is looked up
among the names each role goes by, leading words that are none (a prefix, a namespace) dropped one by one. Where a name means
two things (a `LeftShoulder` is a collar bone beside a `LeftArm` and an upper arm beside a `LeftCollar`), the assignment
that explains the whole limb best, from the trunk outwards, is taken. Pelvis, spine and neck are found by topology: the joint at which the legs
part, the joint at which the arms part, and what lies between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Protocol

from physhmr_kit.utils.errors import KitError


class Named(Protocol):
    """A joint of a tree: its name and the index of its parent, -1 for a root."""

    name: str
    parent: int


# Role of a limb, outwards -> names it goes by with the weight of that name, digits of the first of a row kept.
_LEG: dict[str, dict[str, float]] = {
    "hip": {"thigh": 4, "upleg": 4, "upperleg": 4, "femur": 4, "hip": 4, "legupper": 4, "thighbend": 4, "leg": 1},
    "knee": {"shin": 4, "calf": 4, "lowleg": 4, "lowerleg": 4, "tibia": 4, "knee": 4, "shank": 4, "leglower": 4, "leg": 3},
    "ankle": {"foot": 4, "ankle": 4, "talus": 3},
    "foot": {"toe": 4, "toes": 4, "toebase": 4, "ball": 4, "toeknuckles": 3, "forefoot": 4, "metatarsal": 2, "metatarsals": 2, "foot": 1},
}  # fmt: skip
_ARM: dict[str, dict[str, float]] = {
    "collar": {"collar": 4, "clavicle": 4, "thorax": 4, "innershoulder": 4, "scapula": 3, "shoulder": 2},
    "shoulder": {"arm": 4, "uparm": 4, "upperarm": 4, "uarm": 4, "shldr": 4, "shldrbend": 4, "humerus": 4, "shoulder": 3},
    "elbow": {"forearm": 4, "lowerarm": 4, "lowarm": 4, "farm": 4, "elbow": 4, "radius": 4, "forearmbend": 4},
    "wrist": {"hand": 4.1, "wrist": 4},
    "hand": {"middle1": 3, "mid1": 3, "handmiddle1": 3, "index1": 2, "handindex1": 2, "fingers": 2, "fingerbase": 1, "hand": 1, "palm": 1},
}  # fmt: skip
_NEEDED = {"leg": ("hip", "knee", "ankle"), "arm": ("shoulder", "elbow")}
_WORDS = {
    "hip": "thigh", "knee": "shin", "ankle": "foot", "shoulder": "upper arm", "elbow": "forearm", "head": "head"
}  # fmt: skip
_HEAD = ("head", "skull", "cranium")
_NO_BONE = {"ik", "pole", "twist", "roll", "ctrl", "target", "nub", "end", "site", "hint", "twst", "leaf", "effector"}
_ANIMAL = {"tail", "paw", "hoof", "wing", "fetlock", "muzzle", "snout", "foreleg", "hindleg"}
_FINGERS = "thumb|index|middle|mid|ring|pinky|little"


@dataclass(frozen=True)
class Roles:
    """Indices of joints by role.

    Attributes:
        limbs: SMPL's name of a limb joint, e.g. 'left_knee' -> joint. Collars, toes ('foot'), wrists and hands may be missing.
        pelvis: where the legs part. head: the head.
        spine: joints from the one above the pelvis up to the one where the arms part. neck: from there up to the head, both excluded.
    """

    limbs: dict[str, int]
    pelvis: int
    spine: tuple[int, ...]
    neck: tuple[int, ...]
    head: int

    def indices(self) -> set[int]:
        """All joints that have a role."""
        return {self.pelvis, self.head, *self.spine, *self.neck, *self.limbs.values()}


def find_roles(joints: Sequence[Named], path: str | Path) -> Roles:
    """The roles of a skeleton's joints (parents before children).

    Raises:
        KitError: a role nobody plays, named with the names that were seen; an animal or a prop.
    """
    seen = [_side_and_base(joint.name) for joint in joints]
    limbs: dict[str, int] = {}
    missing = []
    for side in ("left", "right"):
        for limb, table in (("leg", _LEG), ("arm", _ARM)):
            found = _limb(joints, seen, side, table, _NEEDED[limb])
            missing += [f"{side} {_WORDS[role]}" for role in _NEEDED[limb] if role not in found]
            limbs |= {f"{side}_{role}": i for role, i in found.items()}
    if missing:
        raise KitError(f"{path}: {_refusal(joints, missing)}")
    pelvis = _meeting(joints, limbs["left_hip"], limbs["right_hip"])
    chest = _meeting(joints, *(limbs.get(f"{s}_collar", limbs[f"{s}_shoulder"]) for s in ("left", "right")))
    if pelvis < 0 or chest < 0:
        raise KitError(f"{path}: legs or arms hang on different roots; the kit reads one skeleton in one tree")
    trunk = _line(joints, chest)
    below = _meeting(joints, pelvis, chest)
    spine = tuple(trunk[trunk.index(below) + 1 :])
    head = _head(joints, seen, chest, set(limbs.values()))
    if head < 0:
        raise KitError(f"{path}: {_refusal(joints, ['head'])}")
    upwards = _line(joints, head)
    neck = tuple(upwards[upwards.index(chest) + 1 : -1]) if chest in upwards else ()
    return Roles(limbs, pelvis, spine, neck, head)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: 'mixamorig:LeftUpLeg' -> left, up, leg; 'thigh_l.001' -> thigh, l, 001."""
    name = re.split(r"[:|]", name)[-1]
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _side_and_base(name: str) -> tuple[str, list[str]]:
    """Side ('left', 'right' or '') of a joint and the names it may go by, most whole first."""
    words = words_of(name)
    if _NO_BONE & set(words):
        return "", []
    side = ""
    for i, word in enumerate(words):
        if word in ("left", "right", "l", "r"):
            side = "left" if word[0] == "l" else "right"
            words = words[:i] + words[i + 1 :]
            break
    if side:
        return side, _bases(words)
    whole = "".join(words)
    for start, side in (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right")):
        rest = whole.removeprefix(start) if whole.startswith(start) else whole.removesuffix(start)
        if rest != whole and _known(_plain(rest)):  # lThigh is cut into words; LTHIGH and lthigh are not
            return side, [_plain(rest)]
    return "", _bases(words)


def _bases(words: list[str]) -> list[str]:
    return [_plain("".join(words[i:])) for i in range(len(words))]


def _plain(base: str) -> str:
    """A base name without leading zeros, and without its number unless it is a finger's."""
    ((stem, number),) = re.findall(r"^(.*?)0*(\d*)$", base)
    return stem + number if re.search(rf"({_FINGERS})$", stem) else stem


def _known(base: str) -> bool:
    return any(base in names for table in (_LEG, _ARM) for names in table.values())


def _limb(joints, seen, side: str, table: dict[str, dict[str, float]], needed: tuple[str, ...]) -> dict[str, int]:
    """The best assignment of a limb's roles to joints that lie below one another: role -> joint."""
    options: dict[str, list[tuple[float, int]]] = {}
    for role, names in table.items():
        found = []
        for i, (where, bases) in enumerate(seen):
            weight = next((names[base] for base in bases if base in names), 0) if where == side else 0
            if weight:
                found.append((weight, i))
        options[role] = sorted(found, key=lambda pair: (-pair[0], pair[1]))[:4]
    best, most = dict[str, int](), 0.0
    for choice in product(*([*options[role], None] for role in table)):
        taken = [(role, *pair) for role, pair in zip(table, choice, strict=True) if pair]
        total = sum(weight for _, weight, _ in taken)
        chain = [i for _, _, i in taken]
        if total > most and all(a in _line(joints, b)[:-1] for a, b in pairwise(chain)):
            whole = all(any(role == r for r, *_ in taken) for role in needed)
            if whole or not best or not all(r in best for r in needed):
                best, most = {role: i for role, _, i in taken}, total
    return best


def _line(joints: Sequence[Named], joint: int) -> list[int]:
    """A joint and those above it, from the root down."""
    line = []
    while joint >= 0:
        line.append(joint)
        joint = joints[joint].parent
    return line[::-1]


def _meeting(joints: Sequence[Named], a: int, b: int) -> int:
    """The lowest joint above both, itself excluded unless they are one; -1 where there is none."""
    shared = [i for i, j in zip(_line(joints, a), _line(joints, b), strict=False) if i == j]
    return shared[-1] if shared else -1


def _head(joints, seen, chest: int, taken: set[int]) -> int:
    """The head: by name, else the end of the longest line above the chest that is no arm's."""
    above = [i for i in range(len(joints)) if chest in _line(joints, i)[:-1]]
    named = [i for i in above if seen[i][0] == "" and any(base in _HEAD for base in seen[i][1])]
    if named:
        return named[0]
    necks = [i for i in above if not seen[i][0] and any(b.startswith("neck") for b in seen[i][1]) and i not in taken]
    return necks[-1] if necks else -1


def _refusal(joints: Sequence[Named], missing: list[str]) -> str:
    names = [joint.name for joint in joints]
    some = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    if any(_ANIMAL & set(words_of(name)) for name in names):
        return f"an animal, it seems ({some}): no {', '.join(missing[:3])}; the kit reads human skeletons"
    if len(names) < 12:
        return f"{len(names)} joint(s) ({some}): a prop, not a person; no {', '.join(missing[:3])}"
    return f"no joint that we know for the {', '.join(missing[:5])}; the file names {some}"


def is_animal(joints: Sequence[Named]) -> bool:
    """Whether names speak of a tail, paws or wings, beside those of a person."""
    return any(_ANIMAL & set(words_of(joint.name)) for joint in joints)
