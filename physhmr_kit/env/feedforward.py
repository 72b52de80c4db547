"""Feed-forward: the joint torques a reference needs (`motion.inverse_dynamics`), as offsets of the PD targets.

A PD drive holds a load only by sagging: a hip that carries 100 N m stays 0.125 rad behind its target. Knowing the torque
beforehand, the target can lead by tau / kp.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env.actions import reference_targets
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import MotionLibrary, Motions


def library_targets(library: MotionLibrary, humanoid: Humanoid) -> torch.Tensor:
    """`actions.reference_targets` of every frame of a library, in its packed order (`MotionLibrary.rows`): (F, 69) rad.

    Rows of clips that the library does not hold (`MotionLibrary.only`) are 0.
    """
    body = _body(humanoid)
    known = _TARGETS.get(library.motions)
    if known is None or known[0] != body:
        packed = library.torques if body == _body(Humanoid.mean()) else None
        targets = torch.zeros(library.num_frames, NUM_DOFS)
        for c in range(library.num_clips):
            states = library.clip(c).to("cpu")  # MuJoCo computes there
            rows = library.span(c)
            torques = reference_torques(states, humanoid) if packed is None else packed[rows]
            targets[rows] = reference_targets(states.dof_pos, states.dof_vel, torques, humanoid)
        known = _TARGETS[library.motions] = body, targets
    return known[1]


def _body(humanoid: Humanoid) -> tuple:
    """What tells humanoids apart, here."""
    return humanoid.mass, humanoid.offsets.tolist()


_TARGETS: WeakKeyDictionary[Motions, tuple[tuple, torch.Tensor]] = WeakKeyDictionary()
"""Inverse dynamics of a library takes seconds, and every evaluation of a run follows the same one."""
