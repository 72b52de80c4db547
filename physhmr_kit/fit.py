"""`python -m physhmr_kit.fit --stage encoder|expert|supertrack|samcon|merge|distill|finetune`: train a stage and leave a run folder behind.

    python -m physhmr_kit.fit --stage distill                      the embedded default: demo motions, bundled expert
    python -m physhmr_kit.fit --stage expert --clips demo walk.bvh --iterations 400
    python -m physhmr_kit.fit --stage expert --resume runs/expert/mine

A run leaves runs/<stage>/<name>/ with config.yaml, metrics.csv (and TensorBoard), checkpoints/{last,best}.ckpt,
weights.safetensors, before.json, rollout.npz, rollout.rrd, rollout.png and table.md.
With --evaluate_every N one can watch it: evaluations.csv, clips.md, curves.png, worst.rrd and best.safetensors.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
import time
import warnings
from pathlib import Path

from physhmr_kit import cli
from physhmr_kit.utils.errors import KitError

STAGES = ("encoder", "expert", "supertrack", "samcon", "merge", "distill", "finetune")

_SHORT = {
    "encoder": {"iterations": 20, "frames_per_step": 512, "validate_every": 10, "validation_windows": 8},
    "expert": {"iterations": 10, "num_envs": 32, "clips": ("demo:stand", "demo:squat")},
    "supertrack": {"iterations": 10, "num_envs": 32, "clips": ("demo:stand", "demo:squat"), "minibatch": 32},
    "samcon": {
        "iterations": 10,
        "bodies": 2,
        "copies": 16,
        "windows": 4,
        "warmup": 32,
        "clips": ("demo:stand", "demo:squat"),
        "minibatch": 32,
    },
    "merge": {
        "iterations": 10,
        "num_envs": 32,
        "clips": ("demo:stand", "demo:squat"),
        "experts": ("",),
        "minibatch": 32,
    },
    "distill": {"iterations": 10, "num_envs": 32, "views": 1, "clips": ("demo:stand", "demo:squat")},
    "finetune": {"iterations": 10, "num_envs": 32, "views": 1, "warmup": 3, "clips": ("demo:stand", "demo:squat")},
}
"""The defaults under `--short`: a run of seconds that goes through every part, for tests and CI."""


def _stage_of(argv: list[str]) -> str | None:
    """The stage named on the command line, before its settings are known."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--stage")
    first.add_argument("--resume")
    known, _ = first.parse_known_args(argv)
    if known.stage is None and known.resume:
        return Path(known.resume).resolve().parent.name
    return known.stage


def _config_class(stage: str) -> type:
    """The dataclass of a stage's settings."""
    from physhmr_kit.stages.settings import CONFIGS

    return CONFIGS[stage]


def _parser(stage: str | None, short: bool = False):
    parser = cli.make_parser("fit", __doc__)
    parser.add_argument("--stage", choices=STAGES, required=stage is None, default=stage, help="which stage to train")
    parser.add_argument("--name", help="of the run; the time of day by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--resume", type=Path, help="run folder to take up where it stopped")
    parser.add_argument("--progress", choices=("rich", "tqdm", "none"), default="rich", help="progress bar")
    parser.add_argument("--evaluate_every", type=int, default=0, help="track all clips every so many iterations")
    parser.add_argument(
        "--patience", type=int, default=3, help="bad evaluations in a row that stop a collapsed run; 0 never stops"
    )
    parser.add_argument("--short", action="store_true", help="a run of seconds through every part")
    if stage is not None:
        from jsonargparse import ActionConfigFile

        parser.add_argument("--config", action=ActionConfigFile, help="a YAML file with any of these options")
        parser.add_class_arguments(_config_class(stage))
        for action in parser._actions:
            if action.dest in _tuples(stage):
                one = action.dest.rstrip("s").upper()
                action.metavar = f"{one} [{one} ...]"  # as `_join_tuples` reads it
        if short:
            parser.set_defaults(_SHORT[stage])
    return parser


def _tuples(stage: str) -> dict[str, bool]:
    """The settings of a stage that are tuples, and whether of words."""
    kinds = {f.name: str(f.type) for f in dataclasses.fields(_config_class(stage))}
    return {name: "str" in kind for name, kind in kinds.items() if kind.startswith("tuple[")}


def _join_tuples(argv: list[str], stage: str) -> list[str]:
    """`--clips demo walk.bvh` to `--clips=["demo", "walk.bvh"]`: jsonargparse takes a tuple from one word only.

    What begins with a bracket, `--clips '[demo, walk.bvh]'`, stays as it is.
    """
    tuples, result, rest = _tuples(stage), [], list(argv)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        values = [value] if equals else []
        if option.removeprefix("--") not in tuples or not option.startswith("--"):
            result.append(word)
            continue
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if not values:
            result.append(word)  # the parser says what is missing
        elif values[0].startswith("["):
            result.append(f"{option}={' '.join(values)}")
        else:
            words = tuples[option.removeprefix("--")]
            result.append(f"{option}={json.dumps(values) if words else '[' + ', '.join(values) + ']'}")
    return result


def _settings(argv: list[str]):
    """Command line and files to (options, stage settings)."""
    stage = _stage_of(argv)
    if stage is not None and stage not in STAGES:
        raise KitError(f"unknown stage '{stage}'; choose one of: {', '.join(STAGES)}")
    resume = _resume_folder(argv)
    parser = _parser(stage, short="--short" in argv and resume is None)
    if stage is None:
        parser.parse_args(argv)  # prints help or says that --stage is missing
    files = [] if resume is None else ["--config", str(resume / "config.yaml")]
    options = parser.parse_args([*files, *_join_tuples(argv, stage)])
    for name in ("evaluate_every", "patience"):
        if getattr(options, name) < 0:
            raise KitError(f"--{name} is {getattr(options, name)}; it cannot be negative")
    names = [f.name for f in dataclasses.fields(_config_class(stage))]
    config = parser.instantiate(options)
    values = {n: getattr(config, n) for n in names}
    return options, _config_class(stage)(**values), resume


def _resume_folder(argv: list[str]) -> Path | None:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--resume", type=Path)
    folder = first.parse_known_args(argv)[0].resume
    if folder is None:
        return None
    for part in (folder / "config.yaml", folder / "checkpoints" / "last.ckpt"):
        if not part.is_file():
            raise KitError(f"{part}: missing; --resume takes the folder of a run that has written a checkpoint")
    return folder


def _as_yaml(settings, options) -> str:
    """config.yaml: the stage's settings, and how it is watched, so that a resumed run is watched in the same way."""
    import yaml

    def plain(value):
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value

    watched = {"evaluate_every": options.evaluate_every, "patience": options.patience}
    return yaml.safe_dump({**watched, **plain(settings)}, sort_keys=False)


def _quiet() -> None:
    """Lightning's advice that does not apply here: our loader holds iteration numbers, not data."""
    import logging

    for text in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*litlogger.*",
        ".*checkpoint directory.*exists.*",
        ".*post-update.*",
        ".*in eval mode at the start of training.*",
        ".*logs directory.*exists.*",
    ):
        warnings.filterwarnings("ignore", message=text)
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _epochs(module) -> int:
    """Epochs that make up the run: whole ones, since checkpoints are written between them."""
    return -(-module.config.iterations // module.iterations_per_epoch)


def _csv_logger(folder: Path, resume: Path | None):
    """Lightning's CSV logger; a resumed run keeps its rows up to the checkpoint, where Lightning would delete them all."""
    import torch
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=10)
    file = folder / "metrics.csv"
    if resume is None or not file.is_file():
        return logger
    loops = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["loops"]
    done = loops["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]
    with open(file, newline="") as f:
        rows = csv.DictReader(f)
        kept, names = [row for row in rows if int(row["step"]) < done], list(rows.fieldnames)
    writer = logger.experiment  # this deletes the file
    with open(file, "w", newline="") as f:
        old = csv.DictWriter(f, names)
        old.writeheader()
        old.writerows(kept)
    writer.metrics_keys = names
    return logger


def _accelerator(device) -> tuple[str, int | list[int]]:
    """What Lightning calls the device on which a policy stage lives."""
    return ("gpu", [device.index or 0]) if device.type == "cuda" else ("cpu", 1)


def _trainer(folder: Path, module, options, callbacks: list):
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
    from pytorch_lightning.loggers import TensorBoardLogger

    bars = {"rich": [RichProgressBar()], "tqdm": [TQDMProgressBar()], "none": []}[options.progress]
    keep = {"dirpath": folder / "checkpoints", "every_n_epochs": 1, "enable_version_counter": False}
    policy_stage = hasattr(module, "policy")
    checkpoints = [
        ModelCheckpoint(filename="last", save_top_k=1, monitor=None, save_on_train_epoch_end=True, **keep),
        ModelCheckpoint(
            filename="best", save_top_k=1, monitor="reward" if policy_stage else f"{module.validation_name}/mpjpe_mm",
            mode="max" if policy_stage else "min", save_on_train_epoch_end=policy_stage, **keep,
        ),
    ]  # fmt: skip
    accelerator, devices = ("auto", 1) if not policy_stage else _accelerator(module.env.device)
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        max_epochs=_epochs(module),
        logger=[_csv_logger(folder, options.resume), TensorBoardLogger(folder, name="", version="tensorboard")],
        callbacks=[*bars, *checkpoints, *callbacks],
        log_every_n_steps=1,
        enable_progress_bar=bool(bars),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options, settings, resume = _settings(argv)
    _quiet()
    import pytorch_lightning as pl
    import torch

    from physhmr_kit.closing import close_run, evaluate_before
    from physhmr_kit.progress import write_progress
    from physhmr_kit.simulation import SimulatorError, choose_simulator
    from physhmr_kit.simulation.cores import usable_cores
    from physhmr_kit.stages.build import build_module
    from physhmr_kit.stages.watch import ClipEvaluation, Finite

    torch.set_num_threads(usable_cores())
    pl.seed_everything(settings.seed, verbose=False)
    folder = resume or options.runs / options.stage / (options.name or time.strftime("%Y-%m-%d_%H-%M-%S"))
    if resume is None and (folder / "checkpoints").exists():
        raise KitError(f"{folder}: there is a run of this name already; choose another --name, or --resume {folder}")
    if options.evaluate_every and options.stage == "encoder":
        raise KitError("--evaluate_every follows clips with a policy; the encoder has none (see --validate_every)")
    if options.stage != "encoder":
        print(choose_simulator(settings.simulator))
    print(f"stage {options.stage}: loading clips, weights and views")
    module = build_module(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(_as_yaml(settings, options))
    before = evaluate_before(module, folder, resumed=resume is not None)
    go_on = f"python -m physhmr_kit.fit --stage {options.stage} --resume {folder}"
    watch = None
    if options.evaluate_every:
        watch = ClipEvaluation(options.evaluate_every, folder, options.patience, write_progress)
    trainer = _trainer(folder, module, options, [Finite(folder, go_on), *([watch] if watch else [])])
    last = folder / "checkpoints" / "last.ckpt"
    go_on = f"take it up with: {go_on}"
    try:
        trainer.fit(module, ckpt_path=last if resume else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if last.is_file():
            print(f"stopped; {go_on}")
        return 130
    except SimulatorError as fault:
        raise SimulatorError(f"{fault}; {go_on}" if last.is_file() else str(fault)) from fault
    close_run(module, folder, before, f"python -m physhmr_kit.fit {' '.join(argv)}", watch)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
