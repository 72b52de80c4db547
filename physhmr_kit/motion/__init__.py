"""Bodies in time: clips, kinematics, the library a tracker looks frames up in, demo motions, floor alignment, export.

Start with `clip.py`; `data_prep.sources` turns what a user names (demo, files, folders) into clips.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from physhmr_kit.motion.clip import CONTROL_FPS, Clip
    from physhmr_kit.motion.demo import demo_clip, demo_clips
    from physhmr_kit.motion.export import write_bvh
    from physhmr_kit.motion.grounding import ground
    from physhmr_kit.motion.kinematics import forward_kinematics, heading, hinge_kinematics
    from physhmr_kit.motion.library import MotionLibrary
    from physhmr_kit.motion.state import BodyState

__all__ = [
    "CONTROL_FPS", "BodyState", "Clip", "MotionLibrary", "demo_clip", "demo_clips", "forward_kinematics", "ground",
    "heading", "hinge_kinematics", "write_bvh",
]  # fmt: skip

_NAMES = {
    "clip": ("CONTROL_FPS", "Clip"),
    "demo": ("demo_clip", "demo_clips"),
    "export": ("write_bvh",),
    "grounding": ("ground",),
    "kinematics": ("forward_kinematics", "heading", "hinge_kinematics"),
    "library": ("MotionLibrary",),
    "state": ("BodyState",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str):
    # torch takes seconds to import; a `--help` that only needs the settings should not wait for it
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"physhmr_kit.motion.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
