"""Measures what adaptation to one video (`reconstruct --adapt MINUTES`) gains, on clips filmed by a synthetic camera.

    python benchmarks/adaptation.py --minutes 2 --clips ../shared/data/cmu_more/bvh_motionbuilder/16_*

Training uses only the video, never the motion behind it. The table compares with that motion: the refined estimate without
physics, no policy (PD targets from the estimate), the policy, and the policy adapted to each video on which it fails (to all
videos with `--all`). A finished clip is stored in OUT and not run again with the same options, so an interrupted benchmark
continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from pathlib import Path

import torch

from data_prep.sources import load_library
from physhmr_kit.env import VisualLibrary, track_clips
from physhmr_kit.evaluate import METHODS, find_follower
from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.followed import score_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.adaptation import adapt
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.files import write_text
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.vision.pretrained import load_encoder

ROWS = ("kinematic", "no policy", "before", "after")


def follow(policy, config, library: MotionLibrary, visual: VisualLibrary) -> dict:
    """Frames followed, success, and the mean error over these frames, by the rules of `evaluate`."""
    score = score_clips(track_clips(policy, library, config, visual))[0]
    return {"followed": score.followed, "success": score.success, "mm": score.tracking_mm}


def run_clip(library: MotionLibrary, visual: VisualLibrary, track, policy, config, options) -> dict:
    """The results of all `ROWS` on a library of one clip, its view, and the same view as a track."""
    truth, estimate = library.clip(0).body_pos, visual.estimates.library.clip(0).body_pos
    lost = F.fail_frame(estimate, truth)
    followed = len(truth) if lost is None else max(lost, 1)
    mm = float(F.e_g_mpjpe(estimate[:followed], truth[:followed]).mean())
    before = follow(policy, config, library, visual)
    row = {
        "clip": library.names[0],
        "frames": len(truth),
        "kinematic": {"followed": followed, "success": lost is None, "mm": mm},
        "no policy": follow(lambda obs: torch.zeros(1, 69), config, library, visual),
        "before": before,
        "after": before,
    }
    if options.all or not before["success"]:
        adapted = adapt(policy, track, options.minutes)
        row["after"] = follow(adapted.policy, config, library, visual) | {"samples": adapted.samples}
    return row


def report(rows: list[dict], minutes: float) -> str:
    """A table of totals and a table with a row for each clip."""
    frames = sum(r["frames"] for r in rows)
    totals = []
    for name in ROWS:
        found = [r[name] for r in rows]
        followed = sum(f["followed"] for f in found)
        mm = sum(f["mm"] * f["followed"] for f in found) / followed
        label = f"after, {minutes:g} min each" if name == "after" else name
        success = f"{sum(f['success'] for f in found)}/{len(rows)}"
        totals.append((label, success, f"{100 * followed / frames:.0f} %", f"{mm:.1f}"))
    clips = [
        (r["clip"], *(f"{100 * r[n]['followed'] / r['frames']:.0f} %, {r[n]['mm']:.0f} mm" for n in ROWS)) for r in rows
    ]
    samples = [r["after"]["samples"] for r in rows if "samples" in r["after"]]
    parts = [markdown_table(("", "followed", "frames", "world error mm"), totals)]
    if samples:
        parts.append(f"{len(samples)} clips adapted, {statistics.median(samples):,.0f} control steps each (median)")
    return "\n\n".join([*parts, markdown_table(("clip: frames followed, error", *ROWS), clips)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", required=True, help="motions that the policy was not trained on")
    parser.add_argument("--minutes", type=float, default=2.0, help="training time for each video")
    parser.add_argument("--method", choices=METHODS[:2], default="two_stage", help="as in reconstruct")
    parser.add_argument("--weights", type=Path, help="of the policy; default: the bundled ones")
    parser.add_argument("--all", action="store_true", help="adapt to videos that are followed to the end as well")
    parser.add_argument("--seed", type=int, default=0, help="of cameras and noise")
    parser.add_argument("--out", type=Path, default=Path("runs/adaptation"))
    options = parser.parse_args(argv)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    found = find_follower(options.method, None, options.weights)
    assert found is not None
    policy, config, _ = found
    library, encoder = load_library(options.clips), load_encoder()
    asked = {key: str(getattr(options, key)) for key in ("method", "weights", "minutes", "all", "seed")}
    rows = []
    for i, name in enumerate(library.names):
        file = options.out / f"{name}.json"
        row = json.loads(file.read_text()) if file.exists() else {}
        if row.get("asked") != asked:
            clip = library.only([j == i for j in range(library.num_clips)])
            visual, (track,) = film_library(clip, encoder, 1, options.seed)
            row = run_clip(clip, visual, track, policy, config, options) | {"asked": asked}
            write_text(file, json.dumps(row))
        rows.append(row)
        print(row, flush=True)
    print(report(rows, options.minutes))


if __name__ == "__main__":
    main()
