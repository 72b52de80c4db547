"""Which clips can be followed at all: a search in the simulator beside the policy it starts from.

    python benchmarks/searched.py demo ../shared/data/cmu --copies 256

Follows every clip once with the policy alone and once with a search around it (`learning/search.py`): many copies of the body
vary what the policy does, the best go on. A clip that the search follows is within reach of this body and its drives, so
losing it is the policy's fault; one that even the search loses may ask for more than body, drives or floor can give, or for a
wider search. Prints a row for each clip and the totals. A quarter of an hour on two cores for 78 clips and 256 copies.
"""

from __future__ import annotations

import argparse

import torch

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingConfig, TrackingEnv, track_clips
from physhmr_kit.learning import load_policy
from physhmr_kit.learning.search import Search
from physhmr_kit.metrics.followed import score_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.stages.build import find_weights

WINDOW, BODIES = 4, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", default=["demo"])
    parser.add_argument("--weights", default="", help="of an expert; the bundled one by default")
    parser.add_argument("--copies", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    library = MotionLibrary(load_clips(options.clips))
    policy = load_policy(find_weights("expert", options.weights))
    config = TrackingConfig(groups=policy.groups, control=policy.control, termination="none", episode_length=0)
    alone = {s.clip: s for s in score_clips(track_clips(policy, library, config))}

    print("| clip | frames | policy alone | search |\n|---|---:|---:|---:|")
    generator = torch.Generator().manual_seed(options.seed)
    followed = frames = 0
    for clips in library.lengths.argsort(descending=True).split(BODIES):
        simulator = make_simulator("mujoco_cpu", num_envs=len(clips) * options.copies)
        env = TrackingEnv(library, simulator, config, autoreset="disabled")
        search = Search(env, policy, options.copies, generator, WINDOW, keep=1, matmul="medium")
        windows = -(-(int(library.lengths[clips].max()) - 1) // WINDOW)
        found = search.run(clips, torch.zeros_like(clips), windows)
        env.close()
        for clip, kept in zip(clips.tolist(), found.windows.tolist(), strict=True):
            length, name = int(library.lengths[clip]), library.names[clip]
            share = min(1.0, kept * WINDOW / (length - 1))
            followed, frames = followed + (share == 1), frames + share * length
            print(f"| {name} | {length} | {alone[name].share:.0%} | {share:.0%} |", flush=True)
    before = sum(s.success for s in alone.values())
    covered = sum(s.followed for s in alone.values()) / library.num_frames
    print(
        f"| **followed to the end** | {library.num_frames} | {before}/{library.num_clips} | {followed}/{library.num_clips} |"
    )
    print(f"| **frames** | | {covered:.0%} | {frames / library.num_frames:.0%} |")


if __name__ == "__main__":
    main()
