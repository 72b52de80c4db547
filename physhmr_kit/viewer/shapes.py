"""Collision shapes of the humanoid, read from its MJCF, for drawing."""

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
        centre: (3,) of a box or sphere; one end of the axis of a capsule.
        size: (3,) half lengths of a box; (1,) radius of a sphere or capsule.
        end: (3,) other end of the axis of a capsule.
    """

    kind: str
    centre: np.ndarray
    size: np.ndarray
    end: np.ndarray | None = None


def humanoid_shapes(humanoid: Humanoid | None = None) -> list[Shape]:
    """The 24 shapes of a humanoid (default: the mean shape), SMPL order."""
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
    return np.array(text.split(), float)
