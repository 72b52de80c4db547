"""The humanoid body: SMPL's 24 joints, their hinges and limits, the MJCF model, and the SMPL body model.

Start with `skeleton.py`; everything else in the kit uses its joint order and frames.
"""

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES, NUM_DOFS, NUM_JOINTS, PARENTS, STANDING

__all__ = [
    "BODY_NAMES", "JOINT_NAMES", "NUM_DOFS", "NUM_JOINTS", "PARENTS", "STANDING", "Humanoid",
    "dof_limits", "dof_names", "dof_to_rotation", "foot_corners", "rotation_to_dof",
]  # fmt: skip
