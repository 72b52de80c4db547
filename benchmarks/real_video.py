"""The encoder on a real video: how far from the keypoints, from a body fitted to them, and from the camera withheld.

    python benchmarks/real_video.py ../shared/data/video/balance_cam01_keypoints.npz ../shared/data/video/balance_cam01_camera.json

There is no ground truth. What stands in for it is a body of the mean shape's proportions, scaled to the person, fitted to
all keypoints at once under the calibrated camera (`vision.fitting`); it is fitted twice, from the encoder's pose and from
straight limbs, and the distance between the two says how far it can be trusted. Add `--rollout out/rollout.npz`, written
by `physhmr_kit.reconstruct`, to measure the simulated body the same way.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from physhmr_kit.env import Rollout
from physhmr_kit.metrics.functional import pa_mpjpe
from physhmr_kit.metrics.reprojection import reprojection_error
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.fitting import fit_body
from physhmr_kit.vision.keypoints import KeypointTrack, person_size
from physhmr_kit.vision.placement import kinematic_clip
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.uncalibrated import estimate_camera


def compare(name: str, body: torch.Tensor, yardstick: torch.Tensor) -> str:
    """MPJPE about the root and PA-MPJPE of joints (T, 24, 3) m, and how far apart the roots are."""
    local = [p - p[:, :1] for p in (body, yardstick)]
    mpjpe = 1000 * (local[0] - local[1]).norm(dim=-1).mean()
    apart = 1000 * (body[:, 0] - yardstick[:, 0]).norm(dim=-1).mean()
    return f"{name}: MPJPE {mpjpe:.0f} mm, PA-MPJPE {pa_mpjpe(*local).mean():.0f} mm, root {apart:.0f} mm apart"


def pixels(state, track) -> str:
    """Median and mean distance of limb keypoints in the image."""
    off = reprojection_error(state.body_pos, state.body_rot, track.keypoints, track.camera)
    box = person_size(track.keypoints)
    middle = off.nanmedian()
    return f"{middle:.1f} px median ({100 * middle / box:.1f} % of the person's box), {off.nanmean():.1f} px mean"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("keypoints", type=Path)
    parser.add_argument("camera", type=Path)
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; the bundled one by default")
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

    bodies = {
        "kinematic (encoder)": kinematic_clip(track),
        "fit": fit_body(track),
        "fit from straight limbs": fit_body(track, from_rest=True),
    }
    library = MotionLibrary(list(bodies.values()))
    state = {name: library.clip(i) for i, name in enumerate(bodies)}
    for name in bodies:
        print(f"reprojection, {name}: {pixels(state[name], track)}")
    if options.rollout:
        state["simulated"] = Rollout.load(options.rollout).simulated
        print(f"reprojection, simulated: {pixels(state['simulated'], track)}")
    for name in state:
        if name != "fit":
            print(compare(f"{name}, from the fit", state[name].body_pos, state["fit"].body_pos))

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
