"""3DPW as a benchmark: `python -m data_prep.threedpw FOLDER OUT`, FOLDER with `sequenceFiles/{train,validation,test}/*.pkl`.

Each person becomes a sequence, NAME_0 and NAME_1. The 30 Hz arrays are read (`poses_60Hz` is the same motion at 60 Hz).
`jointPositions` are the true 24 joints, so joint metrics need no SMPL model. Frames without `campose_valid` are invalid.
Keypoints are the set's OpenPose detections. Body and camera drift together through the world: only camera-frame metrics are
meaningful, and the motions are no references to train on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data_prep.benchmark_sequence import BenchmarkSequence, parse_gender, smpl_clip
from data_prep.benchmark_set import BenchmarkSet
from data_prep.keypoints.names import LAYOUTS, as_coco
from data_prep.saved_arrays import take
from physhmr_kit.body.safe_pickle import load_pickle
from physhmr_kit.body.skeleton import PELVIS_AT_REST
from physhmr_kit.cli import run
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack

FPS = 30.0
LANDSCAPE = (1920, 1080)


def read(folder: Path, split: str = "") -> Iterator[BenchmarkSequence]:
    """All people of a split ('train', 'validation', 'test'), in 3DPW's own world."""
    root = folder / "sequenceFiles" if (folder / "sequenceFiles").is_dir() else folder
    files = sorted(root.glob(f"{split or '*'}/*.pkl"))
    if not files:
        raise SET.missing(root, f"{split or '*'}/*.pkl in the folder sequenceFiles")
    for path in files:
        data = load_pickle(path)
        poses = data.get("poses") if isinstance(data, dict) else None
        for person in range(len(poses) if isinstance(poses, list) else 1):
            yield _person(data, path, person)


def _person(data: object, path: Path, person: int) -> BenchmarkSequence:
    def of(key: str, *shape: int | None) -> torch.Tensor:
        found = data.get(key) if isinstance(data, dict) else None
        if isinstance(found, (list, tuple)) and len(found) > person:
            return take({key: found[person]}, path, key, shape=shape)
        return take(data, path, key, shape=shape)

    poses = of("poses", None, 72)
    count, name = len(poses), f"{path.stem}_{person}"
    assert isinstance(data, dict)
    genders = data.get("genders", ["neutral"] * 2)
    clip, notes = smpl_clip(
        poses, of("trans", count, 3), of("betas", None)[:10], parse_gender(genders[person], path), FPS, name
    )
    joints = of("jointPositions", count, 72).unflatten(-1, (24, 3))
    clip = replace(clip, trans=(joints[:, 0] - torch.tensor(PELVIS_AT_REST)).numpy())
    to_camera = take(data, path, "cam_poses", shape=(count, 4, 4))
    K = take(data, path, "cam_intrinsics", shape=(3, 3))
    # the image size is not in the file; the principal point is at the image centre
    size = LANDSCAPE if K[0, 2] > K[1, 2] else LANDSCAPE[::-1]
    camera = Camera(K, to_camera[:, :3, :3], to_camera[:, :3, 3], image_size=size, name=str(path))
    seen = as_coco(np.swapaxes(of("poses2d", count, 3, 18).numpy(), 1, 2), LAYOUTS[18])
    track = KeypointTrack(torch.from_numpy(seen), FPS, size, name)
    return BenchmarkSequence(
        name, (path.parent.name,), track, camera, of("campose_valid", count) > 0.5, clip, joints, notes=notes
    )


SET = BenchmarkSet(
    name="threedpw",
    title="3DPW",
    home="virtualhumans.mpi-inf.mpg.de/3DPW (sequenceFiles.zip)",
    licence="non-commercial research; read its licence page",
    up="y",
    world=False,
    keypoints="3DPW's own (OpenPose)",
    read=read,
)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.threedpw`."""
    return SET.main(argv, __doc__, "test")


if __name__ == "__main__":
    sys.exit(run(main))
