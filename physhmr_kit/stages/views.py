"""Films clips with synthetic cameras for a student; the same seed gives the same views."""

from __future__ import annotations

import zlib
from dataclasses import replace

import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, mean_offsets
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.kinematics import forward_kinematics, local_rotations
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.build_track import synthesize_track
from physhmr_kit.vision.camera import Camera, sample_cameras
from physhmr_kit.vision.camera_motion import move_cameras
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.filming import varied_offsets
from physhmr_kit.vision.settings import Filming
from physhmr_kit.vision.track import VisualTrack


@torch.no_grad()
def film_library(
    library: MotionLibrary, encoder: VisionEncoder, views: int, seed: int, filming: Filming | None = None
) -> tuple[VisualLibrary, list[VisualTrack]]:
    """Film every clip of a library with random cameras and a noisy synthetic detector, and run the encoder on the keypoints.

    A clip's views depend only on its name and the seed, not on the other clips.

    Args:
        views: cameras for each clip.
        seed: of cameras and noise.
        filming: body proportions, camera motion and noise; mean shape, fixed cameras and default noise when omitted.

    Returns:
        the packed views, and the first view of each clip as a track for the viewer.
    """
    filming = filming or Filming()
    tracks = []
    for c in range(library.num_clips):
        state, generator = library.clip(c), torch.Generator().manual_seed(zlib.crc32(library.names[c].encode()) + seed)
        cameras = [sample_cameras(state.body_pos.unsqueeze(0), generator)[0] for _ in range(views)]
        tracks.append([_view(state, camera, encoder, filming, generator) for camera in cameras])
    return VisualLibrary(tracks, library.lengths), [views[0] for views in tracks]


def _view(
    state: BodyState, camera: Camera, encoder: VisionEncoder, filming: Filming, generator: torch.Generator
) -> VisualTrack:
    """One clip through one camera, with body proportions of its own."""
    if filming.limbs > 0:
        pose = local_rotations(state.body_rot)
        pos, rot = forward_kinematics(state.root_pos, pose, other_proportions(filming.limbs, generator))
        state = replace(state, body_pos=pos, body_rot=rot)
    if filming.moving > 0:
        path = state.root_pos.unsqueeze(0)
        camera = move_cameras(camera[None], path, filming.moving, generator)[0]
    return synthesize_track(state, camera, encoder, filming.noise, generator)


def other_proportions(spread: float, generator: torch.Generator) -> torch.Tensor:
    """Random joint offsets (24, 3), m, with legs as long as those of the mean shape, so that feet stay on the floor."""
    legs = [JOINT_NAMES.index(name) for name in ("left_knee", "left_ankle")]
    mean, other = mean_offsets(), varied_offsets(spread, generator)
    return other * (mean[legs].norm(dim=-1).sum() / other[legs].norm(dim=-1).sum())
