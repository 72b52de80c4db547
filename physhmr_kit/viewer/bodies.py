"""Logs bodies to a Rerun recording: collision shapes, root paths, contact forces. Geometry is logged once, then only poses.

All arrays are in the world frame (z-up, metres) and in SMPL order; `Times` carries the timelines `frame` and `time`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import rerun as rr
from scipy.spatial.transform import Rotation

from physhmr_kit.body.skeleton import BODY_NAMES, PARENTS
from physhmr_kit.viewer.palette import CONTACT
from physhmr_kit.viewer.shapes import Shape

BONES = np.array([(parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0])
"""(23, 2) parent and child joint of each bone."""

NEWTONS_PER_METRE = 2000.0
"""Scale of the force arrows: the weight of a 70 kg body is drawn 0.34 m long."""

_MIN_FORCE = 20.0  # newtons; weaker contacts are not drawn
_ABOVE_FLOOR = 0.01  # metres; a line in the plane of the grid would flicker
_REACH = 0.65  # metres; half the side of the box that the viewpoint follows


@dataclass(frozen=True)
class Times:
    """Time stamps of the rows of a batch.

    Attributes:
        seconds: (T,) from the start.
        fps: frames per second of the `frame` timeline.
    """

    seconds: np.ndarray
    fps: float

    @classmethod
    def uniform(cls, count: int, fps: float, first: int = 0) -> Times:
        """One row for each of `count` frames, starting at frame `first`."""
        return cls(np.arange(first, first + count) / fps, fps)

    def __len__(self) -> int:
        return len(self.seconds)

    def columns(self) -> list[rr.TimeColumn]:
        """The time index of `send_columns`."""
        frames = np.round(self.seconds * self.fps).astype(np.int64)
        return [rr.TimeColumn("frame", sequence=frames), rr.TimeColumn("time", duration=self.seconds)]


def log_solid(rec: rr.RecordingStream, path: str, times: Times, pos, rot, shapes: list[Shape], colour) -> None:
    """Log a body as its collision shapes, one entity for each of the 24 bodies.

    Args:
        pos: (T, 24, 3) m. rot: (T, 24, 4) xyzw, both world.
        shapes: of `humanoid_shapes`. colour: RGB or RGBA, 0..255.
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
        quaternions=[Rotation.align_vectors(axis, (0.0, 0.0, 1.0))[0].as_quat()],
        **style,
    )


def log_path(rec: rr.RecordingStream, path: str, root, colour) -> None:
    """Log the path of a body on the floor as a static line: root (T, 3) m, world."""
    line = np.asarray(root, np.float32) * (1.0, 1.0, 0.0) + (0.0, 0.0, _ABOVE_FLOOR)
    rec.log(path, rr.LineStrips3D([line], colors=[colour], radii=rr.Radius.ui_points(1.5)), static=True)


def log_contacts(rec: rr.RecordingStream, path: str, times: Times, pos, force) -> None:
    """Log contact forces above 20 N as arrows at the bodies they act on.

    Args:
        pos: (T, 24, 3) m, world. force: (T, 24, 3) N, world.
    """
    pos, force = np.asarray(pos, np.float32), np.asarray(force, np.float32)
    strong = np.linalg.norm(force, axis=-1) > _MIN_FORCE
    rec.log(path, rr.Arrows3D.from_fields(colors=[CONTACT], radii=[0.009]), static=True)
    arrows = rr.Arrows3D.columns(vectors=force[strong] / NEWTONS_PER_METRE, origins=pos[strong])
    rec.send_columns(path, times.columns(), arrows.partition(strong.sum(1)))


def log_follow_target(rec: rr.RecordingStream, path: str, times: Times, root) -> None:
    """Log an invisible body-sized entity for the viewpoint to follow: root (T, 3) m, world.

    Rerun chooses its distance by the size of the entity it follows; a single limb would fill the view.
    """
    root = np.asarray(root, np.float32)
    rec.log(path, rr.Points3D([[-_REACH] * 3, [_REACH] * 3], radii=[0.0], colors=[(0, 0, 0, 0)]), static=True)
    rec.send_columns(path, times.columns(), rr.Transform3D.columns(translation=root))
