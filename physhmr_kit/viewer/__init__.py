"""Visualisation: Rerun recordings that carry their layout, overlays on video, animations and still pictures.

Start with `recording.py`; `palette.py` defines the colours, which mean the same in every picture.
"""

from importlib import import_module

from physhmr_kit.viewer.palette import REFERENCE, SIMULATED

__all__ = ["REFERENCE", "SIMULATED", "filmstrip", "record_clip", "record_rollout", "show", "video_frames"]

_HOMES = {
    "filmstrip": "picture", "record_clip": "recording", "record_rollout": "recording", "show": "notebook", "video_frames": "frames",
}  # fmt: skip


def __getattr__(name: str):
    # Rerun and matplotlib take a second to import; a training run that records nothing should not wait for them
    if name in _HOMES:
        return getattr(import_module(f"physhmr_kit.viewer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
