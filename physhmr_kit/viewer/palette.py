"""The colours of every picture and scene, as (red, green, blue) 0..255.

Reference and simulated body differ in brightness as well as in hue, so that colour-blind readers can tell them apart.
All colours are from Okabe and Ito, "Color Universal Design" (2008), except the greys.
"""

from __future__ import annotations

import numpy as np

REFERENCE = (230, 159, 0)
"""The reference motion, or an estimate of it: orange."""
GHOST = (*REFERENCE, 110)
"""The reference as a translucent body, visible where the simulated body deviates from it."""
SIMULATED = (0, 114, 178)
"""The simulated body: blue."""
CONTACT = (213, 94, 0)
"""Contact forces: vermilion."""
DETECTED = (0, 158, 115)
"""Confident detections and their rays: green; low confidence fades to `UNDETECTED`."""
UNDETECTED = (205, 205, 205)
"""Missing detections: grey."""
MIN_SHOWN = 0.05
"""Confidence below which a keypoint is not drawn."""
GRID = (196, 200, 204)
BACKGROUND = (246, 247, 248)
SERIES = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (120, 120, 120))
"""Curves of a plot, in this order."""


def by_confidence(confidence: np.ndarray) -> np.ndarray:
    """Colour of detections: confidence (...) in 0..1 -> (..., 3) uint8, from pale grey to green.

    Opaque, because Rerun draws translucent lines and points dark instead of faint.
    """
    share = np.clip(np.nan_to_num(np.asarray(confidence, np.float64)), 0, 1)[..., None]
    return ((1 - share) * np.array(UNDETECTED) + share * np.array(DETECTED)).round().astype(np.uint8)


def unit(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour with channels in 0..1, as matplotlib expects it."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
