"""Runs `physhmr evaluate --benchmark` and `--plausibility` once the policies are loaded, and prints and writes the tables."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from physhmr_kit import cli
from physhmr_kit.benchmark.bodies import find_bodies
from physhmr_kit.benchmark.judge import judge, plausibility_report
from physhmr_kit.benchmark.sequences import BENCHMARKS, Method, Run, evaluate_set
from physhmr_kit.benchmark.tables import write_tables
from physhmr_kit.metrics.protocols import PROTOCOLS, WHAM
from physhmr_kit.motion.clip import Clip
from physhmr_kit.reconstruction.simulate import kinematic_estimate, simulate_track
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import write_text

Follower = tuple | None
"""Policy, episode settings and metadata of its file; None for the kinematic estimate."""


def run_benchmark(args, followers: Mapping[str, Follower], weights: Mapping[str, Path], simulator: str) -> int:
    """Evaluate a set, print its tables and write them beside the results.

    Args:
        args: the command's options. followers: by method; the requested one first, then its baselines.
        weights: weight files that the results depend on, by role. simulator: its name.
    """
    from physhmr_kit.vision.pretrained import load_encoder

    benchmark, protocol = BENCHMARKS[args.benchmark], PROTOCOLS[args.protocol or BENCHMARKS[args.benchmark].protocol]
    out = args.out or Path("out") / args.benchmark
    prepared = benchmark.open(args.data, out, args.keypoints)
    joints_only = any(entry["joint_set"] != "smpl24" for entry in prepared.entries)
    if joints_only and protocol is not WHAM:
        raise KitError(
            f"{prepared.title} has joints but no bodies, which protocol '{protocol.name}' needs; use --protocol wham"
        )
    genders = {Clip.load(prepared.folder / entry["clip"]).gender for entry in prepared.entries if entry.get("clip")}
    bodies = find_bodies(joints_only, genders, benchmark.lsp)
    settings = {
        "benchmark": args.benchmark,
        "joints": bodies.label,
        "simulator": simulator,
        "keypoints": prepared.keypoints,
    }
    settings |= {f"weights of {name}": f"{path.name} {_digest(path)}" for name, path in weights.items()}
    run = Run(
        prepared, protocol, bodies, load_encoder(args.encoder), {name: _method(f, args) for name, f in followers.items()}, out,
        settings, _draw if args.pictures else None,
    )  # fmt: skip
    started = time.monotonic()
    with cli.progress_bar(f"{len(prepared.entries)} sequences", len(prepared.entries)) as progress:
        results = evaluate_set(run, progress)
    title = f"{prepared.title}, {benchmark.split}: {', '.join(followers)} by protocol {protocol.name}"
    notes = [
        f"{bodies.label}.",
        f"keypoints: {prepared.keypoints}. camera: the set's own calibration; the person's size and floor contact are estimated.",
        *sorted({note + "." for entry in prepared.entries for note in entry["notes"]}),
    ]
    print(write_tables(results, protocol, benchmark.world and prepared.world, out, title, notes))
    print(f"wrote table.md, table.csv, table.tex and each motion to {out} in {time.monotonic() - started:.0f} s")
    return 0


def run_plausibility(folder: Path, found_floor: bool, csv: Path | None, markdown: Path | None) -> int:
    """Score the motions of a folder or file, print the table and optionally write it as CSV and Markdown.

    Raises:
        KitError: no motion can be read.
    """
    from data_prep.as_read import read_motions

    rows, refused = judge(read_motions(folder), found_floor)
    if not rows:
        raise KitError(f"{folder}: none of its {len(refused)} motions can be read; the first: {refused[0].refusal}")
    text, table = plausibility_report(rows, refused, f"Plausibility of {folder.name}", found_floor)
    print(text)
    if csv:
        write_text(csv, table)
    if markdown:
        write_text(markdown, text)
    return 0


def _method(found: Follower, args) -> Method:
    if found is None:
        return kinematic_estimate
    policy, config, settings = found
    substeps = int(settings.get("substeps", 4))
    return lambda track: simulate_track(policy, track, config, args.simulator, substeps, args.device)


def _draw(path: Path, rollout) -> None:
    from physhmr_kit.viewer.picture import filmstrip

    filmstrip(rollout, path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
