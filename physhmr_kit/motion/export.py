"""BVH export, for animation software. (`Clip.save` writes .npz.)"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, PARENTS, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.utils.files import atomic

_CENTIMETRES = 100.0
_TIPS = {"head": (0.0, 0.15, 0.0), "left_hand": (0.08, 0.0, 0.0), "right_hand": (-0.08, 0.0, 0.0)}  # m, End Sites
_TOE = (0.0, 0.0, 0.07)


def write_bvh(clip: Clip, path: str | os.PathLike) -> Path:
    """Write a clip as BVH: SMPL's joint names, mean shape, y-up, centimetres, the clip's frame rate.

    The rest pose (all angles zero) is SMPL's T-pose facing +z; rotations are Z Y X, leftmost outermost. The file is
    written atomically, and `data_prep.bvh.read_bvh` reads it back unchanged.

    Raises:
        KitError: the file cannot be written.
    """
    offsets = mean_offsets().numpy() * _CENTIMETRES
    order: list[int] = []
    hierarchy = ["HIERARCHY", *_joint(0, offsets, 0, order)]
    header = [*hierarchy, "MOTION", f"Frames: {len(clip)}", f"Frame Time: {1 / clip.fps:.8f}"]
    with atomic(path) as part, open(part, "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(header) + "\n")
        np.savetxt(file, _channels(clip, order), fmt="%.6f")
    return Path(path)


def _joint(joint: int, offsets: np.ndarray, depth: int, order: list[int]) -> list[str]:
    """The hierarchy from a joint down, as lines; appends the joints to `order` in the order of their channels."""
    pad = "  " * depth
    order.append(joint)
    turns = "Zrotation Yrotation Xrotation"
    channels = f"6 Xposition Yposition Zposition {turns}" if joint == 0 else f"3 {turns}"
    lines = [f"{pad}{'ROOT' if joint == 0 else 'JOINT'} {JOINT_NAMES[joint]}", f"{pad}{{"]
    lines += [f"{pad}  OFFSET {_numbers(offsets[joint])}", f"{pad}  CHANNELS {channels}"]
    children = [child for child, parent in enumerate(PARENTS) if parent == joint]
    for child in children:
        lines += _joint(child, offsets, depth + 1, order)
    if not children:
        tip = np.array(_TIPS.get(JOINT_NAMES[joint], _TOE)) * _CENTIMETRES
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_numbers(tip)}", f"{pad}  }}"]
    return [*lines, f"{pad}}}"]


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.4f}" for v in values)


def _channels(clip: Clip, order: list[int]) -> np.ndarray:
    """(T, 3 + 24 * 3) centimetres and degrees, joints in `order`, in the file's y-up world."""
    to_y_up = roma.quat_conjugation(torch.tensor(STANDING, dtype=torch.float64))
    root = roma.quat_action(to_y_up.expand(len(clip), 4), clip.root_pos.double()) * _CENTIMETRES
    rot = clip.joint_rot.double()
    rot[:, 0] = roma.quat_product(to_y_up.expand(len(clip), 4), rot[:, 0])
    angles = roma.unitquat_to_euler("ZYX", rot[:, order], degrees=True)
    return torch.cat([root, angles.flatten(1)], dim=1).numpy()
