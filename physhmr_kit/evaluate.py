"""`python -m physhmr_kit.evaluate --stage expert --clips demo PATH...`: evaluates how well a policy tracks motions, clip by clip.

Each clip is one rollout from its first frame with the mean action, all clips in parallel. A student observes each clip
through a synthetic camera and a synthetic detector; the same seed gives the same views.

With --push N it runs a push test: several rollouts of every clip, each with one push of N newtons at the chest, in a random
horizontal direction at a random time; the table shows how often the body stayed up and recovered.

With --benchmark NAME --data FOLDER it evaluates on a video data set with ground truth, by the protocol of a family of papers.
With --plausibility FOLDER it scores the motions of any tool without ground truth (docs/benchmarks.md).
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.named import check_named
from physhmr_kit import cli
from physhmr_kit.benchmark import NAMES, PROTOCOL_NAMES
from physhmr_kit.env.settings import ESTIMATE_GROUPS, ESTIMATES, VISUAL_GROUPS, TrackingConfig
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator
from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:  # whatever needs torch is imported where it is used, so that --help answers at once
    from physhmr_kit.env import Rollout
    from physhmr_kit.env.recovery import PushTest, Recovery
    from physhmr_kit.env.rollout import Policy as Acting
    from physhmr_kit.learning.networks import Policy
    from physhmr_kit.motion.library import MotionLibrary
    from physhmr_kit.vision.track import VisualTrack

STAGES = ("expert", "distill", "finetune")
"""Stages that end in a policy."""

METHODS = ("physics", "two_stage", "kinematic")
"""Methods to reconstruct a video: a student, an expert on the refined estimate, that estimate. The baselines of each come after it."""

STUDENT = "finetune"
"""Default stage of the student for videos: the better one on motions that neither was trained on (docs/results.md)."""


def find_policy(stage: str, given: Path | None) -> tuple[Policy, TrackingConfig, dict]:
    """Load a stage's policy (a file, a run folder, or the bundled one); returns it, its episode settings and the header of its file.

    Raises:
        KitError: no weights, not weights, or weights of another stage.
    """
    from physhmr_kit.learning.storage import read_weights
    from physhmr_kit.stages.build import find_weights, read_policy

    path = find_weights(stage, given)
    settings = read_weights(path)[1]
    if settings.get("stage", stage) != stage:
        found = settings["stage"]
        raise KitError(f"{path}: weights of stage '{found}', not of '{stage}'; use --stage {found}")
    policy = read_policy(stage, path)
    return policy, TrackingConfig(groups=policy.groups, control=policy.control), settings


def two_stage(policy: Policy) -> tuple[Policy, TrackingConfig]:
    """An expert that tracks the refined estimate instead of the reference: PhysHMR's two-stage baseline.

    Raises:
        KitError: the policy is a student, which does not observe a reference.
    """
    if "reference" not in policy.groups:
        raise KitError("two stages are an expert that tracks the refined estimate; use --stage expert")
    policy = policy.reading([ESTIMATES.get(group, group) for group in policy.groups])
    return policy, TrackingConfig(groups=policy.groups, control=policy.control)


def student_stage(weights: Path | None) -> str:
    """The stage of a student's weights; `STUDENT` if none are given.

    Raises:
        KitError: no weights, or not weights.
    """
    from physhmr_kit.learning.storage import read_weights
    from physhmr_kit.stages.build import find_weights

    stage = STUDENT if weights is None else read_weights(find_weights(STUDENT, weights))[1].get("stage")
    return stage if stage in STAGES[1:] else STUDENT


def find_follower(method: str, stage: str | None, weights: Path | None) -> tuple[Policy, TrackingConfig, dict] | None:
    """The policy of a method for videos, its episode settings and the header of its file; None for 'kinematic'.

    Args:
        stage: of the student, for 'physics'; that of its weights when None. weights: of the student or, for 'two_stage', the expert.
    """
    if method == "kinematic":
        return None
    if method == "physics":
        return find_policy(stage or student_stage(weights), weights)
    expert, _, settings = find_policy("expert", weights)
    return *two_stage(expert), settings


def evaluate(
    policy: Acting,
    config: TrackingConfig,
    library: MotionLibrary,
    tracks: list[VisualTrack] | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
) -> list[Rollout]:
    """One rollout of every clip, with a progress bar on stderr."""
    from physhmr_kit.env import track_clips

    with cli.progress_bar(f"{library.num_clips} clips", int(library.lengths.max())) as progress:
        return track_clips(policy, library, config, _views(tracks, library), simulator, substeps, progress, device)


def no_policy(rollouts: list[Rollout]) -> str:
    """The baseline of a table in one line: the same PD targets with zero actions."""
    from physhmr_kit.metrics import summarise

    whole, successful = summarise(rollouts)
    of_successful = f" ({successful['tracking_mm']:.1f} mm over the successful clips)" if successful["frames"] else ""
    return f"no policy, the same targets: {whole['outcome']}, {whole['tracking_mm']:.1f} mm{of_successful}"


def evaluate_pushed(
    policy: Policy,
    config: TrackingConfig,
    library: MotionLibrary,
    test: PushTest,
    tracks: list[VisualTrack] | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
) -> tuple[list[Rollout], list[Recovery]]:
    """Several rollouts of every clip with one push each, with a progress bar on stderr; see `push_clips`."""
    from physhmr_kit.env.recovery import push_clips

    with cli.progress_bar(f"{library.num_clips} clips x {test.pushes} pushes", int(library.lengths.max())) as progress:
        return push_clips(policy, library, config, test, _views(tracks, library), simulator, substeps, progress, device)


def _zero(obs):
    """A policy whose actions are zero."""
    some = next(iter(obs.values()))
    return some.new_zeros(len(some), 69)


def _views(tracks: list[VisualTrack] | None, library: MotionLibrary):
    from physhmr_kit.env import VisualLibrary

    return VisualLibrary([[track] for track in tracks], library.lengths) if tracks else None


def report(rollouts: list[Rollout], title: str, notes: list[str]) -> tuple[str, str]:
    """Print the table (with rich in a terminal, else as Markdown) and return it as Markdown and CSV."""
    from physhmr_kit.metrics import score_rollouts, summarise, to_csv, to_markdown
    from physhmr_kit.metrics.table import NOTES, rich_table

    rows, closing = score_rollouts(rollouts), summarise(rollouts)
    lost = [f"{row['clip']} {row['outcome']}" for row in rows if not row["success"]]
    words = [*notes, f"not tracked to the end: {'; '.join(lost) if lost else 'none'}"]
    markdown = to_markdown(rows, closing, title) + "".join(f"- {word}\n" for word in words)
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(rich_table(rows, closing, title))
        for note in (*NOTES, *words):
            console.print(f"- {note}", highlight=False)
    else:
        print(markdown)
    return markdown, to_csv(rows, closing)


def report_pushes(recoveries: list[Recovery], test: PushTest, title: str, notes: list[str]) -> tuple[str, str]:
    """Print the table of the push test, one row for each clip; returns it as Markdown, and every push as CSV."""
    from physhmr_kit.env.recovery import BACK_DISTANCE, CLOSE_DISTANCE
    from physhmr_kit.metrics import to_csv
    from physhmr_kit.utils.markdown import markdown_table

    clips = list(dict.fromkeys(found.clip for found in recoveries))
    rows = [_push_row(clip, [found for found in recoveries if found.clip == clip]) for clip in clips]
    rows.append(_push_row("**all clips**", recoveries))
    pushed = [found for found in recoveries if found.push]
    share = sum(found.recovered for found in pushed) / len(pushed)
    words = [
        f"{100 * share:.0f} % recover. Each push: {test.force:g} N for {test.steps / 30:.2f} s at the chest (spine3), random "
        f"horizontal direction, between 0.5 s and 1 s before the end; seed {test.seed}.",
        "stayed up: mean distance of 20 bodies never above 0.5 m (PHC). recovered: also below "
        f"{BACK_DISTANCE:g} m on average over the last 0.5 s. unpushed: whether the clip is tracked, adrift or lost by these rules without a push.",
        f"back within: seconds from the end of a push until that distance stays below {CLOSE_DISTANCE:g} m, mean and slowest of "
        "those that recovered. largest: the largest such distance after a push, mean and maximum of the same.",
        *notes,
    ]
    heads = ("clip", "unpushed", "pushes", "stayed up", "recovered", "back within s", "largest mm")
    table = markdown_table(heads, rows, "llr")
    markdown = "\n".join([f"# {title}", "", table, "", *(f"- {word}" for word in words), ""])
    print(markdown)
    return markdown, to_csv([asdict(found) for found in recoveries])


def _push_row(name: str, found: list[Recovery]) -> list[str]:
    def both(values: list[float], digits: int) -> str:
        known = [v for v in values if not math.isnan(v)]
        return f"{sum(known) / len(known):.{digits}f}, {max(known):.{digits}f}" if known else "-"

    calm, found = [f for f in found if not f.push], [f for f in found if f.push]
    fates = ["tracked" if f.recovered else "adrift" if f.stayed_up else "lost" for f in calm]
    unpushed = fates[0] if len(fates) == 1 else f"{fates.count('tracked')}/{len(fates)} tracked"
    back, largest = [f.back_s for f in found if f.recovered], [f.largest_mm for f in found if f.recovered]
    stayed, recovered = sum(f.stayed_up for f in found), sum(f.recovered for f in found)
    words = (name, unpushed, len(found), stayed, recovered, both(back, 1), both(largest, 0))
    return [str(word) for word in words]


def save_rollouts(rollouts: list[Rollout], tracks: list[VisualTrack] | None, folder: Path) -> None:
    """Write <clip>.npz for `view`, and <clip>_track.npz if there are tracks; each track has equally many rollouts in a row."""
    for i, rollout in enumerate(rollouts):
        rollout.save(folder / f"{rollout.name}.npz")
        if tracks:
            tracks[i * len(tracks) // len(rollouts)].save(folder / f"{rollout.name}_track.npz")


def _parser():
    parser = cli.make_parser("evaluate", __doc__)
    add = parser.add_argument
    stage = "stage of the policy; with --benchmark of the student, by default that of --weights, or finetune"
    add("--stage", choices=STAGES, help=stage)
    add("--weights", type=Path, help="a .safetensors file or a run folder; the bundled weights by default")
    two_stage = "let an expert observe the refined estimate through a synthetic camera instead of the reference"
    add("--two_stage", action="store_true", help=two_stage)
    clips = "'demo', 'demo:NAME', files (.npz, .bvh, .amc), folders or packed libraries"
    add("--clips", nargs="+", default=["demo"], help=clips)
    add("--strict", action="store_true", help="stop at the first file of a folder that is refused; skipped by default")
    unsupported = "exclude and list the clips that sit, climb or hang on objects, which are not simulated"
    add("--skip_unsupported", action="store_true", help=unsupported)
    held_out = "evaluate only the clips that `fit --held_out N` excludes from training; 0 for all"
    add("--held_out", type=int, default=0, help=held_out)
    add("--fold", type=int, default=0, help="which of the N parts, as in `fit --fold`")
    add("--simulator", choices=SIMULATORS, default="auto", help="simulator")
    add("--device", help="device of the simulator; its own choice by default")
    add("--encoder", type=Path, help="weights of the encoder (.safetensors); the bundled ones by default")
    add("--seed", type=int, default=0, help="seed of synthetic cameras, detector noise and pushes")
    add("--push", type=float, help="run the push test with this force at the chest, N")
    add("--push_seconds", type=float, default=0.1, help="duration of a push")
    add("--pushes", type=int, default=8, help="rollouts of each clip, with one push each")
    add("--benchmark", choices=NAMES, help="evaluate on a video data set with ground truth instead of --clips")
    add("--data", type=Path, help="for --benchmark: the data set as downloaded, or as written by its data_prep command")
    add("--method", choices=METHODS, default="physics", help="for --benchmark; its baselines are evaluated as well")
    add("--protocol", choices=PROTOCOL_NAMES, help="for --benchmark: the data set's usual protocol by default")
    add("--keypoints", type=Path, help="for --benchmark: folder with a detector's NAME.npz for each sequence")
    add("--pictures", action="store_true", help="for --benchmark: also draw a picture of each sequence")
    out = "for --benchmark: folder of results and tables, where a stopped run continues; out/NAME by default"
    add("--out", type=Path, help=out)
    plausibility = "score these motions without ground truth: a file, a folder, the output of a tool"
    add("--plausibility", type=Path, help=plausibility)
    floor = "for --plausibility: floor at z = 0, or found for each motion"
    add("--floor", choices=("zero", "found"), default="zero", help=floor)
    add("--csv", type=Path, help="write all metrics of every clip to this file")
    add("--markdown", type=Path, help="write the table to this file")
    add("--save", type=Path, help="write the rollouts to this folder, for `view`")
    return parser


def _library(args) -> MotionLibrary:
    from data_prep.sources import load_library
    from physhmr_kit.motion.split import is_held_out

    library = load_library(args.clips, args.strict, args.skip_unsupported)
    wanted = [not args.held_out or is_held_out(name, args.held_out, args.fold) for name in library.names]
    if not any(wanted):
        raise KitError(f"none of the clips is in part {args.fold} of {args.held_out}; there is nothing to evaluate")
    return library.only(wanted)


def _benchmark(args) -> int:
    from physhmr_kit.benchmark.command import run_benchmark
    from physhmr_kit.stages.build import find_weights
    from physhmr_kit.vision.pretrained import BUNDLED

    if args.data is None:
        raise KitError(
            "--benchmark needs --data: the data set's folder, as downloaded or as written by its data_prep command"
        )
    followers, weights = {}, {"encoder": args.encoder or BUNDLED}
    for method in METHODS[METHODS.index(args.method) :]:
        given = args.weights if method == args.method else None
        stage = "expert" if method == "two_stage" else args.stage or student_stage(given)
        followers[method] = find_follower(method, stage, given)
        if method != "kinematic":
            weights[method] = find_weights(stage, given)
    chosen = choose_simulator(args.simulator)
    print(chosen, file=sys.stderr)
    return run_benchmark(args, followers, weights, chosen.name)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    if args.plausibility:
        from physhmr_kit.benchmark.command import run_plausibility

        return run_plausibility(args.plausibility, args.floor == "found", args.csv, args.markdown)
    if args.benchmark:
        return _benchmark(args)
    if args.stage is None:
        raise KitError("give --stage, --benchmark or --plausibility (see python -m physhmr_kit.evaluate --help)")
    if args.save and args.save.exists() and not args.save.is_dir():
        raise KitError(f"{args.save}: is a file; --save names a folder")
    check_named(args.clips)
    from physhmr_kit.env.recovery import PushTest
    from physhmr_kit.stages.views import film_library
    from physhmr_kit.utils.files import write_text
    from physhmr_kit.vision.pretrained import load_encoder
    from physhmr_kit.vision.settings import KeypointNoise

    test = None if args.push is None else PushTest(args.push, args.push_seconds, args.pushes, args.seed)
    policy, config, settings = find_policy(args.stage, args.weights)
    if args.two_stage:
        policy, config = two_stage(policy)
    sees = any(group in (*VISUAL_GROUPS, *ESTIMATE_GROUPS) for group in policy.groups)
    encoder = load_encoder(args.encoder) if sees else None
    library = _library(args)
    tracks = film_library(library, encoder, 1, args.seed)[1] if encoder is not None else None
    print(choose_simulator(args.simulator), file=sys.stderr)
    substeps = int(settings.get("substeps", 4))
    world = (tracks, args.simulator, substeps, args.device)
    title = f"{'Two stages' if args.two_stage else f'Stage {args.stage}'} on {library.num_clips} clips"
    notes = [f"seen through one synthetic camera for each clip, seed {args.seed}; {KeypointNoise()}"] if sees else []
    if test:
        rollouts, recoveries = evaluate_pushed(policy, config, library, test, *world)
        markdown, table = report_pushes(recoveries, test, f"{title}, pushed", notes)
    else:
        rollouts = evaluate(policy, config, library, *world)
        if config.control != "absolute":  # then zero actions track as well
            notes.append(no_policy(evaluate(_zero, config, library, *world)))
        markdown, table = report(rollouts, title, notes)
    if args.csv:
        write_text(args.csv, table)
    if args.markdown:
        write_text(args.markdown, markdown)
    if args.save:
        save_rollouts(rollouts, tracks, args.save)
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
