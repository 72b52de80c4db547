"""A filmed person, relived in simulation: following what the camera saw, what came out, and the files that are left.

`python -m physhmr_kit.reconstruct` is the command.
"""

from physhmr_kit.reconstruction.follow import PATIENCE, Reconstruction, relive, upright, without_physics
from physhmr_kit.reconstruction.report import errors_over_time, summary

__all__ = ["PATIENCE", "Reconstruction", "errors_over_time", "relive", "summary", "upright", "without_physics"]
