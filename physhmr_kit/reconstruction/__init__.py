"""The motion of a person in a video, in simulation: following the visual track, figures and files.

`python -m physhmr_kit.reconstruct` is the command.
"""

from physhmr_kit.reconstruction.report import errors_over_time, film_errors, summary
from physhmr_kit.reconstruction.simulate import (
    MIN_RESTART_GAP,
    Reconstruction,
    kinematic_estimate,
    simulate_track,
)

__all__ = [
    "MIN_RESTART_GAP",
    "Reconstruction",
    "errors_over_time",
    "film_errors",
    "kinematic_estimate",
    "simulate_track",
    "summary",
]
