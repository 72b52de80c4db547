"""Reconstructs the motion of a person in a video in simulation: rollout on the visual track, error measures, files.

The command is `python -m physhmr_kit.reconstruct`.
"""

from physhmr_kit.reconstruction.report import errors_over_time, summary, video_errors
from physhmr_kit.reconstruction.simulate import MIN_RESTART_GAP, Reconstruction, kinematic_estimate, simulate_track

__all__ = [
    "MIN_RESTART_GAP",
    "Reconstruction",
    "errors_over_time",
    "kinematic_estimate",
    "simulate_track",
    "summary",
    "video_errors",
]
