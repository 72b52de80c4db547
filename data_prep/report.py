"""Report how well captured motion is retargeted: `python -m data_prep.report PATHS... [--csv FILE]`.

For every .amc and .bvh below the paths: feet before and after grounding, limb directions, heading and path compared with the
source, tilt of the soles, hinges beyond their limits. Prints medians over the clips of each folder, in Markdown; --csv writes a
row for each clip. A capture that teleports is cut as on import, and each part is a clip.

"Before" is the retargeted clip with the source's own floor; "after" is what `load_clips` returns, at the source's
rate. Stance, and so sliding and tilt, is found once, in the levelled clip, by the rule of `physhmr_kit.motion.soles`.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import torch

from data_prep import bvh, cmu
from data_prep.imported import without_teleports
from data_prep.importing import Parser
from data_prep.named import find_motion_files
from data_prep.retargeting.compare import differences, limb_direction_error
from data_prep.retargeting.lean import stand_over_feet
from data_prep.retargeting.retarget import beyond_limits, leg_length, retarget
from data_prep.retargeting.source import SourceMotion, mend_elbows, z_up
from data_prep.sources import with_progress
from physhmr_kit.body.skeleton import mean_offsets, rest_joints
from physhmr_kit.cli import run
from physhmr_kit.metrics.feasible import ankles_apart, beyond_support
from physhmr_kit.motion.grounding import level, plant_feet, settle_feet, stance_of
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.overlap import self_overlap
from physhmr_kit.motion.soles import measure_soles
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.utils.markdown import markdown_table

COLUMNS = {
    "folder": "", "clip": "", "frames": "", "seconds": "s", "fps": "Hz",
    "penetration before": "mm", "penetration after": "mm", "sliding before": "cm/s", "sliding after": "cm/s",
    "limb error": "deg", "head-up": "deg", "heading": "deg", "path": "%", "roll before": "deg", "roll": "deg", "pitch before": "deg", "pitch": "deg",
    "stance": "%", "limits before": "%", "limits after": "%",
    "ankles apart, source": "cm", "ankles apart": "cm", "overlap": "%", "off balance": "%", "note": "",
}  # fmt: skip
"""Columns of the CSV and their units; see `describe_clip`."""


def read_source(path: Path) -> SourceMotion:
    """The motion of an .amc or .bvh file on its own skeleton."""
    return (cmu if path.suffix.lower() == ".amc" else bvh).read_source(path)


def describe_file(path: Path, folder: str) -> list[tuple[dict, dict[str, torch.Tensor]]]:
    """`describe_clip` of each part of a file that an import would keep; `folder` is its group in the table.

    Raises:
        KitError: the file cannot be imported.
    """
    parts, _ = without_teleports(read_source(path), path)
    described = [describe_clip(part) for part in parts]
    return [({"folder": folder, **row}, errors) for row, errors in described]


def describe_clip(source: SourceMotion) -> tuple[dict, dict[str, torch.Tensor]]:
    """One row of the table, and the limb direction errors behind it (limb -> (T, sides) rad).

    Penetration is the depth of the deepest sole corner, mean over all frames; sliding the mean speed of the contact in
    stance; roll and pitch the median tilt of the soles in stance, `before` meaning before feet were settled; limb error
    the median over frames and limbs; head-up, heading and path as in `data_prep.retargeting.compare`; limits the share of (frame, hinge)
    pairs beyond `dof_limits`; ankles apart the median distance along the hips while walking, in the source (scaled by leg
    length) and on the humanoid; overlap the share of frames at 30 Hz in which shapes of the body overlap by more than 1 cm;
    off balance the share of frames with a foot down in which the zero-moment point is more than 5 cm beyond the soles
    (`physhmr_kit.metrics.feasible`).
    """
    raw = retarget(source)
    levelled = level(raw)
    stance = stance_of(levelled)
    clip = stand_over_feet(plant_feet(settle_feet(levelled, stance), stance))
    before, settling, after = (measure_soles(c, stance) for c in (raw, levelled, clip))
    errors, differs = limb_direction_error(clip, source), differences(clip, source)
    mended = mend_elbows(source)[1]
    states = MotionLibrary([clip]).clip(0)
    beyond = beyond_support(states)
    scale = leg_length(rest_joints(mean_offsets())) / leg_length(source.rest)
    source_pos = z_up(source.pos * scale)
    row = {
        "clip": source.name,
        "frames": len(clip),
        "seconds": clip.duration,
        "fps": clip.fps,
        "penetration before": before.penetration * 1e3,
        "penetration after": after.penetration * 1e3,
        "sliding before": before.sliding * 1e2,
        "sliding after": after.sliding * 1e2,
        "limb error": math.degrees(torch.cat([e.flatten() for e in errors.values()]).median()),
        "head-up": differs["head-up"],
        "heading": differs["heading"],
        "path": 100 * differs["path"],
        "roll before": math.degrees(settling.roll),
        "roll": math.degrees(after.roll),
        "pitch before": math.degrees(settling.pitch),
        "pitch": math.degrees(after.pitch),
        "stance": 100 * float(stance.double().mean()),
        "limits before": _share_beyond(retarget(source, keep_limits=False)),
        "limits after": _share_beyond(clip),
        "ankles apart, source": 100 * float(ankles_apart(source_pos, source.fps).nanmedian()),
        "ankles apart": 100 * float(ankles_apart(states.body_pos, 30.0).nanmedian()),
        "overlap": 100 * float((self_overlap(states) > 0.01).double().mean()),
        "off balance": 100 * float((beyond[~beyond.isnan()] > 0.05).double().mean()),
        "note": f"{' and '.join(mended)} elbow bent backwards in the file: mended" if mended else "",
    }
    return row, errors


def _share_beyond(clip) -> float:
    return 100 * float((beyond_limits(clip) > 1e-3).double().mean())


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def make_table(rows: list[dict]) -> str:
    """Medians over the clips, in Markdown: a row for each measure, a column for each folder and one for all."""
    folders = list(dict.fromkeys(row["folder"] for row in rows))
    groups = [*([row for row in rows if row["folder"] == name] for name in folders), rows]
    lines = [["clips", *(str(len(group)) for group in groups)]]
    lines += [["repaired", *(str(sum(bool(row["note"]) for row in group)) for group in groups)]]
    for name, unit in COLUMNS.items():
        if name not in ("folder", "clip", "note"):
            lines.append([f"{name} ({unit})" if unit else name, *(_cell(_median(group, name)) for group in groups)])
    return markdown_table(["median over clips", *folders, "all"], lines)


def _median(rows: list[dict], name: str) -> float:
    known = [row[name] for row in rows if not math.isnan(row[name])]
    return float(np.median(known)) if known else math.nan


def make_limb_table(errors: list[dict[str, torch.Tensor]]) -> str:
    """Limb by limb: median and 95th percentile of a clip, the median clip and the worst one, in Markdown."""
    rows = []
    for limb in errors[0]:
        middle = [math.degrees(e[limb].median()) for e in errors]
        high = [math.degrees(e[limb].quantile(0.95)) for e in errors]
        figures = float(np.median(middle)), max(middle), float(np.median(high)), max(high)
        rows.append([limb, *map(_cell, figures)])
    header = ["limb (deg)", "median", "median, worst clip", "95th percentile", "95th percentile, worst clip"]
    return markdown_table(header, rows)


def _folder(file: Path, asked: str) -> str:
    """The group of a file in the table: its folder, relative to the given path's parent."""
    root = Path(asked)
    return file.parent.name if file == root else str(Path(root.name) / file.parent.relative_to(root))


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.report`."""
    parser = Parser("report", __doc__)
    parser.add_argument("paths", nargs="+", help=".amc or .bvh files, or folders searched for them")
    parser.add_argument("--csv", metavar="FILE", help="write a row for each clip")
    options = parser.parse_args(argv)

    files = {
        file: _folder(file, path)
        for path in options.paths
        for file in find_motion_files(path)
        if file.suffix.lower() in (".amc", ".bvh")
    }
    if not files:
        raise KitError(f"{', '.join(options.paths)}: no .amc or .bvh files there")
    described = []
    for file, folder in with_progress(files.items(), len(files), "comparing"):
        try:
            described += describe_file(file, folder)
        except KitError as fault:
            print(f"skipped: {fault}", file=sys.stderr)
    if not described:
        raise KitError(f"none of {len(files)} files can be used")
    rows, errors = [row for row, _ in described], [error for _, error in described]
    print(make_table(rows), make_limb_table(errors), sep="\n\n")
    if options.csv:
        with atomic(options.csv) as part, open(part, "w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, list(COLUMNS))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
