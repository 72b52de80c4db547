"""Retargets clips with betas from the person's own shape to the humanoid of the mean shape.

A tall person's pelvis is higher than the humanoid's and moves farther; on the humanoid's legs it would float and its feet
slide. So the motion is scaled by leg length, the soles are placed where the person's were, and the legs bend a little where
proportions differ. The bone lengths come from a body model, which must not be redistributed: without one the betas are
ignored, with a note.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.retargeting.rest_shape import RestShape, read_rest_shape
from data_prep.retargeting.retarget import leg_length
from physhmr_kit.body.skeleton import PARENTS, SOLE_DEPTH, mean_offsets, rest_joints
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.grounding import stand_at
from physhmr_kit.motion.kinematics import forward_kinematics

FOLDER = "PHYSHMR_BODY_MODELS"
"""Environment variable: folder of the user's body models, SMPL_NEUTRAL.pkl, SMPLX_MALE.npz and so on."""

_FILES = {"SMPL": ("SMPL",), "SMPL-H": ("SMPLH", "SMPL"), "SMPL-X": ("SMPLX",)}
"""Kind of betas -> prefixes of its model files; SMPL-H has the shape space of SMPL."""


def models_at_hand() -> list[tuple[str, int, int]]:
    """Name, size and modification time of each body model found: imported motions depend on them."""
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _models()]


def own_shape(betas: np.ndarray, gender: str, kind: str) -> tuple[RestShape | None, list[str]]:
    """The rest pose of a clip's person, None for the mean shape, and a note where the betas are not zero.

    Args:
        betas: (10,) shape. gender: 'neutral', 'male' or 'female'; without a model of that gender None is returned.
        kind: 'SMPL', 'SMPL-H' or 'SMPL-X', the model that the betas belong to.

    Raises:
        KitError: a body model that cannot be read.
    """
    if not np.any(betas):
        return None, []
    wanted = [f"{name}_{gender}".upper() for name in _FILES[kind]]
    path = model_at_hand(*wanted)
    if path is None:
        return None, [
            f"its body shape (betas) is ignored, as no {wanted[-1]}.npz or .pkl was found (set {FOLDER}): "
            "a person of another size floats or slides a little"
        ]
    model = "SMPL" if path.stem.upper().startswith("SMPL_") else kind
    shape = read_rest_shape(path, torch.as_tensor(betas), model)
    return shape, [f"retargeted from its own body shape ({path.name}) to the humanoid's"]


def model_at_hand(*names: str) -> Path | None:
    """The file of the first of these body models ('SMPL_MALE', 'SMPLX_NEUTRAL') that is found, or None."""
    by_name = {path.stem.upper(): path for path in reversed(_models())}
    return next((by_name[name] for name in names if name in by_name), None)


def leg_scale(shape: RestShape) -> float:
    """The humanoid's leg length relative to this shape's: less than 1 for a tall person."""
    return leg_length(rest_joints(mean_offsets())) / leg_length(shape.joints)


def on_mean_legs(clip: Clip, shape: RestShape) -> Clip:
    """The motion of a person of this shape on the humanoid of the mean shape; frames, rate and name stay, betas become zero.

    Scaled by leg length about the world's origin. Ankles are where the person's were, shifted by the difference in sole
    depth; all rotations but those of thighs and shanks stay.

    Args:
        clip: z-up, its `root_pos` the person's own pelvis in metres.
    """
    own = own_offsets(shape).double()
    pos, rot = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), own)
    scale = leg_scale(shape)
    lift = pos.new_tensor([0.0, 0.0, SOLE_DEPTH - scale * shape.sole])
    ankles = pos[:, [7, 8]] * scale + lift
    middle = (
        mean_offsets().double()[1:3].mean(0)
    )  # the legs hang on the hips, so these follow the person's, not the pelvis
    root = pos[:, 1:3].mean(1) * scale + lift - roma.quat_action(rot[:, 0], middle.expand(len(pos), 3))
    return replace(stand_at(clip, root, rot, ankles), betas=np.zeros(10, np.float32))


def own_offsets(shape: RestShape) -> torch.Tensor:
    """Rest offsets of a shape, (24, 3) m; hands are the mean shape's where the model has other joints (SMPL-X)."""
    offsets = mean_offsets()
    count = len(shape.joints)
    parents = [max(parent, 0) for parent in PARENTS[:count]]
    offsets[:count] = shape.joints[:count] - shape.joints[parents]
    return offsets


def _models() -> list[Path]:
    folder = os.environ.get(FOLDER)
    if not folder:
        return []
    found = Path(folder).expanduser().rglob("SMPL*_*")  # smplx keeps each kind in a folder of its own
    return [path for path in sorted(found) if path.suffix in (".npz", ".pkl") and path.is_file()]
