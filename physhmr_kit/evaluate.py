"""`python -m physhmr_kit.evaluate --stage expert --clips demo PATH...`: how well a policy follows motions, clip by clip.

Every clip is followed once from its first frame by the mean action, all clips side by side. A student sees
each clip through a synthetic camera and a synthetic detector, drawn with the seed: the same seed gives the same views.

With --push N it is the push test instead: every clip several times, each time one push of N newtons at the chest, in a random
horizontal direction at a random moment; the table says how often the body stayed up and came back.

With --benchmark NAME --data FOLDER it is a data set of filmed people with the truth, by the rules of a family of papers, and with
--plausibility FOLDER it scores the motions of any tool without a truth (docs/benchmarks.md).
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
"""What makes a motion of a video: a student, an expert on the refined estimate, that estimate itself. Each one's baselines come after it."""

STUDENT = "finetune"
"""Stage of the student that follows videos where none is named: the better one on motions that neither was trained on (docs/results.md)."""


def find_policy(stage: str, given: Path | None) -> tuple[Policy, TrackingConfig, dict]:
    """A stage's policy (from a file, a run folder, or the bundled one), the episode it acts in, and the settings in its file.

    Raises:
        KitError: no weights, not weights, or those of another stage.
    """
    from physhmr_kit.learning.storage import read_weights
    from physhmr_kit.stages.build import find_weights, read_policy

    path = find_weights(stage, given)
    settings = read_weights(path)[1]
    if settings.get("stage", stage) != stage:
        raise KitError(
            f"{path}: weights of stage '{settings['stage']}', not of '{stage}'; take --stage {settings['stage']}"
        )
    policy = read_policy(stage, path)
    return policy, TrackingConfig(groups=policy.groups, control=policy.control), settings


def two_stage(policy: Policy) -> tuple[Policy, TrackingConfig]:
    """An expert that follows the refined estimate instead of the reference: PhysHMR's two-stage baseline.

    Raises:
        KitError: the policy is a student, which knows no reference.
    """
    if "reference" not in policy.groups:
        raise KitError("two stages are an expert that follows the refined estimate; take --stage expert")
    policy = policy.reading([ESTIMATES.get(group, group) for group in policy.groups])
    return policy, TrackingConfig(groups=policy.groups, control=policy.control)


def student_stage(weights: Path | None) -> str:
    """The stage that a student's weights come from; `STUDENT` where none are given.

    Raises:
        KitError: no weights, or not weights.
    """
    from physhmr_kit.learning.storage import read_weights
    from physhmr_kit.stages.build import find_weights

    stage = STUDENT if weights is None else read_weights(find_weights(STUDENT, weights))[1].get("stage")
    return stage if stage in STAGES[1:] else STUDENT


def find_follower(method: str, stage: str | None, weights: Path | None) -> tuple[Policy, TrackingConfig, dict] | None:
    """The policy by which a method follows a video, its episode and the settings in its file; None for the refined estimate alone.

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
    """Follow every clip once, with a progress bar on stderr."""
    from physhmr_kit.env import track_clips

    with cli.progress_bar(f"{library.num_clips} clips", int(library.lengths.max())) as progress:
        return track_clips(policy, library, config, _views(tracks, library), simulator, substeps, progress, device)


def no_policy(rollouts: list[Rollout]) -> str:
    """The baseline of a table in one line: the same targets with every action at zero."""
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
    """Follow every clip several times, pushed once each time, with a progress bar on stderr; see `push_clips`."""
    from physhmr_kit.env.recovery import push_clips

    with cli.progress_bar(f"{library.num_clips} clips x {test.pushes} pushes", int(library.lengths.max())) as progress:
        return push_clips(policy, library, config, test, _views(tracks, library), simulator, substeps, progress, device)


def _zero(obs):
    """The action of no policy, whatever it observes."""
    some = next(iter(obs.values()))
    return some.new_zeros(len(some), 69)


def _views(tracks: list[VisualTrack] | None, library: MotionLibrary):
    from physhmr_kit.env import VisualLibrary

    return VisualLibrary([[track] for track in tracks], library.lengths) if tracks else None


def report(rollouts: list[Rollout], title: str, notes: list[str]) -> tuple[str, str]:
    """Print the table (drawn in a terminal, Markdown elsewhere) and return it as Markdown and CSV."""
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
    """Print the push test's table, one row for each clip, and return it as Markdown, and every push as CSV."""
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
        "stayed up: mean distance of 20 bodies never above 0.5 m (PHC). recovered: and over the last 0.5 s below "
        f"{BACK_DISTANCE:g} m on average. unpushed: whether the clip is tracked, adrift or lost by these rules without a push.",
        f"back within: seconds from the end of a push until that distance stays below {CLOSE_DISTANCE:g} m, mean and slowest of "
        "those that recovered. largest: the largest such distance after a push, mean and worst of the same.",
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
    """Write <clip>.npz for `view`, and <clip>_track.npz where the policy has a camera.

    Rollouts of one clip follow one another, as many for each track.
    """
    for i, rollout in enumerate(rollouts):
        rollout.save(folder / f"{rollout.name}.npz")
        if tracks:
            tracks[i * len(tracks) // len(rollouts)].save(folder / f"{rollout.name}_track.npz")


def _parser():
    parser = cli.make_parser("evaluate", __doc__)
    parser.add_argument(
        "--stage",
        choices=STAGES,
        help="which stage's policy; with --benchmark the student's, by default that of --weights or finetune",
    )
    parser.add_argument(
        "--weights", type=Path, help="a .safetensors file or a run folder; the bundled weights by default"
    )
    parser.add_argument(
        "--two_stage",
        action="store_true",
        help="show an expert the refined estimate through a synthetic camera instead of the reference",
    )
    parser.add_argument(
        "--clips",
        nargs="+",
        default=["demo"],
        help="'demo', 'demo:NAME', files (.npz, .bvh, .amc), folders or packed libraries",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at a folder's first file that is refused; it is skipped otherwise"
    )
    parser.add_argument(
        "--skip_unsupported",
        action="store_true",
        help="leave out and list the clips that sit, climb or hang on what is not there",
    )
    parser.add_argument(
        "--held_out",
        type=int,
        default=0,
        help="only the clips that `fit --held_out N` keeps out of training; 0 for all",
    )
    parser.add_argument("--fold", type=int, default=0, help="which of the N parts, as in `fit --fold`")
    parser.add_argument("--simulator", choices=SIMULATORS, default="auto", help="which simulator")
    parser.add_argument("--device", help="where it computes; its own choice by default")
    parser.add_argument("--encoder", type=Path, help="an encoder's .safetensors; the bundled one by default")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the synthetic cameras, the detector's noise and the pushes"
    )
    parser.add_argument(
        "--push", type=float, help="the push test: newtons at the chest, in a random horizontal direction"
    )
    parser.add_argument("--push_seconds", type=float, default=0.1, help="how long a push lasts")
    parser.add_argument("--pushes", type=int, default=8, help="rollouts of each clip, one push in each")
    parser.add_argument("--benchmark", choices=NAMES, help="a set of filmed people with the truth, in place of --clips")
    parser.add_argument(
        "--data", type=Path, help="of --benchmark: the set as downloaded, or as its data_prep command wrote it"
    )
    parser.add_argument(
        "--method", choices=METHODS, default="physics", help="of --benchmark; its baselines come with it"
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOL_NAMES, help="of --benchmark: whose rules; the set's usual ones by default"
    )
    parser.add_argument(
        "--keypoints", type=Path, help="of --benchmark: a detector's, NAME.npz for each, in place of the set's own"
    )
    parser.add_argument(
        "--pictures", action="store_true", help="of --benchmark: a picture of each sequence beside its motion"
    )
    parser.add_argument(
        "--out", type=Path, help="of --benchmark: results and tables, taken up again after a stop; out/NAME by default"
    )
    parser.add_argument(
        "--plausibility", type=Path, help="score these motions without a truth: a file, a folder, a tool's output"
    )
    parser.add_argument(
        "--floor",
        choices=("zero", "found"),
        default="zero",
        help="of --plausibility: at z = 0, or where each body stands",
    )
    parser.add_argument("--csv", type=Path, help="write every measure of every clip here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--save", type=Path, help="write the rollouts into this folder, to be viewed")
    return parser


def _library(args) -> MotionLibrary:
    from data_prep.sources import load_library
    from physhmr_kit.motion.split import is_held_out

    library = load_library(args.clips, args.strict, args.skip_unsupported)
    wanted = [not args.held_out or is_held_out(name, args.held_out, args.fold) for name in library.names]
    if not any(wanted):
        raise KitError(f"none of the clips is in part {args.fold} of {args.held_out}; nothing to evaluate")
    return library.only(wanted)


def _benchmark(args) -> int:
    from physhmr_kit.benchmark.command import run_benchmark
    from physhmr_kit.stages.build import find_weights
    from physhmr_kit.vision.pretrained import BUNDLED

    if args.data is None:
        raise KitError("--benchmark needs --data: the set's folder, as downloaded or as its data_prep command wrote it")
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
        if config.control != "absolute":  # zero actions follow its targets
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
