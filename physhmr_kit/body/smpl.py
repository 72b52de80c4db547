"""SMPL body model: a subject's bone lengths from betas, for users who have the licensed model file.

SMPL's licence forbids redistribution, so the kit ships no model. With a model file (`SMPL_NEUTRAL.pkl` from
smpl.is.tue.mpg.de, or an .npz with the same keys) the humanoid can have any shape; without one it has the mean shape of `skeleton.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.body.skeleton import NUM_JOINTS, PARENTS
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays

_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")


def load_body_model(path: str | os.PathLike, vertex_ids: dict | None = None):
    """Load an `smplx.SMPL` layer from a model file without executing code a pickle may contain.

    Args:
        path: SMPL's .pkl (1.0 with chumpy, or 1.1) or an .npz with its seven arrays.
        vertex_ids: surface points, for body models without SMPL's 6890 vertices; smplx's own by default.

    Raises:
        KitError: the file is missing, unreadable, or not an SMPL model.
    """
    from smplx import SMPL
    from smplx.utils import Struct

    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such body model; download SMPL from smpl.is.tue.mpg.de and pass its .pkl or .npz")
    data = read_arrays(path, "body model", _KEYS) if path.suffix == ".npz" else load_pickle(path)
    missing = [k for k in _KEYS if not isinstance(data, dict) or k not in data]
    if missing:
        raise KitError(f"{path}: no '{missing[0]}' in the file; this is not an SMPL body model")
    arrays = {k: np.asarray(data[k]) for k in _KEYS}
    if arrays["J_regressor"].shape[0] != NUM_JOINTS:
        raise KitError(
            f"{path}: {arrays['J_regressor'].shape[0]} joints; the kit reads SMPL with 24, not SMPL-H or SMPL-X"
        )
    num_betas = min(10, arrays["shapedirs"].shape[-1])
    return SMPL(str(path), data_struct=Struct(**arrays), num_betas=num_betas, vertex_ids=vertex_ids)


@torch.no_grad()
def shaped_offsets(body_model, betas) -> torch.Tensor:
    """Rest offsets of an SMPL shape: betas (num_betas,) -> (24, 3) m, each joint from its parent in the y-up rest frame."""
    betas = torch.as_tensor(betas, dtype=torch.float32).reshape(1, -1)[:, : body_model.num_betas]
    joints = body_model(betas=betas).joints[0, :NUM_JOINTS]  # smplx appends surface points after the 24
    return (joints - joints[[max(p, 0) for p in PARENTS]]).float()
