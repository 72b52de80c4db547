"""The synthetic cameras of the student: each clip seen from several sides, the same ones for the same seed."""

from __future__ import annotations

import torch

from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.vision.camera import sample_cameras
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.synthetic import KeypointNoise
from physhmr_kit.vision.track import VisualTrack, synthesize_track


@torch.no_grad()
def film_library(
    library: MotionLibrary, encoder: VisionEncoder, views: int, seed: int, noise: KeypointNoise | None = None
) -> tuple[VisualLibrary, list[VisualTrack]]:
    """Film every clip of a library from `views` random cameras with a noisy detector and run the encoder on it.

    Args:
        views: cameras for each clip.
        seed: of cameras and noise.
        noise: of the detector; the default of `KeypointNoise` when omitted.

    Returns:
        the packed views, and view 0 of each clip as a track for the viewer.
    """
    generator = torch.Generator().manual_seed(seed)
    tracks = []
    for c in range(library.num_clips):
        state = library.clip(c)
        cameras = [sample_cameras(state.body_pos, generator) for _ in range(views)]
        tracks.append([synthesize_track(state, camera, encoder, noise, generator) for camera in cameras])
    return VisualLibrary(tracks, library.lengths), [views[0] for views in tracks]
