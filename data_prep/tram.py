"""Imports TRAM's output folder as a visual track: `python -m data_prep.tram FOLDER --out T.npz --keypoints K.npz`.

Reads `camera.npy` (metric, gravity-aligned, y-up) and `hps/hps_track_K.npy` (the body in the camera frame). TRAM saves no
2-D keypoints: give a detector's (`python -m data_prep.video`). Without them the body's own joints are projected, and the
rays only repeat TRAM's estimate. A camera.npy without `world_cam_R` (from another version of TRAM) has no gravity
direction: give --up, which is 0 -1 0 if the camera is level in the first frame.
"""

from __future__ import annotations

import sys
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.resampling import Blend, check_frames
from data_prep.retargeting.rest_shape import find_shape
from data_prep.saved_arrays import read_object_array, take
from data_prep.worlds import SeenBody, add_keypoints, to_z_up, upright
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack


def read_camera(path: Path, up: tuple[float, float, float] | None = None) -> Camera:
    """TRAM's camera, a pose per frame of the video, in a z-up world.

    Args:
        up: up direction in the world of `pred_cam_R`, whose axes are those of the first camera (x right, y down, z
            forward); by default the file's gravity-aligned `world_cam_R` is used.

    Raises:
        KitError: missing, damaged or incomplete file, or up unknown.
    """
    data = read_object_array(path)
    if up is None and isinstance(data, dict) and "pred_cam_R" in data and "world_cam_R" not in data:
        raise KitError(
            f"{path}: no 'world_cam_R' in the file, so up is unknown; give --up, e.g. 0 -1 0 for a level camera"
        )
    side = "pred" if up is not None else "world"
    turn = take(data, path, f"{side}_cam_R", shape=(None, 3, 3)).mT  # camera to world in the file
    centre = take(data, path, f"{side}_cam_T", shape=(len(turn), 3))
    focal = take(
        {"img_focal": [data.get("img_focal")] if isinstance(data, dict) else None}, path, "img_focal", shape=(1,)
    )
    principal_point = take(data, path, "img_center", shape=(2,))
    K = torch.diag(torch.cat([focal, focal, torch.ones(1)]))
    K[:2, 2] = principal_point
    width, height = (int(v) for v in (2 * principal_point).round())
    camera = Camera(K, turn, -(turn @ centre.unsqueeze(-1)).squeeze(-1), torch.zeros(5), (width, height), str(path))
    return camera.in_world(to_z_up() if up is None else upright(torch.tensor(up)))


def read_tram(
    folder: Path,
    keypoints: KeypointTrack | None = None,
    person: int | None = None,
    body_model: Path | None = None,
    fps: float = 30.0,
    up: tuple[float, float, float] | None = None,
    scale: float | None = None,
) -> SeenBody:
    """One person of a TRAM run, z-up, metres, from their first to their last tracked frame.

    Args:
        folder: with `camera.npy` and `hps/`.
        keypoints: of this person, a row per frame of the video; by default the body's own joints are projected.
        person: number of the track; the longest by default.
        body_model: SMPL file, for the person's size and rest pelvis; the mean shape's by default.
        fps: of the video; TRAM does not save it. up: see `read_camera`.
        scale: size of the person relative to the mean shape, overriding the body model's.

    Raises:
        KitError: missing, damaged or inconsistent files, no such person.
    """
    camera = read_camera(folder / "camera.npy", up)
    path, data = _track(folder / "hps", person)
    turn = take(data, path, "pred_rotmat", shape=(None, 24, 3, 3))
    count, total = len(turn), camera.batch_shape[0]
    trans = take(data, path, "pred_trans", shape=(count, 3))
    frames = check_frames(take(data, path, "frame", shape=(count,)), total, path)
    shape, notes = find_shape("SMPL", take(data, path, "pred_shape", shape=(count, 10)), body_model, scale)

    rot = roma.rotmat_to_unitquat(turn)
    here = camera[frames]
    to_world = here.camera_to_world
    root = roma.quat_product(roma.rotmat_to_unitquat(to_world), rot[:, 0])
    pelvis = (to_world @ (trans + shape.pelvis).unsqueeze(-1)).squeeze(-1) + here.centre
    bridge = Blend.over_gaps(frames)
    joint_rot = bridge.slerp(torch.cat([root.unsqueeze(1), rot[:, 1:]], dim=1))
    spanned = camera[int(frames[0]) : int(frames[-1]) + 1]
    nothing = torch.zeros(len(joint_rot), 17, 3)
    body = SeenBody(bridge.lerp(pelvis), joint_rot, spanned, nothing, fps, shape.scale, folder.name, notes=notes)
    return add_keypoints(body, keypoints, frames, total)


def _track(folder: Path, person: int | None) -> tuple[Path, object]:
    """File and content of a track: the requested one, or the longest."""
    files = sorted(folder.glob("hps_track_*.npy"))
    if not files:
        raise KitError(f"{folder}: no hps_track_*.npy; is this TRAM's output folder, and did TRAM find anybody?")
    if person is not None:
        path = folder / f"hps_track_{person}.npy"
        if path not in files:
            raise KitError(f"{folder}: no track {person}; available: {', '.join(f.stem.split('_')[-1] for f in files)}")
        return path, read_object_array(path)
    found = [(path, read_object_array(path)) for path in files]
    return max(found, key=lambda f: len(take(f[1], f[0], "pred_rotmat", shape=(None, 24, 3, 3))))


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.tram`."""
    parser = make_parser("tram", __doc__, "TRAM's folder of one video", "SMPL")
    parser.add_argument("--keypoints", type=Path, metavar="K.npz", help="2-D keypoints of the person")
    parser.add_argument("--person", type=int, metavar="K", help="number of the track; the longest by default")
    parser.add_argument(
        "--up", type=float, nargs=3, metavar=("X", "Y", "Z"), help="up direction in the first camera's axes"
    )
    options = parser.parse_args(argv)
    keypoints = KeypointTrack.load(options.keypoints) if options.keypoints else None
    body = read_tram(
        options.source, keypoints, options.person, options.body_model, options.fps, options.up, options.scale
    )
    return finish(body, options)


if __name__ == "__main__":
    sys.exit(run(main))
