"""Accuracy on a real video: reprojection errors, errors against triangulated joints, and the estimate of a hidden camera.

    python benchmarks/real_video.py ../shared/data/video/balance_cam01_keypoints.npz ../shared/data/video/balance_cam01_camera.json \\
        --truth ../shared/data/video/balance_cam01_truth.npz

The ground truth are COCO keypoints triangulated from several cameras; projected, they are the output of a perfect detector. Add
`--rollout out/rollout.npz`, written by `physhmr_kit.reconstruct`, to measure the simulated body as well. For an ablation of the
refinement see `benchmarks/refinement.py`.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.env import Rollout
from physhmr_kit.metrics.functional import limb_errors
from physhmr_kit.metrics.reprojection import reprojection_error
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies, person_size
from physhmr_kit.vision.placement import encoder_clip
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.refinement import refined_clip
from physhmr_kit.vision.uncalibrated import estimate_camera


def compare(name: str, state, track, truth: torch.Tensor) -> str:
    """Errors of the limbs against ground-truth joints (T, 17, 3) m at the frame rate of the track."""
    limbs = track.scale * coco_from_bodies(state.body_pos, state.body_rot)[:, RAY_COCO]
    off = {key: float(value.mean()) for key, value in limb_errors(limbs, truth[: len(limbs), RAY_COCO]).items()}
    return f"{name}, from the truth: MPJPE {off['mpjpe']:.0f} mm, PA-MPJPE {off['pa_mpjpe']:.0f} mm, world {off['world']:.0f} mm"


def pixels(state, track) -> str:
    """Median and mean reprojection error of the limb keypoints."""
    off = reprojection_error(state.body_pos, state.body_rot, track.keypoints, track.camera)
    box = person_size(track.keypoints)
    middle = off.nanmedian()
    return f"{middle:.1f} px median ({100 * middle / box:.1f} % of the person's box), {off.nanmean():.1f} px mean"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("keypoints", type=Path)
    parser.add_argument("camera", type=Path)
    parser.add_argument(
        "--truth", type=Path, help=".npz with ground-truth COCO-17 joints (frames, 17, 3) m and their fps"
    )
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; default: the bundled one")
    parser.add_argument(
        "--rollout", type=Path, metavar="rollout.npz", help="of reconstruct, with the same camera and scale"
    )
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    keypoints, camera = KeypointTrack.load(options.keypoints), Camera.load(options.camera)
    track = track_from_keypoints(keypoints, camera, encoder, None)
    print(
        f"{track.name}: {len(track)} frames at 30 fps; the person is {track.scale:.3f} times the mean shape (estimated)"
    )

    bodies = {"encoder": encoder_clip(track), "refined": refined_clip(track)}
    library = MotionLibrary(list(bodies.values()))
    state = {name: library.clip(i) for i, name in enumerate(bodies)}
    if options.rollout:
        state["simulated"] = Rollout.load(options.rollout).simulated
    for name, body in state.items():
        print(f"reprojection, {name}: {pixels(body, track)}")
    if options.truth:
        with np.load(options.truth) as file:
            truth = torch.from_numpy(file["joints"][:: round(float(file["fps"]) / track.fps)]).float()
        for name, body in state.items():
            print(compare(name, body, track, truth))
        seen = torch.cat([camera.project(truth), torch.ones(*truth.shape[:2], 1)], dim=-1)
        perfect = KeypointTrack(seen, track.fps, camera.image_size)
        track = track_from_keypoints(perfect, camera, encoder, None)
        for name, clip in {"encoder": encoder_clip(track), "refined": refined_clip(track)}.items():
            print(compare(f"{name} of perfect keypoints", MotionLibrary([clip]).clip(0), track, truth))

    for focal in (float(camera.K[0, 0]), None):
        found = estimate_camera(keypoints, encoder, focal)
        up = float((found.camera.R[:, 2] @ camera.R[:, 2]).clamp(-1, 1).acos())
        known = "known" if focal else "guessed from the diagonal"
        print(
            f"camera withheld, focal {known}: gravity off {math.degrees(up):.1f} deg; height {found.height_m:.2f} m, true {float(camera.centre[2]):.2f} m"
        )
        print(f"  {found}")


if __name__ == "__main__":
    main()
