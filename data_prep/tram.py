"""TRAM's output folder as a visual track: `python -m data_prep.tram FOLDER --out T.npz --keypoints K.npz`.

Reads `camera.npy` (metric, gravity-aligned, y-up) and `hps/hps_track_K.npy` (the body in the camera). TRAM keeps no
2-D keypoints: give those of a detector (`python -m data_prep.video`). Without them the body's own joints are
projected, and the rays then repeat what TRAM believed, wrong or right. A camera.npy without `world_cam_R` (another
version of TRAM writes that) does not know where up is: say --up, 0 -1 0 for a first picture taken with a level
camera.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.resampling import Blend, check_frames, hide_gaps
from data_prep.rest_shape import find_shape
from data_prep.saved_arrays import read_object_array, take
from data_prep.worlds import SeenBody, see_body, to_z_up, upright
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack


def read_camera(path: Path, up: tuple[float, float, float] | None = None) -> Camera:
    """TRAM's camera, a pose for each frame of the video, in a z-up world.

    Args:
        up: direction against gravity in the world of `pred_cam_R`, whose axes are those of the first camera (x right, y
            down, z forward); by default the file's own gravity-aligned `world_cam_R` is taken.

    Raises:
        KitError: missing, damaged or incomplete file, or one that does not know where up is.
    """
    data = read_object_array(path)
    told = isinstance(data, dict) and "world_cam_R" in data
    if isinstance(data, dict) and "pred_cam_R" in data and not told and up is None:
        raise KitError(
            f"{path}: no 'world_cam_R' in the file, so up is not known; give --up, e.g. 0 -1 0 for a level camera"
        )
    side = "pred" if up is not None else "world"
    turn = take(data, path, f"{side}_cam_R", shape=(None, 3, 3)).mT  # camera to world in the file
    centre = take(data, path, f"{side}_cam_T", shape=(len(turn), 3))
    focal = take(
        {"img_focal": [data.get("img_focal")] if isinstance(data, dict) else None}, path, "img_focal", shape=(1,)
    )
    middle = take(data, path, "img_center", shape=(2,))
    K = torch.diag(torch.cat([focal, focal, torch.ones(1)]))
    K[:2, 2] = middle
    width, height = (int(v) for v in (2 * middle).round())
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
    """One person of a TRAM run, z-up, metres, from the first frame they are tracked in to the last.

    Args:
        folder: with `camera.npy` and `hps/`.
        keypoints: of this person, a row for each frame of the video; the body's own joints are projected when omitted.
        person: number of the track; the one with most frames when omitted.
        body_model: SMPL file, for the size and the rest pelvis; the mean shape's when omitted.
        fps: of the video; TRAM does not keep it. up: see `read_camera`.
        scale: size of the person beside the mean shape, in place of what the body model says.

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
    out = here.camera_to_world
    root = roma.quat_product(roma.rotmat_to_unitquat(out), rot[:, 0])
    pelvis = (out @ (trans + shape.pelvis).unsqueeze(-1)).squeeze(-1) + here.centre
    bridge = Blend.over_gaps(frames)
    joint_rot = bridge.slerp(torch.cat([root.unsqueeze(1), rot[:, 1:]], dim=1))
    spanned = camera[int(frames[0]) : int(frames[-1]) + 1]
    body = SeenBody(
        bridge.lerp(pelvis),
        joint_rot,
        spanned,
        torch.zeros(len(joint_rot), 17, 3),
        fps,
        shape.scale,
        folder.name,
        notes=notes,
    )
    body = see_body(body, keypoints, int(frames[0]), total)
    return replace(body, keypoints=hide_gaps(body.keypoints, frames, fps))


def _track(folder: Path, person: int | None) -> tuple[Path, object]:
    """File and content of a track: the one asked for, or the longest."""
    files = sorted(folder.glob("hps_track_*.npy"))
    if not files:
        raise KitError(f"{folder}: no hps_track_*.npy; is this TRAM's output folder, and did it find anybody?")
    if person is not None:
        path = folder / f"hps_track_{person}.npy"
        if path not in files:
            raise KitError(f"{folder}: no track {person}; there are {', '.join(f.stem.split('_')[-1] for f in files)}")
        return path, read_object_array(path)
    found = [(path, read_object_array(path)) for path in files]
    return max(found, key=lambda f: len(take(f[1], f[0], "pred_rotmat", shape=(None, 24, 3, 3))))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("tram", __doc__, "TRAM's folder of one video", "SMPL")
    parser.add_argument("--keypoints", type=Path, metavar="K.npz", help="2-D keypoints of the person")
    parser.add_argument("--person", type=int, metavar="K", help="number of the track; the longest by default")
    parser.add_argument(
        "--up", type=float, nargs=3, metavar=("X", "Y", "Z"), help="against gravity, in the first camera's axes"
    )
    parser.add_argument("--fps", type=float, default=30.0, help="of the video, 30 by default")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.tram`."""
    options = _parse(argv)
    keypoints = KeypointTrack.load(options.keypoints) if options.keypoints else None
    body = read_tram(
        options.source, keypoints, options.person, options.body_model, options.fps, options.up, options.scale
    )
    return finish(body, options, False)


if __name__ == "__main__":
    sys.exit(run(main))
