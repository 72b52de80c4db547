"""`python -m physhmr_kit.fit --stage encoder|expert|distill|finetune`: train a stage and write a run folder.

    python -m physhmr_kit.fit --stage distill                      distil the bundled expert on the demo motions
    python -m physhmr_kit.fit --stage expert --clips demo walk.bvh --iterations 400
    python -m physhmr_kit.fit --stage finetune --video walk_keypoints.npz --camera walk_camera.json --student estimate
    python -m physhmr_kit.fit --stage expert --resume runs/expert/mine
    torchrun --nproc_per_node 4 -m physhmr_kit.fit --stage expert --trainer.devices 4

The last part of a setting's name is enough where it is unique: --clip_range for --ppo.clip_range; dashes work like underscores.

A run writes runs/<stage>/<name>/ with config.yaml, metrics/ (CSV), tensorboard/, checkpoints/{last,best}.ckpt,
weights.safetensors, before.json, rollout.npz, rollout.rrd, rollout.png and table.md. With --validate_every N all
clips are evaluated every N iterations: evaluations.csv, clips.md, curves.png, worst.rrd, and best.ckpt with the best weights.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from data_prep.named import check_named
from physhmr_kit import cli
from physhmr_kit.utils.errors import KitError

STAGES = ("encoder", "expert", "distill", "finetune")
LOGGERS = ("csv", "tensorboard", "wandb")

_SHORT_CLIPS = ["--data.clips=[demo:stand, demo:squat]"]
_SHORT = {
    "encoder": ["--iterations=20", "--validate_every=10", "--data.frames_per_step=512", "--data.validation_windows=8"],
    "expert": ["--iterations=10", "--sim.num_envs=32", *_SHORT_CLIPS],
    "distill": ["--iterations=10", "--sim.num_envs=32", "--cameras.views=1", *_SHORT_CLIPS],
    "finetune": ["--iterations=10", "--sim.num_envs=32", "--cameras.views=1", "--ppo.critic_warmup=3", *_SHORT_CLIPS],
}
"""What `--short` sets: a run of seconds through every part, for tests and CI."""


@dataclass(frozen=True)
class TrainerOptions:
    """Options of the Lightning Trainer."""

    accelerator: str = "auto"
    """'cpu' or 'gpu'; by default the device of the simulator."""
    devices: int = 1
    """Processes on this machine, each with its own environments (distributed data parallel)."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Distributed strategy, e.g. 'ddp'; 'auto' is ddp for several devices."""
    precision: str = "32-true"
    """Precision of the updates, e.g. 'bf16-mixed'."""
    max_time: str | None = None
    """Stop after this much training time, DD:HH:MM:SS; a resumed run counts its earlier sessions."""


_OPTIONS = (
    "stage", "name", "runs", "resume", "ckpt_path", "progress", "logger", "patience", "short", "config", "print_config",
    "help", *(f"trainer.{f.name}" for f in fields(TrainerOptions)),
)  # fmt: skip
"""Options that are not settings of a stage."""


def _first(argv: list[str]) -> argparse.Namespace:
    """Parse the options that decide which parser is built."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--stage")
    first.add_argument("--resume", type=Path)
    first.add_argument("--config", type=Path, action="append", default=[])
    first.add_argument("--short", action="store_true")
    first.add_argument("--video")
    known = first.parse_known_args(argv)[0]
    if known.resume is not None:
        for part in (known.resume / "config.yaml", known.resume / "checkpoints" / "last.ckpt"):
            if not part.is_file():
                raise KitError(f"{part}: missing; --resume takes the folder of a run that has written a checkpoint")
        known.stage = known.stage or known.resume.resolve().parent.name
    if known.stage is not None and known.stage not in STAGES:
        raise KitError(f"unknown stage '{known.stage}'; choose one of: {', '.join(STAGES)}")
    return known


@cache
def _parser(stage: str | None):
    from jsonargparse import set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = cli.make_parser("fit", __doc__, print_config=None)
    add = parser.add_argument
    add("--stage", choices=STAGES, required=stage is None, default=stage, help="the stage to train")
    add("--name", help="name of the run; date and time by default")
    add("--runs", type=Path, default=Path("runs"), help="parent folder of all runs")
    add("--resume", type=Path, help="folder of a run to resume, bit-exactly")
    add("--ckpt_path", type=Path, help="start a new run from a checkpoint of another run")
    add("--config", type=Path, help="YAML file with any of these settings, e.g. the config.yaml of a run")
    add("--print_config", action="store_true", help="print the resulting config.yaml and exit")
    add("--progress", choices=("rich", "tqdm", "none"), default="rich", help="progress bar")
    add("--logger", type=list[str], default=["csv", "tensorboard"], help="csv, tensorboard, wandb")
    add("--patience", type=int, default=3, help="bad validations in a row that stop a collapsed run; 0 never stops it")
    add("--short", action="store_true", help="a run of seconds through every part, to test the installation")
    if stage is not None:
        from physhmr_kit.stages.settings import CONFIGS

        parser.add_class_arguments(TrainerOptions, "trainer")
        parser.add_class_arguments(CONFIGS[stage])
    return parser


def _settings(argv: list[str]):
    """(options, stage settings, trainer options); the command line overrides the config files, which override --short."""
    from physhmr_kit.runs.settings_file import expand, leaves, words_of, words_of_file

    first = _first(argv)
    parser = _parser(first.stage)
    if first.stage is None:
        parser.parse_args(argv)  # prints help or says that --stage is missing
    from physhmr_kit.stages.settings import ADAPTATION_CONFIG, CONFIGS, FinetuneConfig

    kind = CONFIGS[first.stage]
    known = leaves(kind)
    words = words_of(ADAPTATION_CONFIG, FinetuneConfig()) if first.video and first.stage == "finetune" else []
    words += _SHORT[first.stage] if first.short and first.resume is None else []
    files = [*([first.resume / "config.yaml"] if first.resume else []), *first.config]
    for file in files:
        words = [*words, *words_of_file(file, known, _OPTIONS)]
    typed = expand(argv, known | {"logger": tuple[str, ...]}, _OPTIONS)
    options = parser.parse_args([*words, *typed])
    if options.patience < 0:
        raise KitError(f"--patience is {options.patience}; it cannot be negative")
    for logger in options.logger:
        if logger not in LOGGERS:
            raise KitError(f"unknown logger '{logger}'; choose from: {', '.join(LOGGERS)}")
    made = parser.instantiate(options)
    return options, kind(**{f.name: getattr(made, f.name) for f in fields(kind)}), made.trainer


def _as_yaml(settings, options, trainer: TrainerOptions, command: str) -> str:
    """Content of config.yaml: provenance, every setting, and the options that a resumed run needs again."""
    import yaml

    from physhmr_kit.runs.settings_file import provenance
    from physhmr_kit.stages.settings import to_plain

    kept = {"patience": options.patience, "logger": list(options.logger), "trainer": to_plain(trainer)}
    return yaml.safe_dump({**provenance(options.stage, command), **kept, **to_plain(settings)}, sort_keys=False)


def _loggers(folder: Path, options) -> list:
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    loggers: list = []
    if "csv" in options.logger:  # one file for each session, see runs.history.read_metrics
        loggers.append(CSVLogger(folder, name="metrics", flush_logs_every_n_steps=10))
    if "tensorboard" in options.logger:
        loggers.append(TensorBoardLogger(folder, name="", version="tensorboard"))
    if "wandb" in options.logger:
        try:
            from pytorch_lightning.loggers import WandbLogger

            loggers.append(WandbLogger(name=folder.name, save_dir=folder, project="physhmr_kit"))
        except ModuleNotFoundError as fault:
            raise KitError("--logger wandb needs the package wandb: pip install wandb") from fault
    return loggers


def _trainer(folder: Path, stage, data, options, trainer, resume_command: str, evaluations: list):
    """The Lightning Trainer of a run; `evaluations` holds its `ClipEvaluation`, if it has one."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Timer
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from physhmr_kit.runs.callbacks import BestCheckpoint, LastCheckpoint, NanGuard, progress_bar

    config, checkpoints = stage.config, folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    try:
        timer = Timer(trainer.max_time, interval="epoch")
    except MisconfigurationException as fault:
        raise KitError(f"--trainer.max_time is '{trainer.max_time}'; write DD:HH:MM:SS, e.g. 00:02:30:00") from fault
    callbacks = [timer, *progress_bar(options.progress), NanGuard(last, resume_command), *evaluations]
    if config.validate_every:
        monitor, mode = data.monitor
        callbacks.append(BestCheckpoint(checkpoints / "best.ckpt", monitor, mode, config.validate_every))
    callbacks.append(LastCheckpoint(last, config.checkpoint_every))  # it holds the state of the callbacks before it
    return pl.Trainer(
        accelerator=_accelerator(trainer.accelerator, getattr(config, "sim", None) and config.sim.simulator),
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=_strategy(trainer),
        precision=trainer.precision,
        max_epochs=config.iterations,
        check_val_every_n_epoch=config.validate_every or 1,
        limit_val_batches=None if config.validate_every else 0,
        num_sanity_val_steps=0,
        logger=_loggers(folder, options),
        callbacks=callbacks,
        log_every_n_steps=1,
        enable_progress_bar=options.progress != "none",
        enable_model_summary=False,
    )


def _accelerator(asked: str, simulator: str | None) -> str:
    """Accelerator of the networks: by default that of the simulator (None for a stage without one).

    Raises:
        KitError: a missing device, or one that the simulator does not support.
    """
    import torch

    from physhmr_kit.simulation.registry import accelerator_of, choose_simulator

    name = None if simulator is None else choose_simulator(simulator).name
    if asked == "gpu" and name == "mujoco_cpu":
        raise KitError("mujoco_cpu runs on the CPU; use --simulator mujoco_gpu, or omit --trainer.accelerator")
    if asked == "gpu" and not torch.cuda.is_available():
        raise KitError("--trainer.accelerator gpu needs a CUDA device, and there is none; omit the option")
    if asked != "auto" or name is None:
        return asked
    if name == "mujoco_gpu" and not torch.cuda.is_available():
        raise KitError(
            "mujoco_gpu: there is no CUDA device; use --simulator mujoco_cpu (or --trainer.accelerator cpu, which is slow)"
        )
    return accelerator_of(name)


def _strategy(trainer: TrainerOptions) -> str:
    """DDP has to look for unused parameters: fine-tuning leaves the actor out of its first updates."""
    several = trainer.devices * trainer.num_nodes > 1
    return "ddp_find_unused_parameters_true" if several and trainer.strategy in ("auto", "ddp") else trainer.strategy


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options, settings, trainer_options = _settings(argv)
    command = f"python -m physhmr_kit.fit {' '.join(argv)}"
    if options.print_config:
        print(_as_yaml(settings, options, trainer_options, command), end="")
        return 0
    check_named(settings.data.clips)
    import pytorch_lightning as pl
    import torch

    from physhmr_kit.runs.callbacks import ClipEvaluation
    from physhmr_kit.runs.report import close_run, evaluate_before
    from physhmr_kit.simulation import SimulatorError, choose_simulator
    from physhmr_kit.simulation.cores import usable_cores
    from physhmr_kit.stages.build import build_stage
    from physhmr_kit.utils.files import write_text

    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # no tips, no device summary
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)  # Lightning with torch 2.13
    if "OMP_NUM_THREADS" not in os.environ:  # which torch has read
        torch.set_num_threads(usable_cores())
    pl.seed_everything(settings.seed, verbose=False)
    # processes that the Trainer starts write to the folder of the first one
    name = os.environ.setdefault("PHYSHMR_RUN_NAME", options.name or time.strftime("%Y-%m-%d_%H-%M-%S"))
    folder = options.resume or options.runs / options.stage / (options.name or name)
    main_process = int(os.environ.get("LOCAL_RANK", 0)) == int(os.environ.get("NODE_RANK", 0)) == 0
    if options.resume is None and main_process and (folder / "checkpoints").exists():
        raise KitError(f"{folder}: a run of this name exists; choose another --name, or --resume {folder}")
    if options.stage != "encoder" and main_process:
        print(choose_simulator(settings.sim.simulator))
    print(f"stage {options.stage}: loading clips, weights and views")
    stage, data = build_stage(settings)
    resume_command = f"python -m physhmr_kit.fit --stage {options.stage} --resume {folder}"
    last = folder / "checkpoints" / "last.ckpt"
    evaluations = [ClipEvaluation(folder, options.patience)] if options.stage != "encoder" else []
    trainer = _trainer(folder, stage, data, options, trainer_options, resume_command, evaluations)
    stage.trainer, before = trainer, None
    if trainer.is_global_zero:  # nothing is written before here, so a run that cannot start leaves no folder
        before = evaluate_before(stage, data, folder, resumed=options.resume is not None)
        write_text(folder / "config.yaml", _as_yaml(settings, options, trainer_options, command))
    try:
        trainer.fit(stage, datamodule=data, ckpt_path=last if options.resume else options.ckpt_path, weights_only=True)
    except SystemExit as stop:
        if not isinstance(stop.__context__, KeyboardInterrupt):  # Lightning exits with 1 on Ctrl-C
            raise
        if last.is_file():
            print(f"interrupted; resume with: {resume_command}")
        return 130
    except SimulatorError as fault:
        raise SimulatorError(f"{fault}; resume with: {resume_command}" if last.is_file() else str(fault)) from fault
    finally:
        stage.teardown("fit")  # Lightning does not call it when a fit fails
        os.environ.pop("PHYSHMR_RUN_NAME", None)
    if trainer.is_global_zero:
        close_run(stage, data, folder, before, command, *evaluations)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
