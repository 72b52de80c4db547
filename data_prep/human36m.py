"""Human3.6M as a benchmark: `python -m data_prep.human36m FOLDER OUT`, FOLDER with VideoPose3D's files.

`data_3d_h36m.npz` (true joints), one `data_2d_h36m_*.npz` (keypoints; detections are preferred to `_gt`), and VideoPose3D's
`h36m_dataset.py`, from which only the two tables of camera parameters are parsed as literals; it is not run. Each action and
camera becomes a sequence. The ground truth is joints without an SMPL body, so metrics use the pelvis and the 12 limb joints
shared with SMPL's 24; the two skeletons place hips and shoulders differently, an error of some centimetres for every SMPL body.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.benchmark_sequence import BenchmarkSequence
from data_prep.benchmark_set import BenchmarkSet
from data_prep.keypoints.names import as_coco
from data_prep.saved_arrays import read_npz, take
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_NAMES, KeypointTrack

FPS = 50.0
SPLITS = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
_ARM = ("shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle")
H36M_17 = (
    "", *(f"right_{p}" for p in _LEG), *(f"left_{p}" for p in _LEG), "", "", "", "", *(f"left_{p}" for p in _ARM),
    *(f"right_{p}" for p in _ARM),
)  # fmt: skip
"""The 17 joints by COCO's keypoint names; empty for pelvis, spine, thorax, neck and head, which COCO lacks."""

_OF_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
_LIMBS_13 = [0, *(H36M_17.index(f"{side}_{part}") for part in (*_LEG, *_ARM) for side in ("left", "right"))]
_TABLES = ("h36m_cameras_intrinsic_params", "h36m_cameras_extrinsic_params")


def read(folder: Path, split: str = "") -> Iterator[BenchmarkSequence]:
    """Every camera view of the actions of a split ('train', 'test'), in Human3.6M's z-up world, in metres."""
    truth_path, seen_path = folder / "data_3d_h36m.npz", _keypoint_file(folder)
    truth, seen = (_object(path, key) for path, key in ((truth_path, "positions_3d"), (seen_path, "positions_2d")))
    layout = str((_object(seen_path, "metadata") or {}).get("layout_name", "h36m"))
    names = {"h36m": H36M_17, "coco": COCO_NAMES}.get(layout)
    if names is None:
        raise KitError(f"{seen_path}: keypoint layout '{layout}'; expected h36m or coco")
    cameras = read_cameras(_camera_file(folder))
    subjects = SPLITS.get(split, tuple(truth))
    for subject in subjects:
        splits = tuple(name for name, people in SPLITS.items() if subject in people)
        for action in truth.get(subject, {}):
            joints = _joints(truth, truth_path, subject, action)
            views = seen.get(subject, {}).get(action)
            if views is None:
                raise KitError(f"{seen_path}: no keypoints of {subject}, {action}")
            for camera, rows in zip(cameras[subject], views, strict=False):
                sequence = _view(subject, action, camera, joints, np.asarray(rows, np.float64), names)
                yield replace(sequence, splits=splits, notes=(f"keypoints of {seen_path.name}",))


def _view(
    subject: str, action: str, camera: Camera, joints: torch.Tensor, rows: np.ndarray, names
) -> BenchmarkSequence:
    count = min(len(joints), len(rows))  # the videos are a few frames longer than the motion
    points = np.concatenate([rows[:count, :, :2], np.ones((count, rows.shape[1], 1))], axis=-1)
    name = f"{subject}_{action.replace(' ', '_')}_{camera.name}"
    track = KeypointTrack(torch.from_numpy(as_coco(points, names)), FPS, camera.image_size, name)
    everywhere = torch.ones(count, dtype=torch.bool)
    return BenchmarkSequence(name, (), track, camera, everywhere, joints=joints[:count], joint_set="limbs13")


def _joints(truth: dict, path: Path, subject: str, action: str) -> torch.Tensor:
    found = truth[subject][action]
    width = np.shape(found)[1] if np.ndim(found) == 3 else 32
    joints = take(truth, path, subject, action, shape=(None, 17 if width == 17 else 32, 3))
    return (joints if width == 17 else joints[:, _OF_32])[:, _LIMBS_13]


def read_cameras(path: Path) -> dict[str, list[Camera]]:
    """The four cameras of each subject, from the tables in VideoPose3D's `common/h36m_dataset.py`, which is not run.

    Orientation is a camera-to-world quaternion wxyz, translation the camera centre in mm.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in _TABLES
        }
        lenses, places = (tables[key] for key in _TABLES)
        return {
            subject: [_camera(lens, place) for lens, place in zip(lenses, rows, strict=True) if place]
            for subject, rows in places.items()
        }
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as fault:
        raise KitError(f"{path}: no readable camera tables in the file ({type(fault).__name__}: {fault})") from fault


def _camera(lens: dict, place: dict) -> Camera:
    (fx, fy), (cx, cy) = lens["focal_length"], lens["center"]
    (k1, k2, k3), (p1, p2) = lens["radial_distortion"], lens["tangential_distortion"]
    w, x, y, z = place["orientation"]
    out = roma.unitquat_to_rotmat(roma.quat_normalize(torch.tensor([x, y, z, w], dtype=torch.float64)))
    centre = torch.tensor(place["translation"], dtype=torch.float64) / 1000
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    size = (int(lens["res_w"]), int(lens["res_h"]))
    return Camera(K, out.mT, -out.mT @ centre, torch.tensor([k1, k2, p1, p2, k3]), size, str(lens["id"]))


def _object(path: Path, key: str):
    if not path.is_file():
        raise SET.missing(path, "such file")
    data = read_npz(path)
    if key != "metadata" and not isinstance(data.get(key), dict):
        raise KitError(f"{path}: no '{key}' in the file, only {', '.join(data) or 'nothing'}")
    return data.get(key)


def _keypoint_file(folder: Path) -> Path:
    found = sorted(folder.glob("data_2d_h36m_*.npz"), key=lambda path: (path.stem.endswith("_gt"), path.name))
    if not found:
        raise SET.missing(folder, "data_2d_h36m_*.npz")
    return found[0]


def _camera_file(folder: Path) -> Path:
    found = [path for path in (folder / "h36m_dataset.py", folder / "common" / "h36m_dataset.py") if path.is_file()]
    if not found:
        raise KitError(f"{folder}: no h36m_dataset.py; copy VideoPose3D's common/h36m_dataset.py there for the cameras")
    return found[0]


SET = BenchmarkSet(
    name="human36m",
    title="Human3.6M",
    home="vision.imar.ro/human3.6m; VideoPose3D's DATASETS.md explains how to make its .npz",
    licence="academic use, registration; read its licence page",
    up="z",
    world=True,
    keypoints="from the data_2d_h36m file",
    read=read,
)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.human36m`."""
    return SET.main(argv, __doc__, "test")


if __name__ == "__main__":
    sys.exit(run(main))
