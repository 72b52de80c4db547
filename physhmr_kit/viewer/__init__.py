"""Visualisation: Rerun recordings that carry their layout, overlays on video, animations and still pictures.

Start with `recording.py`; `palette.py` defines the colours, which mean the same in every picture.
"""

from physhmr_kit.utils.lazy import lazy_exports
from physhmr_kit.viewer.palette import REFERENCE, SIMULATED

__all__ = ["REFERENCE", "SIMULATED", "filmstrip", "record_clip", "record_rollout", "show", "video_frames"]

__getattr__ = lazy_exports(
    __name__,
    {
        "frames": ("video_frames",),
        "notebook": ("show",),
        "picture": ("filmstrip",),
        "recording": ("record_clip", "record_rollout"),
    },
)
