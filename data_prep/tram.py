"""TRAM's output folder as a visual track: `python -m data_prep.tram FOLDER --out T.npz --keypoints K.npz`.

Reads `camera.npy` (gravity-aligned, y-up world, metric) and `hps/hps_track_K.npy` (the body in the camera). TRAM keeps no 2-D
keypoints: give those of a detector (`python -m data_prep.video`). Without them the body's own joints are projected, and the
rays then repeat what TRAM believed, wrong or right.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.rest_shape import mean_shape, read_rest_shape
from data_prep.saved_arrays import read_object_array, take
from data_prep.worlds import Blend, SeenBody, check_frames, hide_gaps, see_body, to_z_up, turned
from physhmr_kit.cli import run
from physhmr_kit.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack


def read_camera(path: Path) -> Camera:
    """TRAM's camera, a pose for each frame of the video, in its gravity-aligned y-up world.

    Raises:
        KitError: missing, damaged or incomplete file.
    """
    data = read_object_array(path)
    turn = take(data, path, "world_cam_R", shape=(None, 3, 3)).mT  # camera to world in the file
    centre = take(data, path, "world_cam_T", shape=(len(turn), 3))
    focal = take(
        {"img_focal": [data.get("img_focal")] if isinstance(data, dict) else None}, path, "img_focal", shape=(1,)
    )
    middle = take(data, path, "img_center", shape=(2,))
    K = torch.diag(torch.cat([focal, focal, torch.ones(1)]))
    K[:2, 2] = middle
    size = tuple(int(v) for v in (2 * middle).round())
    return Camera(K, turn, -(turn @ centre.unsqueeze(-1)).squeeze(-1), torch.zeros(5), size, str(path))


def read_tram(
    folder: Path,
    keypoints: KeypointTrack | None = None,
    person: int | None = None,
    body_model: Path | None = None,
    fps: float = 30.0,
) -> SeenBody:
    """One person of a TRAM run, z-up, metres, from the first frame they are tracked in to the last.

    Args:
        folder: with `camera.npy` and `hps/`.
        keypoints: of this person, with a row for each frame of the video; the body's own joints are projected when omitted.
        person: number of the track; the one with most frames when omitted.
        body_model: SMPL file, for the size and the rest pelvis; the mean shape's when omitted.
        fps: of the video; TRAM does not keep it.

    Raises:
        KitError: missing, damaged or inconsistent files, no such person.
    """
    camera = read_camera(folder / "camera.npy")
    path, data = _track(folder / "hps", person)
    turn = take(data, path, "pred_rotmat", shape=(None, 24, 3, 3))
    count, total = len(turn), camera.batch_shape[0]
    trans = take(data, path, "pred_trans", shape=(count, 3))
    frames = check_frames(take(data, path, "frame", shape=(count,)), total, path)
    betas = take(data, path, "pred_shape", shape=(count, 10)).mean(0)
    shape = read_rest_shape(body_model, betas, "SMPL") if body_model else mean_shape("SMPL")
    notes = () if body_model else ("no body model: the person is taken to be of the mean shape's size",)

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
    body = replace(body, keypoints=hide_gaps(body.keypoints, frames, fps))
    return turned(body, to_z_up())


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
    parser.add_argument("--fps", type=float, default=30.0, help="of the video, 30 by default")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.tram`."""
    options = _parse(argv)
    keypoints = KeypointTrack.load(options.keypoints) if options.keypoints else None
    body = read_tram(options.source, keypoints, options.person, options.body_model, options.fps)
    return finish(body, options, False)


if __name__ == "__main__":
    sys.exit(run(main))
