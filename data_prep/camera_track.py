"""Converts visual odometry to a moving camera: `python -m data_prep.camera_track slam_results.pt --image-size W H --out C.npz`.

Reads camera-to-world rows of seven numbers (t xyz, quaternion xyzw) from DROID-SLAM, DPVO or the `slam_results` of WHAM and
GVHMR (.pt, .pth, .npy or text), 4x4 world-to-camera matrices from a newer GVHMR's SimpleVO, or TRAM's `camera.npy`, and
writes a camera for each 30 fps frame.

Up: the world of an odometry has the axes of its first camera; --up 0 -1 0 (a level first frame) or any other direction
rotates it to z-up. TRAM's is gravity-aligned. The height of the floor is never known: pass the result to `reconstruct
--lens`, which estimates up and floor from the person, or, if you know both, to `--camera`. Scale: --scale multiplies the
translation; TRAM's is metric, DROID's and DPVO's are not, and SimpleVO's translation is meaningless.
"""

from __future__ import annotations

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
from physhmr_kit.vision.uncalibrated import level_camera


def read_poses(path: Path) -> torch.Tensor:
    """Rows (T, 7), t xyz and unit quaternion xyzw, camera to world.

    For a static camera WHAM writes quaternions of 1 0 0 0; read as xyzw they are a half turn about x in every frame, a
    harmless constant.

    Raises:
        KitError: missing or damaged file, wrong shape, a zero quaternion, a matrix without a rotation.
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
        data = data[:, 1:] if data.shape[1] == 8 else data  # the TUM format starts with a time stamp
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
    """`slam_results` is saved with torch by GVHMR and with joblib by WHAM; torch's files are zip archives."""
    zipped = path.is_file() and path.open("rb").read(2) == b"PK"
    return read_joblib(path) if path.is_file() and not zipped else read_torch(path)


def _from_matrices(poses: torch.Tensor, path: Path) -> torch.Tensor:
    """World-to-camera matrices (T, 4, 4) as rows (T, 7), camera to world."""
    R, t = poses[:, :3, :3], poses[:, :3, 3:]
    off = (R @ R.mT - torch.eye(3)).abs().amax((1, 2))
    if off.max() > 1e-2 or (torch.linalg.det(R) < 0).any():
        raise KitError(
            f"{path}: matrix {int(off.argmax())} does not contain a rotation; expected world-to-camera poses"
        )
    return torch.cat([-(R.mT @ t).squeeze(-1), roma.rotmat_to_unitquat(R.mT)], dim=-1)


def moving_camera(poses: torch.Tensor, lens: Camera, fps: float = CONTROL_FPS, scale: float = 1.0) -> Camera:
    """A camera for each 30 fps frame.

    Args:
        poses: (T, 7) from `read_poses`. lens: a single camera, for K, distortion and image size.
        fps: of the poses. scale: metres per unit of translation.
    """
    R = roma.unitquat_to_rotmat(poses[:, 3:]).mT
    t = -(R @ (scale * poses[:, :3]).unsqueeze(-1)).squeeze(-1)
    return _at_control_rate(Camera(lens.K, R, t, lens.distortion, lens.image_size, "camera track"), fps)


def _at_control_rate(camera: Camera, fps: float) -> Camera:
    same = abs(fps - CONTROL_FPS) < 1e-6
    return camera if same else Blend.to_rate(camera.batch_shape[0], fps).camera(camera)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.camera_track`."""
    parser = Parser("camera_track", __doc__)
    parser.add_argument("source", type=Path, metavar="FILE", help=".pt, .pth, .npy, text, or TRAM's camera.npy")
    parser.add_argument("--out", type=Path, required=True, metavar="C.npz")
    parser.add_argument("--focal", type=float, help="pixels; the image diagonal by default")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels")
    parser.add_argument(
        "--lens", type=Path, metavar="C.json", help="a camera file with K, distortion and size, in place of both"
    )
    parser.add_argument("--fps", type=float, default=CONTROL_FPS, help="frame rate of the poses, 30 by default")
    parser.add_argument("--up", type=float, nargs=3, metavar=("X", "Y", "Z"), help="up direction in the file's world")
    parser.add_argument("--scale", type=float, default=1.0, help="metres per unit of translation")
    options = parser.parse_args(argv)
    if options.source.name == "camera.npy":
        camera, z_up = read_camera(options.source, options.up), True
        camera = _at_control_rate(replace(camera, t=options.scale * camera.t), options.fps)
    else:
        if options.lens is None and options.image_size is None:
            raise KitError("poses contain no intrinsics; give --image-size W H (and --focal), or --lens C.json")
        lens = Camera.load(options.lens) if options.lens else level_camera(tuple(options.image_size), options.focal)
        camera, z_up = moving_camera(read_poses(options.source), lens, options.fps, options.scale), False
        if options.up:
            camera, z_up = camera.in_world(upright(torch.tensor(options.up))), True
    camera.save(options.out)
    length = camera.centre.diff(dim=0).norm(dim=-1).sum()
    unknown = "z-up, floor unknown" if z_up else "up (see --up) and floor unknown"
    print(
        f"{options.out}: {camera.batch_shape[0]} poses at {CONTROL_FPS:g} fps, path length {length:.2f} m; "
        f"{unknown}: for reconstruct --lens"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
