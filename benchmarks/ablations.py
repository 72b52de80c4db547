"""The paper's ablations of inputs, training and control, beside a two-stage baseline, the kinematic estimate and no policy.

    python benchmarks/ablations.py --budget quick              short trainings, on motions the kit makes
    python benchmarks/ablations.py --budget full --clips demo ../shared/data/cmu --unseen ../shared/data/cmu_more
    python benchmarks/ablations.py --budget full --only training --seeds 5

Parts: *inputs* (distilled students with more and more observation groups), *training* (RL only, distilled only, distilled + RL)
and *control* (PhysHMR's absolute PD targets, or corrections to the refined estimate). The seed determines cameras, initial
weights and exploration. All variants of a seed are trained on the same views, and evaluated on the training clips from other
cameras and on unseen clips.

Results of a finished variant are stored in OUT/cells and reused, so repeat an interrupted command to continue; with the budget
'full', training resumes from its last checkpoint. Tables, and the paper's claims with our results, are printed and written to
OUT/ablations.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pytorch_lightning as pl
import torch

from data_prep.sources import load_library
from physhmr_kit import cli
from physhmr_kit.env import Rollout, TrackingConfig, VisualLibrary, track_clips
from physhmr_kit.env.rewards import power
from physhmr_kit.evaluate import two_stage
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import load_policy, save_policy
from physhmr_kit.metrics import summarise
from physhmr_kit.metrics.followed import frames_followed
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.runs.callbacks import LastCheckpoint
from physhmr_kit.simulation.cores import usable_cores
from physhmr_kit.simulation.registry import accelerator_of, choose_simulator
from physhmr_kit.stages.base import PolicyStage
from physhmr_kit.stages.build import find_weights, read_policy
from physhmr_kit.stages.data import VALIDATION_SEED, FilmedMotionDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import (
    PPO,
    Distillation,
    DistillConfig,
    FinetuneConfig,
    FinetunePPO,
    Simulation,
    StudentPolicy,
)
from physhmr_kit.stages.student import fresh_student
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import write_text
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.vision.pretrained import load_encoder

UNSEEN = ("16_*", "27_*", "32_*", "35_0*", "49_1*")
"""Clips of cmu_more/bvh_motionbuilder that the bundled encoder and expert were not trained on."""


@dataclass(frozen=True)
class Budget:
    """Training data and length of training."""

    clips: tuple[str, ...]
    unseen: tuple[str, ...]
    views: int
    """Cameras per clip."""
    num_envs: int
    hidden: tuple[int, ...]
    optim: Distillation
    distill: int
    """Iterations of distillation."""
    finetune: int
    """Iterations of fine-tuning after distillation."""
    critic_warmup: int
    minibatch_size: int
    """Of PPO."""
    checkpoint_every: int | None
    """Iterations between checkpoints; None for no checkpoints."""

    @property
    def rl_only(self) -> int:
        """Iterations of RL from scratch, with as many samples as distillation and fine-tuning together."""
        return self.finetune + round(self.distill * self.optim.horizon / FinetunePPO.horizon)


QUICK = Budget(
    clips=("demo",), unseen=("demo:reach", "demo:lunge", "demo:side_step", "demo:walk_in_place"),
    views=4, num_envs=64, hidden=(256, 256), optim=Distillation(updates=24, minibatch_size=256, learning_rate=1e-3),
    distill=30, finetune=12, critic_warmup=4, minibatch_size=1024, checkpoint_every=None,
)  # fmt: skip
FULL = Budget(
    clips=("demo", "generated:60"), unseen=("generated:20:1",),
    views=16, num_envs=256, hidden=(512, 512), optim=Distillation(updates=24, buffer_rollouts=40),
    distill=300, finetune=200, critic_warmup=10, minibatch_size=2048, checkpoint_every=20,
)  # fmt: skip


def budget(name: str) -> Budget:
    """The budget 'quick' or 'full'; the latter uses the motion capture in the folder PHYSHMR_DATA if it is set."""
    data = os.environ.get("PHYSHMR_DATA")
    if name == "quick" or not data:
        return QUICK if name == "quick" else FULL
    folder = Path(data) / "cmu_more" / "bvh_motionbuilder"
    unseen = sorted(str(path) for pattern in UNSEEN for path in folder.glob(pattern))
    if not unseen:
        raise KitError(f"{folder}: none of {', '.join(UNSEEN)}; name clips with --unseen, or unset PHYSHMR_DATA")
    clips = ("demo", *(str(Path(data) / part) for part in ("cmu", "cmu_more")), "generated:60")
    return replace(FULL, clips=clips, unseen=tuple(unseen))


@dataclass(frozen=True)
class Variant:
    """How a policy is obtained."""

    training: str = "distilled"
    """'distilled', 'rl' (from an untrained student) or 'distilled_rl' (from the distilled student of the same seed)."""
    groups: tuple[str, ...] = ()
    """Observation groups of a 'paper' student; empty: those of PhysHMR."""
    student: str = "paper"


_FEATURE = ("proprioception", "feature")
VARIANTS = {
    "feature": Variant(groups=_FEATURE),
    "root_orientation": Variant(groups=(*_FEATURE, "root_orientation")),
    "root_position": Variant(groups=(*_FEATURE, "root_orientation", "root_position")),
    "rays": Variant(groups=(*_FEATURE, "rays", "ray_confidence")),
    "all": Variant(),
    "rl": Variant("rl"),
    "distilled_rl": Variant("distilled_rl"),
    "estimate": Variant(student="estimate"),
}
"""The inputs are those of PhysHMR's released variants 77, 360, 66, 359 and 358 (humanoid_im.py), with 12 rays and their confidences."""

BASELINES = {
    "two_stage": "two stages: the expert on the refined estimate",
    "kinematic": "kinematic: the refined estimate, no physics",
    "no_policy": "no policy: targets of the refined estimate",
    "t_pose": "no policy: T-pose",
}

PARTS = {
    "inputs": {
        "feature": "feature",
        "root_orientation": "feature, root orientation",
        "root_position": "feature, root orientation, 3-D root position",
        "rays": "feature, rays",
        "all": "all: feature, root orientation, rays",
    },
    "training": {"rl": "RL only", "all": "distilled only", "distilled_rl": "distilled + RL"},
    "control": {"all": "paper: absolute targets", "estimate": "estimate: corrections to the refined estimate"},
}
"""Rows of each table: variant -> label."""

MEASURES = {
    "success": "success %", "frames": "frames followed %", "mpjpe_mm": "MPJPE mm", "pa_mpjpe_mm": "PA-MPJPE mm",
    "tracking_mm": "world mm", "foot_sliding_mm_per_frame": "foot sliding mm/frame",
    "height_variance_mm2": "height var. mm²", "jitter_10_m_per_s3": "jitter 10 m/s³", "power_w": "power W",
}  # fmt: skip
MORE_IS_BETTER = ("success", "frames")

SETS = {"seen": "training clips, other cameras", "unseen": "unseen clips"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and comparisons (better, worse, measure) that test it."""

    words: str
    pairs: tuple[tuple[str, str, str], ...]


CLAIMS = (
    Claim(
        "Rays ground the body in the world, without a 3-D root position.",
        (
            ("all", "root_orientation", "frames"),
            ("all", "root_orientation", "tracking_mm"),
            ("all", "root_position", "tracking_mm"),
        ),
    ),
    Claim("Distillation makes RL possible.", (("distilled_rl", "rl", "success"), ("distilled_rl", "rl", "frames"))),
    Claim(
        "RL improves on what was distilled.",
        (("distilled_rl", "all", "frames"), ("distilled_rl", "all", "foot_sliding_mm_per_frame")),
    ),
    Claim(
        "One policy beats two stages.",
        (
            ("distilled_rl", "two_stage", "frames"),
            ("distilled_rl", "two_stage", "pa_mpjpe_mm"),
            ("distilled_rl", "two_stage", "foot_sliding_mm_per_frame"),
        ),
    ),
)

NOTES = (
    "Mean and sample standard deviation over seeds; each seed has its own cameras, initial weights and exploration. The baselines use the same cameras.",
    "Errors, sliding, variance, jitter and power cover the frames until failure (kinematic: until it is 0.5 m off); a policy that fails early is measured on the easier first frames only.",
    "success: the mean distance of 20 bodies never exceeds 0.5 m (PHC), which a T-pose satisfies on some motions. samples: control steps of training.",
    "Unseen clips were not used to train the students; the bundled expert and encoder may have been trained on them (see their cards).",
)


# ---- data


class Films:
    """The clips of a budget seen by the cameras of one seed; computed on first access."""

    def __init__(self, budget: Budget, seed: int):
        self.budget, self.seed, self.encoder = budget, seed, load_encoder(None)

    @cached_property
    def unseen(self) -> MotionLibrary:
        """Clips that no student is trained on."""
        return load_library(list(self.budget.unseen))

    @cached_property
    def training(self) -> FilmedMotionDataModule:
        """Clips and views for training."""
        library = load_library(list(self.budget.clips))
        wanted = [name not in self.unseen.names for name in library.names]
        if not any(wanted):
            raise KitError("all --clips are among --unseen; give more --clips or fewer --unseen")
        library = library.only(wanted)
        return FilmedMotionDataModule(library, film_library(library, self.encoder, self.budget.views, self.seed)[0])

    @cached_property
    def sets(self) -> dict[str, tuple[MotionLibrary, VisualLibrary]]:
        """Clips and views for evaluation: one camera per clip, which is not used for training."""
        libraries = {"seen": self.training.library, "unseen": self.unseen}
        seed = self.seed + VALIDATION_SEED
        return {name: (clips, film_library(clips, self.encoder, 1, seed)[0]) for name, clips in libraries.items()}


# ---- evaluation


def score(rollouts: Sequence[Rollout]) -> dict[str, float | None]:
    """All `MEASURES`, pooled over the frames that were followed; None where undefined."""
    whole = summarise(list(rollouts))[0]
    figures = {key: float(whole[key]) for key in MEASURES if key in whole}
    figures["frames"] = 100 * whole["scored"] / whole["frames"]
    watts = [
        power(r.dof_torque[: frames_followed(r)[0]], r.simulated.dof_vel[: frames_followed(r)[0]]) for r in rollouts
    ]
    figures["power_w"] = float(torch.cat([w[1:] for w in watts]).mean())  # the first frame has no torques
    return {key: value if math.isfinite(value) else None for key, value in figures.items()}


def evaluate(policy: Callable, config: TrackingConfig, films: Films) -> dict[str, dict]:
    """Measures of a policy on both sets."""
    return {name: score(track_clips(policy, library, config, visual)) for name, (library, visual) in films.sets.items()}


def kinematic(library: MotionLibrary, visual: VisualLibrary) -> list[Rollout]:
    """Rollouts that consist of the refined estimates, without torques."""
    found = []
    for clip, name in enumerate(library.names):
        true, estimate = library.clip(clip), visual.estimates.library.clip(clip)
        frames = len(true)
        none = torch.full((frames, 69), math.nan)
        found.append(Rollout(name, true, estimate, torch.zeros(frames, 24, 3), none, {}, frames, True, None))
    return found


def zero_action(obs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Zero actions, i.e. no policy."""
    group = next(iter(obs.values()))
    return group.new_zeros(len(group), 69)


def baseline(name: str, expert: Policy, films: Films) -> dict[str, dict]:
    """Measures of a baseline of `BASELINES` on both sets."""
    if name == "kinematic":
        return {key: score(kinematic(*part)) for key, part in films.sets.items()}
    if name == "t_pose":
        return evaluate(zero_action, TrackingConfig(groups=("proprioception",), control="absolute"), films)
    policy, config = two_stage(expert)
    return evaluate(policy if name == "two_stage" else zero_action, config, films)


# ---- training


def fit(stage: PolicyStage, data: FilmedMotionDataModule, checkpoint: Path, every: int | None) -> None:
    """Train a stage; resumes from the checkpoint of an interrupted run, if there is one."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trainer = pl.Trainer(
        accelerator=accelerator_of(choose_simulator(stage.config.sim.simulator).name), devices=1,
        max_epochs=stage.config.iterations, limit_val_batches=0, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=every is not None, default_root_dir=checkpoint.parent,
        callbacks=[LastCheckpoint(checkpoint, every)] if every else [],
    )  # fmt: skip
    try:
        resumed = checkpoint if checkpoint.is_file() else None
        trainer.fit(stage, datamodule=data, ckpt_path=resumed, weights_only=True)
    finally:
        stage.teardown("fit")


def with_normaliser(student: Policy, config: FinetuneConfig, data: FilmedMotionDataModule) -> Policy:
    """An untrained student with observation statistics from one rollout: fine-tuning does not update them."""
    stage = FinetuneModule(config, None, student)
    device = "cpu" if accelerator_of(choose_simulator(config.sim.simulator).name) == "cpu" else "cuda"
    stage.to(device).open(data, device)
    student.norm.update(stage.collector.collect().policy_in)
    stage.teardown("fit")
    return student


def stage_of(
    variant: Variant, budget: Budget, seed: int, expert: Policy, films: Films, distilled: Path
) -> DistillModule | FinetuneModule:
    """The stage that trains a variant.

    Args:
        distilled: initial weights of 'distilled_rl'.
    """
    sim = Simulation(num_envs=budget.num_envs)
    student = StudentPolicy(variant.student, groups=variant.groups, hidden=budget.hidden)
    if variant.training == "distilled":
        return DistillModule(DistillConfig(budget.distill, seed, sim=sim, policy=student, optim=budget.optim), expert)
    ppo = FinetunePPO(critic_warmup=budget.critic_warmup, minibatch_size=budget.minibatch_size)
    if variant.training == "distilled_rl":
        config = FinetuneConfig(budget.finetune, seed, sim=sim, policy=replace(student, std=0.02), ppo=ppo)
        return FinetuneModule(config, expert, load_policy(distilled))
    # from scratch: the expert's PPO settings, and PhysHMR's standard deviation exp(-2.9)
    ppo = replace(
        ppo, imitation_coef=0.0, epochs=PPO.epochs, learning_rate=PPO.learning_rate, desired_kl=PPO.desired_kl
    )
    config = FinetuneConfig(budget.rl_only, seed, sim=sim, policy=replace(student, std=math.exp(-2.9)), ppo=ppo)
    torch.manual_seed(seed)
    return FinetuneModule(config, None, with_normaliser(fresh_student(config.policy), config, films.training))


class Study:
    """Trains and evaluates variants; a cell is the result of one variant and seed, stored in OUT/cells.

    Raises:
        KitError: a stored cell was made with other settings or other weights.
    """

    def __init__(self, budget: Budget, out: Path):
        self.budget, self.cells, self.films = budget, out / "cells", None
        files = {stage: find_weights(stage) for stage in ("encoder", "expert")}
        digests = {stage: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for stage, path in files.items()}
        self.made_with = json.loads(json.dumps(asdict(budget) | digests))
        self.expert = read_policy("expert", None)

    def cell(self, name: str, seed: int) -> dict:
        """Samples, seconds and measures of a variant and seed; trains it unless the result is stored."""
        path = self.cells / f"{name}_seed{seed}.json"
        if not path.is_file():
            write_text(path, json.dumps(self._run(name, seed) | {"made_with": self.made_with}, indent=1))
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["made_with"] != self.made_with:
            raise KitError(f"{path}: made with another budget, other clips or other weights; choose another --out")
        return found

    def _run(self, name: str, seed: int) -> dict:
        if VARIANTS.get(name, Variant()).training == "distilled_rl":
            self.cell("all", seed)
        if self.films is None or self.films.seed != seed:
            self.films = Films(self.budget, seed)
        began = time.perf_counter()
        if name in BASELINES:
            samples, sets = 0, baseline(name, self.expert, self.films)
        else:
            samples, sets = self._train(name, seed)
        seconds = time.perf_counter() - began
        words = "; ".join(f"{key} {s['success']:.0f} %, {s['frames']:.0f} % of frames" for key, s in sets.items())
        print(f"{name}, seed {seed}: {words}; {seconds:.0f} s", file=sys.stderr, flush=True)
        return {"samples": samples, "seconds": seconds, "sets": sets}

    def _train(self, name: str, seed: int) -> tuple[int, dict]:
        """Train a variant, save its weights, and evaluate it."""
        weights, checkpoint = (self.cells / f"{name}_seed{seed}{end}" for end in (".safetensors", ".ckpt"))
        distilled = self.cells / f"all_seed{seed}.safetensors"
        stage = stage_of(VARIANTS[name], self.budget, seed, self.expert, self.films, distilled)
        fit(stage, self.films.training, checkpoint, self.budget.checkpoint_every)
        save_policy(stage.policy, weights, stage.name)
        policy = load_policy(weights)
        sets = evaluate(policy, TrackingConfig(groups=policy.groups, control=policy.control), self.films)
        checkpoint.unlink(missing_ok=True)
        before = json.loads(distilled.with_suffix(".json").read_text())["samples"] if name == "distilled_rl" else 0
        return before + stage.samples, sets


# ---- report


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """'12.3 ± 0.4': mean and sample standard deviation of the values that are not None; '-' if there are none."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.{digits}f}"


def table(rows: dict[str, str], cells: dict[str, list[dict]], part: str) -> str:
    """A table with a row for each variant and baseline.

    Args:
        rows: variant -> label.
        cells: variant -> results of each seed.
        part: set of clips, 'seen' or 'unseen'.
    """
    lines = []
    for name, words in (rows | BASELINES).items():
        found = cells[name]
        samples = f"{found[0]['samples'] / 1000:.0f}" if found[0]["samples"] else "-"
        lines.append([words, samples, *(spread([f["sets"][part][key] for f in found]) for key in MEASURES)])
    return markdown_table(("", "samples, thousands", *MEASURES.values()), lines, "lr")


def outcome(claim: Claim, cells: dict[str, list[dict]], labels: dict[str, str]) -> list[str]:
    """A claim, and for each comparison and set the number of seeds that agree with it."""
    lines, verdicts = [], []
    for better, worse, measure in claim.pairs:
        for part, set_name in SETS.items():
            ours, theirs = ([found["sets"][part][measure] for found in cells[name]] for name in (better, worse))
            pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
            agree = sum(a > b if measure in MORE_IS_BETTER else a < b for a, b in pairs)
            verdicts.append((agree, len(pairs)))
            lines.append(
                f"  - {MEASURES[measure]}, {set_name}: {labels[better]} {spread(ours)}, {labels[worse]} {spread(theirs)}; "
                f"as claimed in {agree} of {len(pairs)} seeds"
            )
    counts = [agree for agree, _ in verdicts]
    if all(agree == seeds > 0 for agree, seeds in verdicts):
        verdict = "as claimed by every measure and seed"
    elif not any(counts):
        verdict = "not seen by any measure in any seed"
    else:
        verdict = f"as claimed in {sum(counts)} of {sum(seeds for _, seeds in verdicts)} comparisons"
    return [f"- **{claim.words}** Here: {verdict}.", *lines]


def report(parts: Sequence[str], cells: dict[str, list[dict]], title: str, notes: Sequence[str]) -> str:
    """Tables of some parts, and the claims that these results can test, as Markdown."""
    lines = [f"# {title}", "", *(f"- {note}" for note in (*notes, *NOTES)), ""]
    for part in parts:
        for key, words in SETS.items():
            lines += [f"## {part.capitalize()}: {words}", "", table(PARTS[part], cells, key), ""]
    labels = {name: words for part in PARTS.values() for name, words in part.items()} | BASELINES
    labels |= {"all": "distilled, all inputs", "two_stage": "two stages"}
    tested = [claim for claim in CLAIMS if all({better, worse} <= cells.keys() for better, worse, _ in claim.pairs)]
    if tested:
        lines += ["## The paper's claims and our results", ""]
        lines += [line for claim in tested for line in outcome(claim, cells, labels)]
    return "\n".join([*lines, ""])


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = cli.make_parser("ablations", __doc__)
    parser.add_argument("--budget", choices=("quick", "full"), required=True, help="length of training")
    parser.add_argument("--only", choices=tuple(PARTS), help="run one part only")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds per variant")
    parser.add_argument("--clips", nargs="+", help="motions for training; default: demo, with 'full' more")
    parser.add_argument("--unseen", nargs="+", help="motions excluded from training and used for evaluation")
    parser.add_argument("--out", type=Path, help="output folder; default: runs/ablations/BUDGET")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        raise KitError(f"--seeds is {args.seeds}; at least 1 is needed")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)  # Lightning with torch 2.13
    torch.set_num_threads(usable_cores())
    wanted = budget(args.budget)
    given = {key: tuple(value) for key in ("clips", "unseen") if (value := getattr(args, key))}
    out = args.out or Path("runs/ablations") / args.budget
    study = Study(replace(wanted, **given), out)
    parts = [args.only] if args.only else list(PARTS)
    names = dict.fromkeys([*BASELINES, *(name for part in parts for name in PARTS[part])])
    cells: dict[str, list[dict]] = {name: [] for name in names}
    for seed in range(args.seeds):
        for name in names:
            cells[name].append(study.cell(name, seed))
    hours = sum(found["seconds"] for rows in cells.values() for found in rows) / 3600
    notes = [
        f"{args.seeds} seeds; trained on {' '.join(study.budget.clips)} without {' '.join(Path(u).stem for u in study.budget.unseen)}, "
        f"{study.budget.views} cameras a clip; {60 * hours:.0f} minutes in all."
    ]
    text = report(parts, cells, f"Ablations, budget {args.budget}", notes)
    print(text)
    write_text(out / "ablations.md", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
