"""A subject's rest pose: where the pelvis is in the body model's frame, and the body's size relative to the mean shape.

Only joints and the lowest vertex are needed, so only three arrays of a body model file are read: J = J_regressor (v_template +
shapedirs betas).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.body.skeleton import PELVIS_AT_REST, SOLE_DEPTH, rest_joints
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays

_KINDS = {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}
_COUNT = 10  # betas that a clip holds
_PELVIS = {"SMPL": PELVIS_AT_REST, "SMPL-X": (0.003, -0.351, 0.012)}
"""Pelvis of the mean shape, m. The two models' origins are 13 cm apart, so they must not be mixed up."""


@dataclass(frozen=True, eq=False)
class RestShape:
    """Rest pose of a subject in the body model's y-up frame.

    Attributes:
        joints: (22 or more, 3) m, SMPL's order.
        scale: size relative to the mean shape, |J(beta) centred| / |J(0) centred|; more than 1 for a tall person.
        known: whether it was read from a body model; otherwise it is the mean shape.
        sole: m, depth of the sole below the ankle joints: `SOLE_DEPTH` scaled by the depths of the model's lowest vertex
            in this shape and in the mean one.
    """

    joints: torch.Tensor
    scale: float
    known: bool
    sole: float = SOLE_DEPTH

    @property
    def pelvis(self) -> torch.Tensor:
        """(3,) j0, m: pelvis in the world = transl + j0."""
        return self.joints[0]


def mean_shape(kind: str) -> RestShape:
    """The mean shape, with the pelvis where the body model ('SMPL' or 'SMPL-X') has it."""
    return RestShape(rest_joints() + torch.tensor(_PELVIS[kind]), 1.0, False)


def find_shape(
    kind: str, betas: torch.Tensor, body_model: Path | None, scale: float | None
) -> tuple[RestShape, tuple[str, ...]]:
    """The subject's rest pose, from a body model file if there is one, and notes on what was assumed.

    Args:
        kind: 'SMPL' or 'SMPL-X'. betas: (T, B) shape of each frame; the mean is used.
        body_model: file of that model. scale: size relative to the mean shape, overrides the file's.
    """
    shape = read_rest_shape(body_model, betas.mean(0), kind) if body_model else mean_shape(kind)
    if scale is not None:
        return replace(shape, scale=scale), ()
    note = "no body model: the person is assumed to have the mean shape's size (set --body-model or --scale)"
    return shape, () if shape.known else (note,)


def read_rest_shape(path: str | os.PathLike, betas: torch.Tensor, kind: str) -> RestShape:
    """Rest pose of a subject from a body model file.

    Args:
        path: .pkl or .npz with v_template, shapedirs, J_regressor.
        betas: (B,) shape. kind: 'SMPL', 'SMPL-H' or 'SMPL-X', the model the betas belong to; their shape spaces differ.

    Raises:
        KitError: missing or unreadable file, missing arrays, or a model of another kind.
    """
    path = Path(path)
    try:
        template, directions, regressor = _read(path, path.stat().st_mtime_ns)
    except OSError as fault:
        raise KitError(f"{path}: no such body model") from fault
    found = _KINDS.get(len(regressor), f"{len(regressor)} joints")
    if found != kind:
        raise KitError(f"{path}: a {found} model, but these betas are of {kind}; give a {kind} model file")
    count = min(len(betas), directions.shape[-1])
    offset = directions[..., :count] @ betas[:count].double().numpy()
    body = 24 if kind == "SMPL" else 22  # SMPL-X has jaw and eyes in the place of SMPL's hands
    bodies = (template, template + offset)
    mean, own = ((regressor @ v)[:body] for v in bodies)
    size = [np.linalg.norm(j - j.mean(0)) for j in (own, mean)]
    depth = [j[[7, 8], 1].min() - v[:, 1].min() for j, v in zip((mean, own), bodies, strict=True)]
    sole = SOLE_DEPTH * float(depth[1] / depth[0]) if depth[0] > 0 else SOLE_DEPTH
    return RestShape(torch.from_numpy(own).float(), float(size[0] / size[1]), True, sole)


@lru_cache(maxsize=4)  # a data set uses the same few models thousands of times
def _read(path: Path, changed: int) -> list[np.ndarray]:
    keys = ("v_template", "shapedirs", "J_regressor")
    data = read_arrays(path, "body model", keys) if path.suffix == ".npz" else load_pickle(path)
    missing = [k for k in keys if not isinstance(data, dict) or k not in data]
    if missing:
        raise KitError(f"{path}: no '{missing[0]}' in the file; this is not a body model")
    template, directions, regressor = (np.asarray(data[k], np.float64) for k in keys)
    if template.ndim != 2 or directions.shape[:2] != template.shape or regressor.shape[1:] != template.shape[:1]:
        raise KitError(f"{path}: v_template, shapedirs and J_regressor do not fit together")
    return [template, directions[..., :_COUNT].copy(), regressor]
