"""GVHMR's output folder as a visual track: `python -m data_prep.gvhmr outputs/demo/VIDEO --out T.npz`.

Reads `hmr4d_results.pt` and `preprocess/vitpose.pt` (layout of September 2024). GVHMR tells the body twice, in a y-up world and
in the camera; the camera is the one for which both are one body, so nothing has to be aligned. Its focal length is a guess
(the image's diagonal) unless it was told one. The feature is made by the kit's encoder, because the kit's student was taught
on it; --own-feature keeps GVHMR's context for a student taught on that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import roma
import torch

from data_prep.importing import finish, make_parser
from data_prep.rest_shape import RestShape, mean_shape, read_rest_shape
from data_prep.saved_arrays import read_torch, take
from data_prep.worlds import SeenBody, camera_between, to_z_up, turned
from physhmr_kit.cli import run
from physhmr_kit.errors import KitError
from physhmr_kit.motion.clip import CONTROL_FPS


def read_gvhmr(
    folder: Path, body_model: Path | None = None, image_size: tuple[int, int] | None = None, own_feature: bool = False
) -> SeenBody:
    """The person of a GVHMR run, in GVHMR's world turned z-up, metres, 30 fps.

    Args:
        folder: with `hmr4d_results.pt` and `preprocess/vitpose.pt`.
        body_model: SMPL-X file, for the size and the rest pelvis of this person; the mean shape's when omitted.
        image_size: (width, height); twice the principal point of K when omitted, as GVHMR puts it in the middle.
        own_feature: take GVHMR's context (512) as the feature.

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
    notes = []
    shape = _shape(told["global", "betas"].mean(0), body_model, notes)
    root = {side: roma.rotvec_to_unitquat(told[side, "global_orient"]) for side in ("global", "incam")}
    pelvis = {side: told[side, "transl"] + shape.pelvis for side in ("global", "incam")}
    size = image_size or tuple(int(v) for v in (2 * K[0, :2, 2]).round())
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
        CONTROL_FPS,
        shape.scale,
        folder.name,
        feature=feature,
        notes=tuple(notes),
    )
    return turned(body, to_z_up())


def read_image_features(folder: Path) -> torch.Tensor:
    """HMR2's image tokens of a GVHMR run (`preprocess/vit_features.pt`): (T, 1024), for `VisionEncoder.encode(image=...)`.

    Raises:
        KitError: missing, damaged, or of another shape.
    """
    path = folder / "preprocess" / "vit_features.pt"
    return take(read_torch(path), path, shape=(None, 1024))


def _shape(betas: torch.Tensor, body_model: Path | None, notes: list[str]) -> RestShape:
    if body_model is None:
        notes.append(
            "no body model: the person is taken to be of the mean shape's size (--body-model, or --scale, tells)"
        )
        return mean_shape("SMPL-X")
    return read_rest_shape(body_model, betas, "SMPL-X")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = make_parser("gvhmr", __doc__, "GVHMR's folder of one video", "SMPL-X")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels; from K by default")
    parser.add_argument("--own-feature", action="store_true", help="keep GVHMR's context in place of the kit's feature")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.gvhmr`."""
    options = _parse(argv)
    size = tuple(options.image_size) if options.image_size else None
    body = read_gvhmr(options.source, options.body_model, size, options.own_feature)
    return finish(body, options, options.own_feature)


if __name__ == "__main__":
    sys.exit(run(main))
