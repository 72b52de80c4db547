"""Imports GVHMR's output folder as a visual track: `python -m data_prep.gvhmr outputs/demo/VIDEO --out T.npz`.

Reads `hmr4d_results.pt` and `preprocess/vitpose.pt`. GVHMR estimates the body both in a y-up world and in the camera frame;
the camera pose follows from the two, without alignment. Its focal length is a guess (the image diagonal) unless one was
given. The authors' code keeps every frame of the video and assumes 30 fps: give --fps for a video at another rate (the
package `gvhmr` resamples such a video to 30 first). The feature is computed by the kit's encoder, on which the kit's student
was trained; --own-feature keeps GVHMR's context for a student trained on that.
"""

from __future__ import annotations

import sys
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.resampling import Blend
from data_prep.retargeting.rest_shape import find_shape
from data_prep.saved_arrays import read_torch, take
from data_prep.worlds import SeenBody, camera_between, rotated, to_z_up
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
    """The person of a GVHMR run, in GVHMR's world rotated to z-up, metres.

    Args:
        folder: with `hmr4d_results.pt` and `preprocess/vitpose.pt`.
        body_model: SMPL-X file, for the person's size and rest pelvis; the mean shape's by default.
        image_size: (width, height); by default twice the principal point of K, which GVHMR puts at the image centre.
        own_feature: take GVHMR's context (512) as the feature.
        fps: of the video that GVHMR was run on.
        scale: size of the person relative to the mean shape, overriding the body model's.

    Raises:
        KitError: missing, damaged or inconsistent files.
    """
    path = folder / "hmr4d_results.pt"
    data = read_torch(path)
    keypoint_file = folder / "preprocess" / "vitpose.pt"
    keypoints = take(read_torch(keypoint_file), keypoint_file, shape=(None, 17, 3))
    K = take(data, path, "K_fullimg", shape=(None, 3, 3))
    params = {
        (side, key): take(data, path, f"smpl_params_{side}", key, shape=(None, size))
        for side in ("global", "incam")
        for key, size in (("global_orient", 3), ("transl", 3), ("body_pose", 63), ("betas", 10))
    }
    lengths = {str(key): len(value) for key, value in params.items()} | {"vitpose": len(keypoints), "K_fullimg": len(K)}
    if len(set(lengths.values())) > 1:
        raise KitError(f"{folder}: files of different lengths ({lengths}); are they from the same run?")
    shape, notes = find_shape("SMPL-X", params["global", "betas"], body_model, scale)
    root = {side: roma.rotvec_to_unitquat(params[side, "global_orient"]) for side in ("global", "incam")}
    pelvis = {side: params[side, "transl"] + shape.pelvis for side in ("global", "incam")}
    width, height = image_size or (int(v) for v in (2 * K[0, :2, 2]).round())
    size = (width, height)
    camera = camera_between(root["global"], pelvis["global"], root["incam"], pelvis["incam"], K, size, str(path))
    local = torch.cat([params["global", "body_pose"], torch.zeros(len(K), 6)], dim=-1).unflatten(-1, (23, 3))
    joint_rot = torch.cat([root["global"].unsqueeze(1), roma.rotvec_to_unitquat(local)], dim=1)
    feature = None
    if own_feature:
        feature = take(data, path, "net_outputs", "model_output", "pred_context", shape=(len(K), 512))
    keypoints[..., 2] = keypoints[..., 2].clamp(0, 1)
    contact = _contact(data, path, len(K))
    body = SeenBody(
        pelvis["global"], joint_rot, camera, keypoints, fps, shape.scale, folder.name, contact, feature, notes
    )
    return rotated(body, to_z_up())


def _contact(data: dict, path: Path, count: int) -> torch.Tensor | None:
    """(T, 4) probability that left ankle, right ankle, left toe and right toe are static, if the run has it.

    GVHMR's six logits are for left ankle, left toe, right ankle, right toe and the wrists moving slower than 0.15 m/s
    (gvhmr_pipeline.py, `static_conf_logits`), whether or not the foot is on the floor.
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
        (T, 1024) at 30 fps, interpolated; as many rows as the track.

    Raises:
        KitError: missing, damaged, or of another shape.
    """
    path = folder / "preprocess" / "vit_features.pt"
    tokens = take(read_torch(path), path, shape=(None, 1024))
    return tokens if abs(fps - CONTROL_FPS) < 1e-6 else Blend.to_rate(len(tokens), fps).lerp(tokens)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.gvhmr`."""
    parser = make_parser("gvhmr", __doc__, "GVHMR's folder of one video", "SMPL-X")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels; from K by default")
    parser.add_argument("--own-feature", action="store_true", help="use GVHMR's context as the feature")
    options = parser.parse_args(argv)
    size = tuple(options.image_size) if options.image_size else None
    body = read_gvhmr(options.source, options.body_model, size, options.own_feature, options.fps, options.scale)
    return finish(body, options, options.own_feature)


if __name__ == "__main__":
    sys.exit(run(main))
