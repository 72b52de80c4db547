"""Bodies in a Rerun recording: solid shapes, their paths, forces. Geometry goes in once, then only what moves.

All arrays are in the kit's world (z-up, metres), SMPL order; `Times` carries the two timelines `frame` and `time`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import rerun as rr

from physhmr_kit.body.skeleton import BODY_NAMES, PARENTS
from physhmr_kit.viewer.palette import CONTACT
from physhmr_kit.viewer.shapes import Shape, from_z

BONES = np.array([(parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0])
"""(23, 2) parent and child joint of each bone."""

NEWTONS_PER_METRE = 2000.0
"""Scale of the force arrows: the weight of a 70 kg body is about a third of a metre."""

_ABOVE_FLOOR = 0.01  # metres; a line on the floor itself would flicker with the grid
_REACH = 0.65  # metres; half the side of the box that the viewpoint follows


@dataclass(frozen=True)
class Times:
    """When the rows of a batch happen.

    Attributes:
        seconds: (T,) from the start.
        fps: frames per second of the `frame` timeline.
    """

    seconds: np.ndarray
    fps: float

    @classmethod
    def steady(cls, count: int, fps: float, first: int = 0) -> Times:
        """One row for each of `count` frames, from frame `first` on."""
        return cls(np.arange(first, first + count) / fps, fps)

    def __len__(self) -> int:
        return len(self.seconds)

    def columns(self) -> list[rr.TimeColumn]:
        """The index of `send_columns`."""
        frames = np.round(self.seconds * self.fps).astype(np.int64)
        return [rr.TimeColumn("frame", sequence=frames), rr.TimeColumn("time", duration=self.seconds)]


def log_solid(rec: rr.RecordingStream, path: str, times: Times, pos, rot, shapes: list[Shape], colour) -> None:
    """A body as the shapes that the simulator collides, one entity for each of the 24.

    Args:
        pos: (T, 24, 3) m. rot: (T, 24, 4) xyzw, both world.
        shapes: of `humanoid_shapes`. colour: red, green, blue, optionally opacity, 0..255.
    """
    pos, rot = np.asarray(pos, np.float32), np.asarray(rot, np.float32)
    for joint, (name, shape) in enumerate(zip(BODY_NAMES, shapes, strict=True)):
        rec.log(f"{path}/{name}", _solid(shape, colour), static=True)
        moves = rr.Transform3D.columns(translation=pos[:, joint], quaternion=rot[:, joint])
        rec.send_columns(f"{path}/{name}", times.columns(), moves)


def _solid(shape: Shape, colour) -> rr.AsComponents:
    style: dict[str, Any] = {"colors": [colour], "fill_mode": "solid"}
    if shape.kind == "box":
        return rr.Boxes3D(centers=[shape.centre], half_sizes=[shape.size], **style)
    if shape.kind == "sphere":
        return rr.Ellipsoids3D(centers=[shape.centre], radii=[shape.size[0]], **style)
    axis = shape.end - shape.centre
    # a Rerun capsule starts at the origin and runs along +z
    return rr.Capsules3D(
        lengths=[np.linalg.norm(axis)],
        radii=[shape.size[0]],
        translations=[shape.centre],
        quaternions=[from_z(axis)],
        **style,
    )


def log_path(rec: rr.RecordingStream, path: str, root, colour) -> None:
    """The way of a body over the floor, as a line that is there at all times: root (T, 3) m, world."""
    line = np.asarray(root, np.float32) * (1.0, 1.0, 0.0) + (0.0, 0.0, _ABOVE_FLOOR)
    rec.log(path, rr.LineStrips3D([line], colors=[colour], radii=rr.Radius.ui_points(1.5)), static=True)


def log_contacts(rec: rr.RecordingStream, path: str, times: Times, pos, force, least: float = 20.0) -> None:
    """Contact forces as arrows at the bodies they act on.

    Args:
        pos: (T, 24, 3) m, world. force: (T, 24, 3) N, world.
        least: newtons; weaker contacts are left out.
    """
    pos, force = np.asarray(pos, np.float32), np.asarray(force, np.float32)
    strong = np.linalg.norm(force, axis=-1) > least
    rec.log(path, rr.Arrows3D.from_fields(colors=[CONTACT], radii=[0.009]), static=True)
    arrows = rr.Arrows3D.columns(vectors=force[strong] / NEWTONS_PER_METRE, origins=pos[strong])
    rec.send_columns(path, times.columns(), arrows.partition(strong.sum(1)))


def log_follow_target(rec: rr.RecordingStream, path: str, times: Times, root) -> None:
    """An invisible entity of the size of a body for the viewpoint to follow: root (T, 3) m, world.

    Rerun keeps a distance that suits the size of the entity it follows; a single limb would fill the view.
    """
    root = np.asarray(root, np.float32)
    rec.log(path, rr.Points3D([[-_REACH] * 3, [_REACH] * 3], radii=[0.0], colors=[(0, 0, 0, 0)]), static=True)
    rec.send_columns(path, times.columns(), rr.Transform3D.columns(translation=root))
