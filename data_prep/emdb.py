"""EMDB 1 and 2 as benchmarks: `python -m data_prep.emdb FOLDER OUT`, FOLDER with `P*/SEQUENCE/P*_SEQUENCE_data.pkl`.

A sequence belongs to split emdb1 (17 sequences, camera-frame metrics) or emdb2 (25, world metrics) by its own flags. Frames
outside `good_frames_mask` are invalid. EMDB's keypoints are the projected true joints, not detections, so rays made of them
contain ground truth. Use a detector's (`--keypoints`) before comparing a table with a paper's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from data_prep.benchmark_sequence import BenchmarkSequence, parse_gender, smpl_clip
from data_prep.benchmark_set import BenchmarkSet
from data_prep.saved_arrays import take
from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, RAY_JOINTS, KeypointTrack

FPS = 30.0
SPLITS = ("emdb1", "emdb2")


def read(folder: Path, split: str = "") -> Iterator[BenchmarkSequence]:
    """The sequences of a split ('emdb1', 'emdb2'), in EMDB's y-up world."""
    files = sorted(folder.glob("P*/*/*_data.pkl"))
    if not files:
        raise SET.missing(folder, "P*/*/*_data.pkl")
    for path in files:
        data = load_pickle(path)
        if not isinstance(data, dict):
            raise KitError(f"{path}: expected EMDB's dictionary")
        splits = tuple(name for name in SPLITS if data.get(name))
        if not split or split in splits:
            yield _sequence(data, path, splits)


def _sequence(data: dict, path: Path, splits: tuple[str, ...]) -> BenchmarkSequence:
    name = path.name.removesuffix("_data.pkl")
    root = take(data, path, "smpl", "poses_root", shape=(None, 3))
    count = len(root)
    poses = torch.cat([root, take(data, path, "smpl", "poses_body", shape=(count, 69))], dim=1)
    trans, betas = take(data, path, "smpl", "trans", shape=(count, 3)), take(data, path, "smpl", "betas", shape=(10,))
    clip, notes = smpl_clip(poses, trans, betas, parse_gender(data.get("gender", "neutral"), path), FPS, name)
    width, height = (int(take(data["camera"], path, key, shape=())) for key in ("width", "height"))
    to_camera = take(data, path, "camera", "extrinsics", shape=(count, 4, 4))
    K = take(data, path, "camera", "intrinsics", shape=(3, 3))
    camera = Camera(K, to_camera[:, :3, :3], to_camera[:, :3, 3], image_size=(width, height), name=str(path))
    seen = torch.zeros(count, 17, 3)
    seen[:, RAY_COCO, :2] = take(data, path, "kp2d", shape=(count, 24, 2))[:, RAY_JOINTS]
    seen[:, RAY_COCO, 2] = 1.0
    valid = take(data, path, "good_frames_mask", shape=(count,)) > 0.5
    return BenchmarkSequence(
        name, splits, KeypointTrack(seen, FPS, (width, height), name), camera, valid, clip, notes=notes
    )


SET = BenchmarkSet(
    name="emdb",
    title="EMDB",
    home="eth-ait.github.io/emdb (by application form)",
    licence="non-commercial research; read its licence page",
    up="y",
    world=True,
    keypoints="EMDB's own, which are projected true joints, not detections",
    read=read,
)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.emdb`."""
    return SET.main(argv, __doc__, "")


if __name__ == "__main__":
    sys.exit(run(main))
