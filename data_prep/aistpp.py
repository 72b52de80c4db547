"""AIST++ as a benchmark: `python -m data_prep.aistpp FOLDER OUT`, FOLDER with `motions/`, `keypoints2d/`, `cameras/` and `splits/`.

Each of the nine views of a motion becomes a sequence, named as in PhysHMR (gBR_sBM_c01_d04_mBR0_ch01). Motions are at 60 Hz,
in centimetres, y-up, on the male SMPL with zero betas and a scale per motion: vertices are (SMPL(pose) - j0) scaling + trans,
so trans is the pelvis. Motions in `ignore_list.txt` are skipped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.benchmark_sequence import BenchmarkSequence
from data_prep.benchmark_set import BenchmarkSet
from data_prep.keypoints.names import as_coco
from data_prep.saved_arrays import take
from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.body.skeleton import PELVIS_AT_REST
from physhmr_kit.cli import run
from physhmr_kit.motion.clip import Clip
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_NAMES, KeypointTrack

FPS = 60.0
METRES = 0.01
VIEWS = tuple(f"c{n:02d}" for n in range(1, 10))
_ALL_VIEWS = "cAll"


def read(folder: Path, split: str = "") -> Iterator[BenchmarkSequence]:
    """All views of the motions of a split (a file in `splits/`, e.g. 'pose_test'), in AIST++'s y-up world, in metres."""
    for piece in ("motions", "keypoints2d", "cameras"):
        if not (folder / piece).is_dir():
            raise SET.missing(folder, f"folder '{piece}'")
    setting_of = dict(line.split() for line in _lines(folder / "cameras" / "mapping.txt"))
    ignored = set(_lines(folder / "ignore_list.txt")) if (folder / "ignore_list.txt").is_file() else set()
    lists = {path.stem: set(_lines(path)) for path in sorted((folder / "splits").glob("*.txt"))}
    if split and split not in lists:
        raise SET.missing(folder / "splits" / f"{split}.txt", "such split")
    for path in sorted((folder / "motions").glob("*.pkl")):
        if path.stem in ignored or (split and not _listed(path.stem, lists[split])):
            continue
        if path.stem not in setting_of:
            raise KitError(f"{folder / 'cameras' / 'mapping.txt'}: no line for {path.stem}")
        cameras = read_cameras(folder / "cameras" / f"{setting_of[path.stem]}.json")
        splits = tuple(name for name, listed in lists.items() if _listed(path.stem, listed))
        yield from _views(path, folder / "keypoints2d" / path.name, cameras, splits)


def read_cameras(path: Path) -> dict[str, Camera]:
    """The cameras of a setting by name, c01 to c09, in AIST++'s y-up world, in metres."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {str(entry["name"]): _camera(entry, path) for entry in listed}
    except OSError as fault:
        raise SET.missing(path, "such file") from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise KitError(f"{path}: expected AIST++'s list of cameras ({type(fault).__name__}: {fault})") from fault


def _camera(entry: dict, path: Path) -> Camera:
    numbers = {key: torch.tensor(entry[key], dtype=torch.float32) for key in ("matrix", "rotation", "translation")}
    R = roma.rotvec_to_rotmat(numbers["rotation"])
    lens = torch.tensor(entry["distortions"], dtype=torch.float32)
    size = (int(entry["size"][0]), int(entry["size"][1]))
    return Camera(numbers["matrix"], R, METRES * numbers["translation"], lens, size, f"{path} {entry['name']}")


def _views(
    path: Path, seen_in: Path, cameras: dict[str, Camera], splits: tuple[str, ...]
) -> Iterator[BenchmarkSequence]:
    data, seen = load_pickle(path), load_pickle(seen_in)
    found = data.get("smpl_poses") if isinstance(data, dict) else None
    if isinstance(found, np.ndarray) and found.ndim == 3:  # (N, 24, 3), as the API documents them
        data["smpl_poses"] = found.reshape(len(found), -1)
    poses = take(data, path, "smpl_poses", shape=(None, 72))
    pelvis = METRES * take(data, path, "smpl_trans", shape=(len(poses), 3))
    scale = METRES * float(take(data, path, "smpl_scaling", shape=(1,)))
    points = np.asarray(seen.get("keypoints2d") if isinstance(seen, dict) else None, np.float64)
    if points.ndim != 4 or points.shape[0] != len(VIEWS) or points.shape[2:] != (17, 3):
        raise KitError(f"{seen_in}: keypoints2d has shape {points.shape}; expected (9, frames, 17, 3)")
    count = min(len(poses), points.shape[1])  # videos and motions may differ in length by a few frames
    for view, camera_name in enumerate(VIEWS):
        if camera_name not in cameras:
            raise KitError(f"{path.stem}: no camera {camera_name} in its setting, only {', '.join(cameras)}")
        name, camera = path.stem.replace(_ALL_VIEWS, camera_name), cameras[camera_name]
        rows = as_coco(points[view, :count], COCO_NAMES)
        trans = (pelvis - torch.tensor(PELVIS_AT_REST))[:count].numpy()
        clip = Clip(poses[:count].numpy(), trans, FPS, name, gender="male")
        track = KeypointTrack(torch.from_numpy(rows), FPS, camera.image_size, name)
        yield BenchmarkSequence(name, splits, track, camera, torch.ones(count, dtype=torch.bool), clip, scale=scale)


def _listed(motion: str, names: set[str]) -> bool:
    """Whether a motion is in a list, which may name motions or single views."""
    return motion in names or any(motion.replace(_ALL_VIEWS, view) in names for view in VIEWS)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as fault:
        raise SET.missing(path, "such file") from fault


SET = BenchmarkSet(
    name="aistpp",
    title="AIST++",
    home="google.github.io/aistplusplus_dataset",
    licence="annotations CC BY 4.0; videos under the terms of the AIST Dance Database",
    up="y",
    world=True,
    keypoints="AIST++'s own detections",
    read=read,
)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.aistpp`."""
    return SET.main(argv, __doc__, "pose_test")


if __name__ == "__main__":
    sys.exit(run(main))
