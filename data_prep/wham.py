"""Imports WHAM's output as a visual track: `python -m data_prep.wham FOLDER --image-size W H --out T.npz --keypoints K.npz`.

Reads `wham_output.pkl` (a joblib pickle; only arrays are loaded, no code is run). WHAM estimates the body both in a y-up
world and in the camera frame; the camera pose follows from the two. `trans` is SMPL's (pelvis = trans + j0), but
`trans_world` is the midpoint of the hips: WHAM's SMPL class puts it there (lib/models/smpl.py, `get_output`), and only then
do the feet stay in place. The hips are SMPL's joints, about 9 cm below the pelvis. The file contains neither image size nor
focal length: the default for the latter is WHAM's own guess, the image diagonal.
"""

from __future__ import annotations

import sys
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.resampling import Blend, check_frames
from data_prep.retargeting.rest_shape import find_shape
from data_prep.saved_arrays import read_joblib, take
from data_prep.worlds import SeenBody, add_keypoints, camera_between, rotated, to_z_up
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.keypoints import KeypointTrack
from physhmr_kit.vision.uncalibrated import level_camera

_SIZES = {"pose_world": 72, "trans_world": 3, "pose": 72, "trans": 3}


def read_wham(
    path: Path,
    image_size: tuple[int, int],
    focal: float | None = None,
    keypoints: KeypointTrack | None = None,
    person: int | None = None,
    body_model: Path | None = None,
    fps: float = 30.0,
    scale: float | None = None,
) -> SeenBody:
    """One person of a WHAM run, z-up, metres, from their first to their last tracked frame.

    Args:
        path: `wham_output.pkl`. image_size: (width, height) of the video. focal: pixels.
        keypoints: of this person, a row per frame of the video; by default the body's own joints are projected.
        person: WHAM's number; the one with most frames by default.
        body_model: SMPL file, for the person's size and rest pelvis; the mean shape's by default.
        fps: of the video; WHAM does not save it.
        scale: size of the person relative to the mean shape, overriding the body model's.

    Raises:
        KitError: missing, damaged or inconsistent file, no such person.
    """
    people = read_joblib(path)
    if not isinstance(people, dict) or not people:
        raise KitError(f"{path}: not a dictionary of people, or empty; is this WHAM's wham_output.pkl?")
    person = _choose(people, person, path)
    data = people[person]
    count = len(take(data, path, "pose_world", shape=(None, 72)))
    params = {key: take(data, path, key, shape=(count, size)) for key, size in _SIZES.items()}
    frames = take(data, path, "frame_ids", shape=(count,))
    total = len(keypoints) if keypoints is not None else int(frames.max()) + 1
    frames = check_frames(frames, total, path)
    shape, notes = find_shape("SMPL", take(data, path, "betas", shape=(count, 10)), body_model, scale)
    if focal is None:
        notes = (*notes, "focal length assumed to be the image diagonal, as in WHAM without a calibration")

    rot = {key: roma.rotvec_to_unitquat(params[key].unflatten(-1, (24, 3))) for key in ("pose_world", "pose")}
    hips = (shape.joints[1:3].mean(0) - shape.pelvis).expand(count, 3)
    world = params["trans_world"] - roma.quat_action(rot["pose_world"][:, 0], hips)
    cam = params["trans"] + shape.pelvis
    K = level_camera(image_size, focal).K
    camera = camera_between(rot["pose_world"][:, 0], world, rot["pose"][:, 0], cam, K, image_size, str(path))
    bridge = Blend.over_gaps(frames)
    joint_rot = bridge.slerp(rot["pose_world"])
    nothing = torch.zeros(len(joint_rot), 17, 3)
    body = SeenBody(
        bridge.lerp(world), joint_rot, bridge.camera(camera), nothing, fps, shape.scale, path.stem, notes=notes
    )
    return rotated(add_keypoints(body, keypoints, frames, total), to_z_up())


def _choose(people: dict, person: int | None, path: Path):
    if person is None:
        return max(people, key=lambda k: len(take(people[k], path, "pose_world", shape=(None, 72))))
    if person not in people:
        raise KitError(f"{path}: no person {person}; available: {', '.join(str(k) for k in people)}")
    return person


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.wham`."""
    parser = make_parser("wham", __doc__, "WHAM's folder of one video, or its wham_output.pkl", "SMPL")
    parser.add_argument(
        "--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels; from --keypoints by default"
    )
    parser.add_argument("--focal", type=float, help="focal length, pixels; the image diagonal by default")
    parser.add_argument("--keypoints", type=Path, metavar="K.npz", help="2-D keypoints of the person")
    parser.add_argument("--person", type=int, metavar="K", help="WHAM's number; the one with most frames by default")
    options = parser.parse_args(argv)
    keypoints = KeypointTrack.load(options.keypoints) if options.keypoints else None
    size = tuple(options.image_size) if options.image_size else keypoints.image_size if keypoints is not None else None
    if size is None:
        raise KitError("WHAM does not save the image size; give --image-size W H, or --keypoints of the same video")
    path = options.source / "wham_output.pkl" if options.source.is_dir() else options.source
    body = read_wham(
        path, size, options.focal, keypoints, options.person, options.body_model, options.fps, options.scale
    )
    return finish(body, options)


if __name__ == "__main__":
    sys.exit(run(main))
