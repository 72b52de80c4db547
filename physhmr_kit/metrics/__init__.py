"""Metrics: pose accuracy, world accuracy, physical plausibility and tracking, and the evaluation table.

`functional.py` holds the formulas, one pure function each; the classes pool them with torchmetrics. Papers use the same
name for different measures: every docstring states whose definition it follows.
"""

from physhmr_kit.metrics.accuracy import MPJPE, PAMPJPE, RTE, WAMPJPE, WMPJPE, Accel
from physhmr_kit.metrics.physical import (
    Floating,
    FootSliding,
    HeightVariance,
    Jitter,
    LimitExcess,
    LimitViolation,
    Penetration,
    SkatingRatio,
)
from physhmr_kit.metrics.table import measures, score_rollouts, summarise, to_csv, to_markdown
from physhmr_kit.metrics.tracking import AccelError, GlobalMPJPE, RootMPJPE, SuccessRate, VelError

__all__ = [
    "MPJPE", "PAMPJPE", "RTE", "WAMPJPE", "WMPJPE", "Accel", "AccelError", "Floating", "FootSliding", "GlobalMPJPE",
    "HeightVariance", "Jitter", "LimitExcess", "LimitViolation", "Penetration", "RootMPJPE", "SkatingRatio",
    "SuccessRate", "VelError", "measures", "score_rollouts", "summarise", "to_csv", "to_markdown",
]  # fmt: skip
