"""Bodies in time: clips, kinematics, the library a tracker looks frames up in, demo motions, floor alignment, export.

Start with `clip.py`; `data_prep.sources` turns what a user names (demo, files, folders) into clips.
"""

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
