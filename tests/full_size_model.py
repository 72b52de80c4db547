"""A body model of SMPL's size, made here: 6890 vertices, each carried by one joint; SMPL itself may not be shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from physhmr_kit.body.skeleton import PARENTS, PELVIS_AT_REST, rest_joints

VERTICES = 6890


def write_models(folder: Path, *genders: str, taller: float = 1.0) -> Path:
    """SMPL_<GENDER>.npz of each gender: the kit's skeleton times `taller`, a first beta that adds a tenth, j0 away from the origin."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    joints = taller * rest_joints().numpy().astype(np.float64) + np.array(PELVIS_AT_REST)
    carrier = np.arange(VERTICES) % 24
    template = joints[carrier] + np.where(
        np.arange(VERTICES)[:, None] < 24, 0, 0.05 * rng.standard_normal((VERTICES, 3))
    )
    tall = np.zeros((VERTICES, 3, 10), np.float32)
    tall[..., 0] = 0.1 * (template - joints[0])
    regressor = np.zeros((24, VERTICES), np.float32)
    regressor[np.arange(24), np.arange(24)] = 1
    data = {
        "v_template": template, "shapedirs": tall, "posedirs": np.zeros((VERTICES, 3, 207), np.float32), "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], list(range(24))], np.int64),
        "weights": np.eye(24, dtype=np.float32)[carrier], "f": np.array([[0, 1, 2]]),
    }  # fmt: skip
    for gender in genders:
        np.savez(folder / f"SMPL_{gender.upper()}.npz", **data)
    return folder
