"""Train all bundled weights from scratch, one after the other (`make weights`).

    python benchmarks/build_weights.py --list                  print the commands and their duration
    python benchmarks/build_weights.py --only encoder          train one of them
    python benchmarks/build_weights.py --short                 a test run of minutes

Each is a run in runs/STAGE/NAME. Interrupted runs are resumed and finished ones skipped, so repeat the command until all are
done. The weights are copied to the folder --out; the bundled files are not changed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from physhmr_kit import cli, fit
from physhmr_kit.utils.errors import KitError
from physhmr_kit.weights import average

MOTIONS = "--clips demo {data}/cmu {data}/cmu_more"
LEFT_OUT = "16_ 27_ 32_ 35_0 49_1"
"""Name prefixes of the clips that are kept for evaluation on unseen motion."""


@dataclass(frozen=True)
class Run:
    """A training run: name, stage, options, and approximate hours on two cores."""

    name: str
    stage: str
    options: str
    hours: float

    def arguments(self, data: Path, runs: Path) -> list[str]:
        """The arguments of `fit`."""
        paths = {"data": data, "runs": runs}
        return ["--stage", self.stage, "--name", self.name, "--runs", str(runs), *self.options.format(**paths).split()]


RUNS = (
    Run(
        "weights_encoder",
        "encoder",
        f"{MOTIONS} generated:150 --held_out 0 --leave_out 16_ 27_ 32_ 35_ 49_1 --frames_per_step 1152 --layers 6 "
        "--iterations 20000 --validate_every 1000",
        4,
    ),
    Run(
        "weights_tracker",
        "expert",
        "--clips demo {data}/cmu --hidden 1024 512 --num_envs 512 --minibatch_size 4096 --epochs 3 --gamma 0.98 --learning_rate 5e-5 "
        "--ema_decay 0.98 --push_force 120 --push_interval 200 --reward.feet 0.2 --iterations 4000 --validate_every 200",
        20,
    ),
    Run(
        "weights_noise",
        "expert",
        f"{MOTIONS} generated:66 --leave_out {LEFT_OUT} --init {{runs}}/expert/weights_tracker --noise.versions 5 --num_envs 512 "
        "--minibatch_size 4096 --epochs 2 --gamma 0.98 --learning_rate 5e-5 --desired_kl 0.03 --final_desired_kl 0.01 --critic_hidden 512 256 "
        "--critic_warmup 6 --ema_decay 0.98 --push_force 150 --push_interval 200 --reward.feet 0.2 --termination_distance 0.4 "
        "--first_frame_prob 0.1 --failure_weighted_prob 0.5 --pre_failure_prob 0.3 --iterations 420 --validate_every 70",
        1.6,
    ),
    Run(
        "weights_student",
        "distill",
        "--clips demo {data}/cmu/asfamc/02 --expert {runs}/expert.safetensors --encoder {runs}/encoder/weights_encoder/weights.safetensors "
        "--num_envs 256 --updates 24 --buffer_rollouts 40 --views 24 --iterations 250",
        0.3,
    ),
    Run(
        "weights_finetune",
        "finetune",
        f"{MOTIONS} generated:66 --leave_out {LEFT_OUT} --student estimate --expert {{runs}}/expert.safetensors "
        "--encoder {runs}/encoder/weights_encoder/weights.safetensors --views 2 --num_envs 512 --horizon 32 --minibatch_size 4096 --epochs 2 "
        "--gamma 0.98 --learning_rate 1e-4 --desired_kl 0.04 --final_desired_kl 0.01 --critic_warmup 8 --ema_decay 0.95 --std 0.05 "
        "--imitation_coef 0 --push_force 100 --push_interval 200 --termination_distance 0.5 --first_frame_prob 0.1 "
        "--failure_weighted_prob 0.5 --pre_failure_prob 0.3 --iterations 260 --validate_every 120 --patience 0",
        1.0,
    ),
)
"""In the order of their dependencies."""


def finished(run: Run, runs: Path) -> bool:
    """Whether a run has written its weights."""
    return (runs / run.stage / run.name / "weights.safetensors").is_file()


def train(run: Run, data: Path, runs: Path, short: bool) -> None:
    """Start or resume a run.

    Raises:
        KitError: the run stopped early; repeat the command to resume it.
    """
    folder = runs / run.stage / run.name
    if (folder / "checkpoints" / "last.ckpt").is_file():
        arguments = ["--stage", run.stage, "--resume", str(folder)]
    else:
        arguments = [*run.arguments(data, runs), *(_SHORT[run.stage] if short else [])]
    print(f"python -m physhmr_kit.fit {' '.join(arguments)}", flush=True)
    if fit.main(arguments) != 0 or not finished(run, runs):
        raise KitError(f"{folder}: stopped; repeat the command to resume")


_TINY = ["--clips", "demo:stand", "demo:squat", "--iterations", "2"]
_SHORT = {
    "encoder": [*_TINY, "--leave_out", "stand", "--frames_per_step", "192", "--validate_every", "1"],
    "expert": [*_TINY, "--num_envs", "8", "--minibatch_size", "64", "--validate_every", "1"],
    "distill": [*_TINY, "--num_envs", "8", "--views", "1"],
    "finetune": [*_TINY, "--num_envs", "8", "--views", "1", "--minibatch_size", "64"],
}
"""Options of a test run."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = cli.make_parser("weights.build", __doc__)
    parser.add_argument("--only", choices=[run.name.removeprefix("weights_") for run in RUNS], help="train one of them")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of cmu/ and cmu_more/")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--out", type=Path, default=Path("runs/weights"), help="output folder of the weights")
    parser.add_argument("--short", action="store_true", help="a test run of minutes, on two motions")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    args = parser.parse_args(argv)
    wanted = [run for run in RUNS if args.only in (None, run.name.removeprefix("weights_"))]
    if args.list:
        for run in wanted:
            print(f"# about {run.hours:g} hours on two cores")
            print(f"python -m physhmr_kit.fit {' '.join(run.arguments(args.data, args.runs))}")
        return 0
    for run in wanted:
        if run.stage in ("distill", "finetune") and not (args.runs / "expert.safetensors").is_file():
            experts = [str(args.runs / "expert" / name) for name in ("weights_tracker", "weights_noise")]
            average.main(["--weights", *experts, "--out", str(args.runs / "expert.safetensors")])
        if not finished(run, args.runs):
            train(run, args.data, args.runs, args.short)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, file in {
        "encoder": args.runs / "encoder" / "weights_encoder" / "weights.safetensors",
        "expert": args.runs / "expert.safetensors",
        "distill": args.runs / "distill" / "weights_student" / "weights.safetensors",
        "finetune": args.runs / "finetune" / "weights_finetune" / "weights.safetensors",
    }.items():
        if file.is_file():
            print(f"wrote {shutil.copyfile(file, args.out / f'{name}.safetensors')}")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
