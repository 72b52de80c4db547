"""Accuracy of the temporal refinement, with an ablation of its terms.

    python benchmarks/refinement.py --clips ../shared/data/cmu_more/bvh_motionbuilder/{16_*,27_01,32_01,35_0*,49_1*} \\
        --video ../shared/data/video/balance_cam01

Films each clip from one random camera with the default noise, as for training students (`stages.views.film_library`), and
compares with the clip: MPJPE relative to the hips, PA-MPJPE, error in the world, the share of frames with a mean error above 0.5 m
(which ends a tracking episode), the largest step of the pelvis between frames, acceleration error, foot sliding. For a video,
the 12 limb joints are compared. The last column is the speed of the refinement relative to real time, on one thread. Do not
use clips here on which the settings were tuned.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d, median_filter

from data_prep.sources import load_clips
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.metrics import functional as F
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies
from physhmr_kit.vision.path import PathSpread
from physhmr_kit.vision.placement import encoder_clip
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.refinement import Refinement, refined_clips
from physhmr_kit.vision.settings import HARD, WHAM, Filming, KeypointNoise
from physhmr_kit.vision.swaps import find_swaps
from physhmr_kit.vision.track import VisualTrack

LOST_M = 0.5
NOISES = {"default": KeypointNoise(), "hard": HARD, "wham": WHAM, "none": KeypointNoise.none()}
NO = math.inf
BELIEFS = PathSpread()
LEFT_OUT = {
    "without keypoints": Refinement(keypoint=NO),
    "without closeness to the encoder": Refinement(encoder=NO, hinge=NO),
    "without smoothness": Refinement(acceleration=NO, path_spread=replace(BELIEFS, acceleration=NO)),
    "without standing feet that stay": Refinement(foot_slip=NO, path_spread=replace(BELIEFS, foot=NO)),
    "without standing feet on the floor": Refinement(foot_height=NO, path_spread=replace(BELIEFS, floor=NO)),
    "without soles above the floor": Refinement(floor=NO),
    "without averaged steps": Refinement(coarse_frames=0.0),
    "one round instead of five": Refinement(rounds=1),
    "path only, the encoder's pose": Refinement(rounds=0),
}


def smoothed(track: VisualTrack) -> Clip:
    """A simple baseline: median of the pelvis over 15 frames, then a Gaussian of two frames."""
    clip = encoder_clip(track)
    root = torch.from_numpy(median_filter(clip.root_pos.numpy(), (15, 1), mode="nearest"))
    rot = track.joint_rot.clone()
    for t in range(1, len(rot)):
        rot[t] *= torch.where((rot[t] * rot[t - 1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    root, rot = (torch.from_numpy(gaussian_filter1d(x.numpy(), 2.0, axis=0, mode="nearest")) for x in (root, rot))
    return Clip.from_joints(root, roma.quat_normalize(rot), track.fps, track.name)


def on_clips(motions: list[Clip], truth: list[BodyState]) -> list[str]:
    """Pooled over frames: MPJPE, PA-MPJPE and world error in mm; frames lost in %; largest step in m; acceleration error in
    m/s^2; foot sliding in mm/frame."""
    rows, steps, slides = [], [], []
    for motion, true in zip(motions, truth, strict=True):
        pos, rot = forward_kinematics(motion.root_pos, motion.joint_rot, mean_offsets())
        off = (pos - true.body_pos).norm(dim=-1).mean(-1)
        acceleration = torch.nn.functional.pad(F.accel(pos, true.body_pos, motion.fps), (1, 1), value=torch.nan)
        soles = (sole_corners(p, r).flatten(1, -2) for p, r in ((pos, rot), (true.body_pos, true.body_rot)))
        slides.append(F.foot_sliding(*soles))
        steps.append(pos[:, 0].diff(dim=0).norm(dim=-1).max())
        columns = [F.mpjpe(pos, true.body_pos), F.pa_mpjpe(pos, true.body_pos), 1000 * off, 100.0 * (off > LOST_M)]
        rows.append(torch.stack([*columns, acceleration], dim=-1))
    mpjpe, pa, world, lost, acceleration = torch.cat(rows).nanmean(0).tolist()
    errors = f"{mpjpe:.1f}", f"{pa:.1f}", f"{world:.1f}", f"{lost:.2f} %"
    return [*errors, f"{max(steps):.2f}", f"{acceleration:.1f}", f"{torch.cat(slides).mean():.1f}"]


def on_video(motion: Clip, track: VisualTrack, truth: torch.Tensor) -> str:
    """MPJPE / PA-MPJPE / world error of the 12 limb joints, mm: truth (T, 17, 3) m at the frame rate of the track."""
    bodies = forward_kinematics(motion.root_pos, motion.joint_rot, mean_offsets())
    limbs = track.scale * coco_from_bodies(*bodies)[:, RAY_COCO]
    errors = F.limb_errors(limbs, truth[: len(limbs), RAY_COCO])
    return " / ".join(f"{float(value.mean()):.0f}" for value in errors.values())


def read_video(stem: Path, encoder) -> tuple[VisualTrack, torch.Tensor]:
    """Visual track of a video, and its ground-truth joints at the frame rate of the track."""
    files = [stem.with_name(f"{stem.name}_{part}") for part in ("keypoints.npz", "camera.json", "truth.npz")]
    track = track_from_keypoints(KeypointTrack.load(files[0]), Camera.load(files[1]), encoder, None)
    with np.load(files[2]) as truth:
        return track, torch.from_numpy(truth["joints"][:: round(float(truth["fps"]) / track.fps)]).float()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--clips", nargs="+", required=True)
    parser.add_argument(
        "--video", type=Path, metavar="STEM", help="reads STEM_keypoints.npz, STEM_camera.json and STEM_truth.npz"
    )
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; default: the bundled one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", choices=NOISES, default="default", help="noise of the synthetic detector")
    parser.add_argument("--no-terms", action="store_true", help="skip the ablation of terms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, library = load_encoder(options.encoder), MotionLibrary(load_clips(options.clips))
    truth = [library.clip(i) for i in range(library.num_clips)]
    filming = Filming(noise=NOISES[options.noise])
    with patch("physhmr_kit.vision.build_track.unswapped", lambda keypoints: keypoints):
        _, as_detected = film_library(library, encoder, 1, options.seed, filming)
    _, tracks = film_library(library, encoder, 1, options.seed, filming)
    swapped = sum(int(find_swaps(t.keypoints).sum()) for t in as_detected)
    print(f"{len(tracks)} clips, {library.num_frames / 30:.0f} s; swapped limbs corrected in {swapped} frames")
    film = read_video(options.video, encoder) if options.video else None
    rows = []

    def measure(name: str, estimate, views=tracks) -> None:
        start = time.process_time()
        motions = estimate(views)
        speed = sum(map(len, views)) / 30 / (time.process_time() - start)
        video = on_video(estimate([film[0]])[0], *film) if film else "-"
        rows.append([name, *on_clips(motions, truth), video, f"{speed:.0f}"])
        print(" | ".join(rows[-1]), flush=True)

    measure("encoder, placed frame by frame", lambda views: [encoder_clip(t) for t in views])
    measure("the same, median and Gaussian", lambda views: [smoothed(t) for t in views])
    measure("**refined**", refined_clips)
    measure("without correcting swapped limbs", refined_clips, as_detected)
    for name, settings in ({} if options.no_terms else LEFT_OUT).items():
        measure(name, lambda views, settings=settings: refined_clips(views, settings))
    heads = ["estimate", "MPJPE", "PA", "world", "lost", "step", "accel", "sliding"]
    print(markdown_table([*heads, "video: MPJPE / PA / world", "x real time"], rows, "lr"))


if __name__ == "__main__":
    main()
