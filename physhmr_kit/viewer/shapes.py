"""The humanoid's shapes, read from its MJCF: what is drawn is what collides."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES


@dataclass(frozen=True)
class Shape:
    """One collision shape in the frame of its body, metres.

    Attributes:
        kind: 'box', 'capsule' or 'sphere'.
        centre: (3,) of a box or sphere; of a capsule, one end of its axis.
        size: box: (3,) half lengths; sphere: (1,) radius; capsule: (1,) radius.
        end: (3,) other end of a capsule's axis.
    """

    kind: str
    centre: np.ndarray
    size: np.ndarray
    end: np.ndarray | None = None


def humanoid_shapes(humanoid: Humanoid | None = None) -> list[Shape]:
    """The 24 shapes of a humanoid (the mean shape when omitted), SMPL order."""
    tree = ElementTree.fromstring((humanoid or Humanoid.mean()).mjcf())
    bodies = {body.get("name"): body for body in tree.iter("body")}
    return [_shape(bodies[name].findall("geom")[0]) for name in BODY_NAMES]


def _shape(geom: ElementTree.Element) -> Shape:
    kind, size = geom.attrib["type"], _numbers(geom.attrib["size"])
    if kind == "capsule":
        ends = _numbers(geom.attrib["fromto"])
        return Shape(kind, ends[:3], size[:1], ends[3:])
    return Shape(kind, _numbers(geom.get("pos", "0 0 0")), size)


def _numbers(text: str) -> np.ndarray:
    return np.array([float(v) for v in text.split()])


def from_z(direction: np.ndarray) -> np.ndarray:
    """The shortest turn that takes +z to a direction: (3,), not zero -> quaternion xyzw."""
    x, y, z = direction / np.linalg.norm(direction)
    if z < -1 + 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0])
    quat = np.array([-y, x, 0.0, 1.0 + z])
    return quat / np.linalg.norm(quat)
