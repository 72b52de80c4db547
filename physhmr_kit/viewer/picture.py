"""Still pictures of motion with matplotlib: the film strip in READMEs, run folders and lessons."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from physhmr_kit.body.skeleton import JOINT_NAMES, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.palette import GRID, REFERENCE, SIMULATED, unit

_INCHES_PER_METRE = 1.45
_HEAD_RADIUS, _HEAD = 0.09, JOINT_NAMES.index("head")
# width of the limb that ends in a joint, metres; the rest is trunk
_LIMBS = {"knee": 0.105, "ankle": 0.085, "foot": 0.07, "elbow": 0.075, "wrist": 0.06, "hand": 0.05, "head": 0.07}
_TRUNK, _BONE = 0.13, 0.022


class _Shown(Figure):
    """A figure that notebooks can show before pyplot has set up its backend."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as png:
            self.savefig(png, format="png", facecolor="white")
            return png.getvalue()


def filmstrip(
    motion,
    path: str | os.PathLike | None = None,
    *,
    poses: int = 8,
    azimuth: float = -60.0,
    title: str | None = None,
) -> Figure:
    """Draw poses at even intervals side by side: the simulated body in blue, the skeleton of the reference over it in orange.

    Args:
        motion: a rollout or a `Clip`.
        path: file to write (.png, .svg or .pdf), atomically; None to return the figure only.
        poses: number of poses.
        azimuth: degrees from the initial facing direction to the viewpoint, anticlockwise seen from above: 0 shows the front,
            -90 the right side.
        title: above the poses; default: the name of the motion.
    """
    simulated, reference, fps = _joints(motion)
    layers = [] if simulated is None else [(simulated, _body, SIMULATED)]
    if reference is not None:
        layers.append((reference, _bones if layers else _body, REFERENCE))
    lead = layers[0][0]
    at = np.linspace(0, len(lead) - 1, min(poses, len(lead))).round().astype(int)
    # world points are drawn at (right, up), each pose shifted to its own column
    yaw = _facing(lead[0]) + np.deg2rad(azimuth)
    right, towards = np.array([-np.sin(yaw), np.cos(yaw), 0.0]), np.array([np.cos(yaw), np.sin(yaw), 0.0])
    across = lead[at] @ right
    left, end = across.min(1), across.max(1)
    spacing = max(0.7, 0.15 + float((end - left).max()))

    title = getattr(motion, "name", "") if title is None else title
    top = max(1.75, 0.2 + float(lead[at][..., 2].max())) + 0.25
    figure, axes = _canvas(-0.55 * spacing, (len(at) - 0.45) * spacing, -0.3, top)
    for column, frame in enumerate(at):
        shift = column * spacing - float(left[column] + end[column]) / 2
        for joints, draw, colour in layers:
            points = np.stack([joints[frame] @ right + shift, joints[frame, :, 2]], axis=-1)
            draw(axes, points, joints[frame] @ towards, unit(colour))
        axes.text(column * spacing, -0.1, f"{frame / fps:.1f} s", ha="center", va="top", fontsize=9, color="0.45")
    axes.text(-0.4 * spacing, top - 0.06, title, ha="left", va="top", fontsize=11, color="0.25")
    if len(layers) == 2:
        entries = (("simulated", SIMULATED, 7.0), ("reference", REFERENCE, 2.3))
        handles = [
            Line2D([], [], color=unit(c), linewidth=w, label=name, solid_capstyle="round") for name, c, w in entries
        ]
        axes.legend(handles=handles, loc="upper right", ncols=2, frameon=False, fontsize=9, labelcolor="0.35")
    if path is not None:
        save_figure(figure, path)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 160) -> Path:
    """Write a figure as .png, .svg or .pdf, atomically."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise KitError(f"{path}: unknown kind of picture '{path.suffix}'; use .png, .svg or .pdf")
    with atomic(path) as part:
        figure.savefig(part, format=kind, dpi=dpi, facecolor="white")
    return path


def _joints(motion) -> tuple[np.ndarray | None, np.ndarray | None, float]:
    """Simulated and reference joints (T, 24, 3) m, one of them perhaps None, and frames per second."""
    if isinstance(motion, Clip):
        return None, forward_kinematics(motion.root_pos, motion.joint_rot, mean_offsets())[0].numpy(), motion.fps
    simulated = np.asarray(motion.simulated.body_pos)
    if motion.reference is None:
        return simulated, None, motion.fps
    count = min(len(simulated), len(motion.reference))
    return simulated[:count], np.asarray(motion.reference.body_pos)[:count], motion.fps


def _facing(joints: np.ndarray) -> float:
    """Yaw of the facing direction, rad, from the hips: joints (24, 3)."""
    left = joints[1] - joints[2]
    return float(np.arctan2(-left[0], left[1]))


def _canvas(left: float, right: float, low: float, high: float):
    """A figure with axes in metres at a fixed scale, and a floor line."""
    figure = _Shown(figsize=((right - left) * _INCHES_PER_METRE, (high - low) * _INCHES_PER_METRE))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()
    axes.plot([left + 0.1, right - 0.1], [0, 0], color=unit(GRID), linewidth=1.2, zorder=0)
    return figure, axes


def _body(axes, points: np.ndarray, near: np.ndarray, colour) -> None:
    """Draw a solid body with limbs of realistic width; parts behind the pelvis are drawn first and paler."""
    for parent, joint in sorted(BONES.tolist(), key=lambda bone: near[bone].mean()):
        name = JOINT_NAMES[joint].removeprefix("left_").removeprefix("right_")
        width = _LIMBS.get(name, _TRUNK) * _INCHES_PER_METRE * 72
        ends, shade = points[[parent, joint]].T, _paler(colour, near[[parent, joint]].mean() - near[0])
        axes.plot(*ends, color=shade, linewidth=width, solid_capstyle="round", zorder=2)
    shade = _paler(colour, near[_HEAD] - near[0])
    axes.add_patch(Circle(points[_HEAD] + np.array([0.0, 0.06]), _HEAD_RADIUS, color=shade, linewidth=0, zorder=2))


def _paler(colour, near: float) -> np.ndarray:
    """A colour mixed with white, up to 45 % at 15 cm behind the pelvis: near in metres towards the viewer."""
    share = 0.45 * np.clip(-(near + 0.02) / 0.13, 0.0, 1.0)
    return (1 - share) * np.asarray(colour) + share


def _bones(axes, points: np.ndarray, near: np.ndarray, colour) -> None:
    """Draw a skeleton of thin bones and joints."""
    width = _BONE * _INCHES_PER_METRE * 72
    for pair in BONES:
        axes.plot(*points[pair].T, color=colour, linewidth=width, solid_capstyle="round", zorder=3)
    axes.plot(*points.T, ".", color=colour, markersize=2.2 * width, zorder=3)
