"""Feed-forward PD targets of whole motion libraries, from the joint torques that the motions need (`motion.inverse_dynamics`).

A PD drive carries a load only with a position error: a hip that needs 100 N m stays 0.125 rad behind its target. With the
torque known in advance, the target leads by tau / kp.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.actions import reference_targets
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import MotionLibrary, Motions

_TARGETS: WeakKeyDictionary[Motions, tuple[tuple, torch.Tensor]] = WeakKeyDictionary()
"""Cache: inverse dynamics of a library takes seconds, and every evaluation of a run tracks the same one."""


def library_targets(library: MotionLibrary, humanoid: Humanoid) -> torch.Tensor:
    """`actions.reference_targets` of every frame of a library, in its packed order (`MotionLibrary.rows`): (F, 69) rad.

    Rows of clips that the library excludes (`MotionLibrary.only`) are 0.
    """
    body = _key(humanoid)
    cached = _TARGETS.get(library.motions)
    if cached is None or cached[0] != body:
        packed = library.torques if body == _key(Humanoid.mean()) else None
        targets = torch.zeros(library.num_frames, NUM_DOFS)
        for c in range(library.num_clips):
            states = library.clip(c).to("cpu")  # MuJoCo computes there
            rows = library.span(c)
            torques = reference_torques(states, humanoid) if packed is None else packed[rows]
            targets[rows] = reference_targets(states.dof_pos, states.dof_vel, torques, humanoid)
        cached = _TARGETS[library.motions] = body, targets
    return cached[1]


def _key(humanoid: Humanoid) -> tuple:
    """Identifies a humanoid by its mass and bone offsets."""
    return humanoid.mass, humanoid.offsets.tolist()
