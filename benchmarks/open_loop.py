"""How far a body follows motions with no policy at all, for several PD targets and rotor inertias.

    python benchmarks/open_loop.py demo ../shared/data/cmu/asfamc/02

The action is held at zero, so what is compared is the targets and the physics alone. Prints one row for each combination:
the share of every clip followed before the mean body distance passes 0.5 m (mean over clips), the share of all frames, clips followed to their end, the tracking
error (E_g-mpjpe) over the frames followed, the mean body error in the first 25 frames, and the swing of the vertical load there (standard deviation from one control step to the
next; a body at rest should show little). Half a minute on two cores.
"""

import sys

import torch

from data_prep.sources import load_clips
from physhmr_kit.body import humanoid
from physhmr_kit.env import TrackingConfig, feedforward, track_clips
from physhmr_kit.env.actions import reference_targets
from physhmr_kit.metrics import summarise
from physhmr_kit.motion.library import MotionLibrary

EARLY = 25


def targets(lead: bool, torque: bool):
    """`actions.reference_targets` with some of its parts left out."""

    def choose(dof_pos, dof_vel, tau, body):
        return reference_targets(dof_pos, dof_vel * lead, tau * torque, body)

    return choose


def main(specs: list[str]) -> None:
    library = MotionLibrary(load_clips(specs))
    nothing = torch.zeros(library.num_clips, 69)
    print(f"{library.num_clips} clips: {', '.join(specs)}\n")
    print(
        "| targets | rotor inertia kg m² | share followed | frames followed | clips to the end | tracking mm | early error mm | load swing N |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    whole = {
        "reference": (False, False, "residual"),
        "+ velocity lead": (True, False, "residual"),
        "+ inverse dynamics": (True, True, "residual"),
        "+ virtual model": (True, True, "balanced"),
    }
    for armature in (0.02, 0.1):
        humanoid.ARMATURE = armature
        for name, (lead, torque, control) in whole.items():
            feedforward.reference_targets = targets(lead, torque)
            feedforward._TARGETS.clear()  # it keeps the targets of a library it has met
            rollouts = track_clips(lambda obs: nothing, library, TrackingConfig(control=control))
            share = sum(len(r) / r.length for r in rollouts) / len(rollouts)
            frames = sum(map(len, rollouts)) / sum(r.length for r in rollouts)
            early = [(r.simulated.body_pos - r.reference.body_pos)[:EARLY].norm(dim=-1).mean() for r in rollouts]
            swing = [r.contact_force[2:EARLY, :, 2].sum(1).std() for r in rollouts]
            print(
                f"| {name} | {armature} | {share:.2f} | {frames:.2f} | {sum(r.success for r in rollouts)} | "
                f"{summarise(rollouts)[0]['tracking_mm']:.1f} | "
                f"{1000 * sum(early) / len(early):.0f} | {sum(swing) / len(swing):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ["demo"])
