"""A moving camera from odometry: `python -m data_prep.camera_track slam_results.pt --image-size W H --out C.npz`.

Reads rows of seven numbers, t xyz and quaternion xyzw, camera to world, as DROID-SLAM, DPVO, WHAM's and GVHMR's
`slam_results` have them (.pt, .pth, .npy or text), 4x4 matrices, world to camera, as a newer GVHMR's SimpleVO writes
there, or TRAM's `camera.npy`, and makes a camera for each 30 fps frame.

Up: an odometry's world has the axes of its first camera, not gravity's; --up 0 -1 0 (a level first picture) or any
other direction turns it z-up. TRAM's knows gravity. The floor is never known: give the result to `reconstruct
--lens`, which finds up and floor from the person, or, if you know both, to `--camera`. Scale: --scale stretches the
way; TRAM's is metric already, DROID's and DPVO's are not, and SimpleVO's translation means nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.importing import Parser
from data_prep.resampling import Blend
from data_prep.saved_arrays import read_joblib, read_object_array, read_torch, take
from data_prep.tram import read_camera
from data_prep.worlds import upright
from physhmr_kit.cli import run
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera


def read_poses(path: Path) -> torch.Tensor:
    """Rows (T, 7), t xyz and unit quaternion xyzw, camera to world.

    A column of 1.0 behind the translation is what WHAM writes for a camera that stands still; read as xyzw it is a half
    turn about x in every frame, which is a constant and does no harm.

    Raises:
        KitError: missing or damaged file, another shape, a quaternion without length, a matrix that is no rotation.
    """
    if path.suffix in (".pt", ".pth"):
        data = _read_saved(path)
    elif path.suffix == ".npy":
        data = read_object_array(path)
    else:
        try:
            data = np.loadtxt(path, ndmin=2)
        except (OSError, ValueError) as fault:
            raise KitError(f"{path}: not a readable table of numbers ({fault})") from fault
        data = data[:, 1:] if data.shape[1] == 8 else data  # TUM's format begins with a time
    if getattr(data, "ndim", 2) == 3:
        return _from_matrices(take(data, path, shape=(None, 4, 4)), path)
    rows = take(data, path, shape=(None, 7))
    length = rows[:, 3:].norm(dim=-1)
    if (length < 0.5).any():
        raise KitError(
            f"{path}: row {int(length.argmin())} has a quaternion of length {float(length.min()):.2g}; expected 1"
        )
    return torch.cat([rows[:, :3], rows[:, 3:] / length.unsqueeze(-1)], dim=-1)


def _read_saved(path: Path) -> object:
    """GVHMR saves with torch, WHAM with joblib, and both call the file slam_results; torch's files are zip archives."""
    zipped = path.is_file() and path.open("rb").read(2) == b"PK"
    return read_joblib(path) if path.is_file() and not zipped else read_torch(path)


def _from_matrices(poses: torch.Tensor, path: Path) -> torch.Tensor:
    """World-to-camera matrices (T, 4, 4) as rows (T, 7), camera to world."""
    R, t = poses[:, :3, :3], poses[:, :3, 3:]
    off = (R @ R.mT - torch.eye(3)).abs().amax((1, 2))
    if off.max() > 1e-2 or (torch.linalg.det(R) < 0).any():
        raise KitError(
            f"{path}: matrix {int(off.argmax())} does not begin with a rotation; expected world-to-camera poses"
        )
    return torch.cat([-(R.mT @ t).squeeze(-1), roma.rotmat_to_unitquat(R.mT)], dim=-1)


def moving_camera(poses: torch.Tensor, lens: Camera, fps: float = CONTROL_FPS, scale: float = 1.0) -> Camera:
    """A camera for each 30 fps frame.

    Args:
        poses: (T, 7) of `read_poses`. lens: a single camera whose K, distortion and image size it has.
        fps: of the poses. scale: metres for each unit of the way.
    """
    R = roma.unitquat_to_rotmat(poses[:, 3:]).mT
    t = -(R @ (scale * poses[:, :3]).unsqueeze(-1)).squeeze(-1)
    camera = Camera(lens.K, R, t, lens.distortion, lens.image_size, "camera track")
    return camera if abs(fps - CONTROL_FPS) < 1e-6 else Blend.to_rate(len(poses), fps).camera(camera)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("camera_track", __doc__)
    parser.add_argument("source", type=Path, metavar="FILE", help=".pt, .pth, .npy, text, or TRAM's camera.npy")
    parser.add_argument("--out", type=Path, required=True, metavar="C.npz")
    parser.add_argument("--focal", type=float, help="pixels; the image's diagonal by default")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels")
    parser.add_argument(
        "--lens", type=Path, metavar="C.json", help="a camera file with K, distortion and size, in place of both"
    )
    parser.add_argument("--fps", type=float, default=CONTROL_FPS, help="of the poses, 30 by default")
    parser.add_argument(
        "--up", type=float, nargs=3, metavar=("X", "Y", "Z"), help="against gravity, in the axes of the file's world"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="metres for each unit of the way")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.camera_track`."""
    from physhmr_kit.vision.uncalibrated import level_camera

    options = _parse(argv)
    if options.source.name == "camera.npy":
        camera, known = read_camera(options.source, options.up), True
        camera = replace(camera, t=options.scale * camera.t)
        if abs(options.fps - CONTROL_FPS) > 1e-6:
            camera = Blend.to_rate(camera.batch_shape[0], options.fps).camera(camera)
    else:
        if options.lens is None and options.image_size is None:
            raise KitError("poses say nothing of the lens; give --image-size W H (and --focal), or --lens C.json")
        lens = Camera.load(options.lens) if options.lens else level_camera(tuple(options.image_size), options.focal)
        camera, known = moving_camera(read_poses(options.source), lens, options.fps, options.scale), bool(options.up)
        camera = camera.in_world(upright(torch.tensor(options.up))) if known else camera
    camera.save(options.out)
    way = camera.centre.diff(dim=0).norm(dim=-1).sum()
    lacks = "z-up, floor not known" if known else "up and floor not known (--up tells one)"
    print(
        f"{options.out}: {camera.batch_shape[0]} poses at {CONTROL_FPS:g} fps, {way:.2f} m of way; "
        f"{lacks}: for reconstruct --lens"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
