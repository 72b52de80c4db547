"""The humanoid in a form that Isaac Gym imports: a plain MJCF, and collision filters instead of `<exclude>`."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from functools import cache

import roma
import torch

from physhmr_kit.body.hinges import dof_limits, dof_to_rotation
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.utils.errors import KitError

DRIVE_NAMES = tuple(f"{body}_{axis}" for body in BODY_NAMES[1:] for axis in "xyz")
"""The 69 drives of the asset in SMPL joint order: x, y, z of each joint (see `joints.py`)."""

_FILTER_BITS = 31  # the filter is a signed 32-bit integer


def isaac_mjcf(humanoid: Humanoid) -> str:
    """MJCF of the body in the subset that Isaac Gym's importer is known to read (that of PHC's humanoid).

    No floor, light, sensors or excludes; motors of unit gear (gains are set through the API); on each body three hinges x, y,
    z, which the importer merges into a spherical joint (`joints.py`); density instead of mass, so that every importer
    computes the inertia from the shape.
    """
    root = ET.fromstring(humanoid.mjcf())
    new = ET.Element("mujoco", model="physhmr_humanoid")
    ET.SubElement(new, "compiler", angle="degree")
    default = ET.SubElement(new, "default")
    ET.SubElement(default, "motor", ctrllimited="false")
    ET.SubElement(default, "geom", condim="3", friction="1 0.005 0.0001", contype="1", conaffinity="1")
    ET.SubElement(default, "joint", type="hinge", stiffness="0", damping="0", armature="0", limited="true")
    pelvis = root.findall("worldbody/body")[0]
    limits = dict(zip(DRIVE_NAMES, exp_map_limits().rad2deg().tolist(), strict=True))
    for body in pelvis.iter("body"):
        for joint in body.findall("joint"):
            body.remove(joint)
        for geom in body.findall("geom"):
            geom.attrib.pop("class", None)
            geom.set("density", f"{float(geom.attrib.pop('mass')) / _volume(geom):.8g}")
        if body is not pelvis:
            for place, axis in enumerate("xyz"):
                name = f"{body.get('name')}_{axis}"
                vector = " ".join("1" if a == axis else "0" for a in "xyz")
                low, high = limits[name]
                joint = ET.Element("joint", name=name, axis=vector, range=f"{low:.6g} {high:.6g}")
                body.insert(place, joint)
    ET.SubElement(new, "worldbody").append(pelvis)
    actuators = ET.SubElement(new, "actuator")
    for name in DRIVE_NAMES:
        ET.SubElement(actuators, "motor", name=name, joint=name, gear="1")
    ET.indent(new)
    return ET.tostring(new, encoding="unicode")


def _volume(geom: ET.Element) -> float:
    """Volume of a box, sphere or capsule (fromto), m^3."""
    size = [float(v) for v in geom.attrib["size"].split()]
    if geom.get("type") == "box":
        return 8 * math.prod(size)
    ball = 4 / 3 * math.pi * size[0] ** 3
    if geom.get("type") == "sphere":
        return ball
    ends = [float(v) for v in geom.attrib["fromto"].split()]
    return math.pi * size[0] ** 2 * math.dist(ends[:3], ends[3:]) + ball


@cache
def exp_map_limits() -> torch.Tensor:
    """(69, 2) rad, lower and upper limits of the rotation vector of each joint, x, y, z.

    The smallest box that contains all poses within the hinges' limits (on a grid, with a margin of 0.05). It also contains
    some poses that the hinge limits exclude.
    """
    low, high = dof_limits().double().unflatten(0, (23, 3)).unbind(-1)
    shares = torch.tensor(list(itertools.product(*[[k / 8 for k in range(9)]] * 3)), dtype=torch.float64)
    grid = low + shares[:, None] * (high - low)
    vectors = roma.unitquat_to_rotvec(dof_to_rotation(grid.flatten(1)))
    box = torch.stack([vectors.amin(0) - 0.05, vectors.amax(0) + 0.05], -1)
    return box.clamp(-math.pi, math.pi).flatten(0, 1).float()


def excluded_pairs(humanoid: Humanoid) -> set[frozenset[str]]:
    """Pairs of bodies that must not collide, from the excludes of the humanoid's MJCF."""
    return {frozenset((e.attrib["body1"], e.attrib["body2"])) for e in ET.fromstring(humanoid.mjcf()).iter("exclude")}


def filter_bits(names: tuple[str, ...], pairs: set[frozenset[str]]) -> dict[str, int]:
    """Collision filter of each body: two bodies share a bit if and only if they are one of `pairs`.

    In Isaac Gym two shapes collide unless their filters share a bit. Each bit is therefore a clique of `pairs`, and the
    cliques cover all pairs. They are grown greedily from the first uncovered pair by the body that covers most new pairs.

    Raises:
        KitError: a filter has too few bits.
    """
    bits, left = dict.fromkeys(names, 0), sorted(tuple(sorted(p, key=names.index)) for p in pairs)
    for bit in range(_FILTER_BITS):
        if not left:
            break
        clique = list(left[0])
        open_pairs = {frozenset(p) for p in left}
        while grown := [n for n in names if n not in clique and all(frozenset((n, c)) in pairs for c in clique)]:
            clique.append(max(grown, key=lambda n: sum(frozenset((n, c)) in open_pairs for c in clique)))
        for name in clique:
            bits[name] |= 1 << bit
        left = [p for p in left if not set(p) <= set(clique)]
    if left:
        raise KitError(f"isaac_gym: the excluded pairs need more than {_FILTER_BITS} collision filter bits")
    return bits
