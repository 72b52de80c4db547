"""Finds which joint of an unknown skeleton is which SMPL joint, by name and topology.

Names are split into words (`mixamorig:LeftUpLeg` -> mixamorig, left, up, leg), the side is removed, and the rest is looked up
among the known names of each limb joint, leading words (a prefix, a namespace) dropped one by one. Where a name is ambiguous
(a `LeftShoulder` is a collar bone beside a `LeftArm` and an upper arm beside a `LeftCollar`), the assignment that explains
the whole limb best, from the trunk outwards, is taken. Pelvis, spine and neck are found by topology: the joint where the
legs branch off, the joint where the arms branch off, and the joints between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

from data_prep.bvh_file import Joint
from physhmr_kit.utils.errors import KitError

# Joints of a limb, outwards -> their known names with the weight of each; fingers keep their number.
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
_WORDS = {"hip": "thigh", "knee": "shin", "ankle": "foot", "shoulder": "upper arm", "elbow": "forearm"}
_HEAD = ("head", "skull", "cranium")
_NO_BONE = {"ik", "pole", "twist", "roll", "ctrl", "target", "nub", "end", "site", "hint", "twst", "leaf", "effector"}
_ANIMAL = {"tail", "paw", "hoof", "wing", "fetlock", "muzzle", "snout", "foreleg", "hindleg"}
_FINGERS = "thumb|index|middle|mid|ring|pinky|little"


def find_roles(joints: Sequence[Joint], path: str | Path) -> dict[str, int]:
    """SMPL joint -> index of the skeleton's joint (parents before children).

    Collars, toes ('foot'), wrists, hands, neck and the lower spine may be missing. Of any number of spine joints the lowest
    is 'spine1', the one where the arms branch off 'spine3'.

    Raises:
        KitError: a joint that cannot be found, listed with the names in the file; an animal or a prop.
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
    pelvis = _common_ancestor(joints, limbs["left_hip"], limbs["right_hip"])
    chest = _common_ancestor(joints, *(limbs.get(f"{s}_collar", limbs[f"{s}_shoulder"]) for s in ("left", "right")))
    if pelvis < 0 or chest < 0:
        raise KitError(f"{path}: legs or arms belong to different roots; the kit reads one skeleton in one tree")
    trunk = _ancestry(joints, chest)
    spine = trunk[trunk.index(_common_ancestor(joints, pelvis, chest)) + 1 :] or [pelvis]
    head = _head(joints, seen, chest, set(limbs.values()))
    if head < 0:
        raise KitError(f"{path}: {_refusal(joints, ['head'])}")
    found = {"pelvis": pelvis, "head": head, **limbs, "spine3": spine[-1]}
    if len(spine) > 1:
        found["spine1"] = spine[0]
    if len(spine) > 2:
        found["spine2"] = spine[len(spine) // 2]
    if joints[head].parent != chest:
        found["neck"] = joints[head].parent
    return found


def words_of(name: str) -> list[str]:
    """Splits a name into words in lower case: 'mixamorig:LeftUpLeg' -> left, up, leg; 'thigh_l.001' -> thigh, l, 001."""
    name = re.split(r"[:|]", name)[-1]
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _side_and_base(name: str) -> tuple[str, list[str]]:
    """Side ('left', 'right' or '') of a joint and the base names to look up, the longest first."""
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
    """The best assignment of a limb's roles to a chain of joints, each below the one before: role -> joint."""
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
        if total > most and all(a in _ancestry(joints, b)[:-1] for a, b in pairwise(chain)):
            whole = all(any(role == r for r, *_ in taken) for role in needed)
            if whole or not best or not all(r in best for r in needed):
                best, most = {role: i for role, _, i in taken}, total
    return best


def _ancestry(joints: Sequence[Joint], joint: int) -> list[int]:
    """A joint and its ancestors, from the root down."""
    ancestry = []
    while joint >= 0:
        ancestry.append(joint)
        joint = joints[joint].parent
    return ancestry[::-1]


def _common_ancestor(joints: Sequence[Joint], a: int, b: int) -> int:
    """The lowest joint that is an ancestor of both, or one of the two itself; -1 where there is none."""
    shared = [i for i, j in zip(_ancestry(joints, a), _ancestry(joints, b), strict=False) if i == j]
    return shared[-1] if shared else -1


def _head(joints, seen, chest: int, taken: set[int]) -> int:
    """The head by name, else the last neck joint; -1 where there is neither."""
    above = [i for i in range(len(joints)) if chest in _ancestry(joints, i)[:-1]]
    named = [i for i in above if seen[i][0] == "" and any(base in _HEAD for base in seen[i][1])]
    if named:
        return named[0]
    necks = [i for i in above if not seen[i][0] and any(b.startswith("neck") for b in seen[i][1]) and i not in taken]
    return necks[-1] if necks else -1


def _refusal(joints: Sequence[Joint], missing: list[str]) -> str:
    names = [joint.name for joint in joints]
    some = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    if is_animal(joints):
        return f"seems to be an animal ({some}): no {', '.join(missing[:3])}; the kit reads human skeletons"
    if len(names) < 12:
        return f"{len(names)} joint(s) ({some}): a prop, not a person; no {', '.join(missing[:3])}"
    return f"no known joint name for the {', '.join(missing[:5])}; the file has {some}"


def is_animal(joints: Sequence[Joint]) -> bool:
    """Whether a joint is named as a tail, paw or wing."""
    return any(_ANIMAL & set(words_of(joint.name)) for joint in joints)
