"""What we look at: Rerun recordings with their layout inside, and still pictures.

Start with `recording.py`; `palette.py` holds the two colours that mean "reference" and "simulated" everywhere.
"""

from physhmr_kit.viewer.palette import REFERENCE, SIMULATED

__all__ = ["REFERENCE", "SIMULATED", "filmstrip", "record_clip", "record_rollout", "show", "video_frames"]

_HOMES = {
    "filmstrip": "picture", "record_clip": "recording", "record_rollout": "recording", "show": "notebook", "video_frames": "frames",
}  # fmt: skip


def __getattr__(name: str):
    # Rerun and matplotlib take a second to import; a training that records nothing should not wait for them
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"physhmr_kit.viewer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
