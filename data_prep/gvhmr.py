"""GVHMR's output folder as a visual track: `python -m data_prep.gvhmr outputs/demo/VIDEO --out T.npz`.

Reads `hmr4d_results.pt` and `preprocess/vitpose.pt`. GVHMR tells the body twice, in a y-up world and in the camera;
the camera is the one for which both are one body, so nothing has to be aligned. Its focal length is a guess (the
image's diagonal) unless it was told one. Its authors' code keeps every frame of the video and calls them 30 fps: say --fps
when the video's rate is another (the package `gvhmr` puts such a video on 30 first). The feature is made by the kit's encoder, because the kit's student was taught on it;
--own-feature keeps GVHMR's context for a student taught on that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.resampling import Blend
from data_prep.rest_shape import find_shape
from data_prep.saved_arrays import read_torch, take
from data_prep.worlds import SeenBody, camera_between, to_z_up, turned
from physhmr_kit.cli import run
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.utils.errors import KitError


def read_gvhmr(
    folder: Path,
    body_model: Path | None = None,
    image_size: tuple[int, int] | None = None,
    own_feature: bool = False,
    fps: float = CONTROL_FPS,
    scale: float | None = None,
) -> SeenBody:
    """The person of a GVHMR run, in GVHMR's world turned z-up, metres.

    Args:
        folder: with `hmr4d_results.pt` and `preprocess/vitpose.pt`.
        body_model: SMPL-X file, for the size and the rest pelvis of this person; the mean shape's when omitted.
        image_size: (width, height); twice the principal point of K when omitted, as GVHMR puts it in the middle.
        own_feature: take GVHMR's context (512) as the feature.
        fps: of the video that GVHMR was given.
        scale: size of the person beside the mean shape, in place of what the body model says.

    Raises:
        KitError: missing, damaged or inconsistent files.
    """
    path = folder / "hmr4d_results.pt"
    data = read_torch(path)
    keypoint_file = folder / "preprocess" / "vitpose.pt"
    keypoints = take(read_torch(keypoint_file), keypoint_file, shape=(None, 17, 3))
    K = take(data, path, "K_fullimg", shape=(None, 3, 3))
    told = {
        (side, key): take(data, path, f"smpl_params_{side}", key, shape=(None, size))
        for side in ("global", "incam")
        for key, size in (("global_orient", 3), ("transl", 3), ("body_pose", 63), ("betas", 10))
    }
    lengths = {str(key): len(value) for key, value in told.items()} | {"vitpose": len(keypoints), "K_fullimg": len(K)}
    if len(set(lengths.values())) > 1:
        raise KitError(f"{folder}: files of different length ({lengths}); are they of one run?")
    shape, notes = find_shape("SMPL-X", told["global", "betas"], body_model, scale)
    root = {side: roma.rotvec_to_unitquat(told[side, "global_orient"]) for side in ("global", "incam")}
    pelvis = {side: told[side, "transl"] + shape.pelvis for side in ("global", "incam")}
    width, height = image_size or (int(v) for v in (2 * K[0, :2, 2]).round())
    size = (width, height)
    camera = camera_between(root["global"], pelvis["global"], root["incam"], pelvis["incam"], K, size, str(path))
    local = torch.cat([told["global", "body_pose"], torch.zeros(len(K), 6)], dim=-1).unflatten(-1, (23, 3))
    joint_rot = torch.cat([root["global"].unsqueeze(1), roma.rotvec_to_unitquat(local)], dim=1)
    feature = None
    if own_feature:
        feature = take(data, path, "net_outputs", "model_output", "pred_context", shape=(len(K), 512))
    keypoints[..., 2] = keypoints[..., 2].clamp(0, 1)
    body = SeenBody(
        pelvis["global"],
        joint_rot,
        camera,
        keypoints,
        fps,
        shape.scale,
        folder.name,
        contact=_contact(data, path, len(K)),
        feature=feature,
        notes=notes,
    )
    return turned(body, to_z_up())


def _contact(data: dict, path: Path, count: int) -> torch.Tensor | None:
    """(T, 4) probability that left ankle, right ankle, left toe, right toe rest, if the run has it.

    GVHMR's six logits are of left ankle, left toe, right ankle, right toe and the wrists, slower than 0.15 m/s
    (gvhmr_pipeline.py, `static_conf_logits`); it does not ask whether the foot is on the floor.
    """
    outputs = data.get("net_outputs")
    found = outputs.get("model_output") if isinstance(outputs, dict) else None
    if not isinstance(found, dict) or found.get("static_conf_logits") is None:
        return None
    logits = take(data, path, "net_outputs", "model_output", "static_conf_logits", shape=(count, 6))
    return logits[:, [0, 2, 1, 3]].sigmoid()


def read_image_features(folder: Path, fps: float = CONTROL_FPS) -> torch.Tensor:
    """HMR2's image tokens of a GVHMR run (`preprocess/vit_features.pt`), for `VisionEncoder.encode(image=...)`.

    Args:
        fps: of the video.

    Returns:
        (T, 1024) at 30 fps, as many rows as the track has; between two frames their mix by time.

    Raises:
        KitError: missing, damaged, or of another shape.
    """
    path = folder / "preprocess" / "vit_features.pt"
    tokens = take(read_torch(path), path, shape=(None, 1024))
    return tokens if abs(fps - CONTROL_FPS) < 1e-6 else Blend.to_rate(len(tokens), fps).lerp(tokens)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("gvhmr", __doc__, "GVHMR's folder of one video", "SMPL-X")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels; from K by default")
    parser.add_argument("--fps", type=float, default=CONTROL_FPS, help="of the original video, 30 by default")
    parser.add_argument("--own-feature", action="store_true", help="keep GVHMR's context in place of the kit's feature")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.gvhmr`."""
    options = _parse(argv)
    size = tuple(options.image_size) if options.image_size else None
    body = read_gvhmr(options.source, options.body_model, size, options.own_feature, options.fps, options.scale)
    return finish(body, options, options.own_feature)


if __name__ == "__main__":
    sys.exit(run(main))
