"""How far motions are followed without a policy, for several PD targets and rotor inertias.

    python benchmarks/open_loop.py demo ../shared/data/cmu/asfamc/02

Actions are zero, so that only targets and physics differ. Prints one row for each combination: the share of a clip followed
before the mean body distance exceeds 0.5 m (mean over clips), the share of all frames, the clips followed to the end, the
tracking error (E_g-mpjpe) over the frames followed, the mean body error in the first 25 frames, and the standard deviation of
the vertical contact force there (small for a body at rest). Half a minute on two cores.
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
    """`actions.reference_targets` without some of its terms."""

    def choose(dof_pos, dof_vel, tau, body):
        return reference_targets(dof_pos, dof_vel * lead, tau * torque, body)

    return choose


def main(specs: list[str]) -> None:
    library = MotionLibrary(load_clips(specs))
    no_action = torch.zeros(library.num_clips, 69)
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
            feedforward._TARGETS.clear()  # a cache of the targets of each library
            rollouts = track_clips(lambda obs: no_action, library, TrackingConfig(control=control))
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
