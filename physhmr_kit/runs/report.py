"""The end of a run: the weights to keep, the table of before and after, the files of the run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

from physhmr_kit.env.rollout import Rollout, track_clips
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.metrics.followed import score_clips, total
from physhmr_kit.metrics.table import score_rollouts, summarise, to_markdown
from physhmr_kit.runs.callbacks import ClipEvaluation
from physhmr_kit.runs.reference import reference_section
from physhmr_kit.stages.base import PolicyStage, Stage
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.encoder import EncoderModule
from physhmr_kit.utils.files import write_text
from physhmr_kit.utils.markdown import markdown_table

_HEADS = ("", "success", "frames tracked", "tracking mm", "MPJPE mm", "PA-MPJPE mm", "foot sliding mm/frame")
_KEYS = ("tracking_mm", "mpjpe_mm", "pa_mpjpe_mm", "foot_sliding_mm_per_frame")


@dataclass(frozen=True)
class Evaluation:
    """One rollout of every clip of a run with one policy."""

    policy: Policy
    rollouts: list[Rollout]
    samples: int
    """Training samples of the policy."""

    @property
    def score(self) -> tuple[float, float, float]:
        """Key to compare evaluations by, see `metrics.followed.Totals`."""
        return total(score_clips(self.rollouts)).score

    @cached_property
    def summary(self) -> list[dict]:
        """Closing rows of the table: all clips, and the successful ones."""
        return summarise(self.rollouts)

    def row(self, title: str) -> list[str]:
        """One row of the closing table."""
        whole = self.summary[0]
        success = sum(r.success for r in self.rollouts)
        share = whole["scored"] / whole["frames"]
        return [title, f"{success}/{len(self.rollouts)}", f"{share:.0%}", *(f"{whole[k]:.1f}" for k in _KEYS)]


def evaluate_stage(
    stage: PolicyStage, data: MotionDataModule, policy: Policy | None = None, samples: int = 0
) -> Evaluation:
    """Evaluate the stage's policy, or another one, on every clip; a student sees the validation views."""
    policy, sim = policy or stage.policy, stage.config.sim
    rollouts = track_clips(
        policy, data.library, stage.tracking, data.validation_visual, sim.simulator, sim.substeps, device=stage.root_device
    )  # fmt: skip
    return Evaluation(policy, rollouts, samples or stage.samples)


def evaluate_before(stage: Stage, data: pl.LightningDataModule, folder: Path, resumed: bool) -> list[str] | None:
    """The row "before" of the closing table: evaluated now, or read back in a resumed run.

    Returns:
        None for the encoder, and for a resumed run whose first session wrote no such row.
    """
    file = folder / "before.json"
    if not isinstance(stage, PolicyStage):
        return None
    assert isinstance(data, MotionDataModule)
    if resumed:
        return ["before", *json.loads(file.read_text()).values()] if file.is_file() else None
    row = evaluate_stage(stage, data).row("before")
    write_text(file, json.dumps(dict(zip(_HEADS[1:], row[1:], strict=True)), indent=1) + "\n")
    return row


def close_run(
    stage: Stage, data: pl.LightningDataModule, folder: Path, before: list[str] | None, command: str,
    evaluations: ClipEvaluation | None = None,
) -> None:  # fmt: skip
    """Write weights, rollout, recording and table of a finished run, and print its results and its cost.

    Args:
        before: the row of `evaluate_before`.
        evaluations: the callback that recorded the validations, for a policy stage.
    """
    if isinstance(stage, EncoderModule):
        _close_encoder(stage, folder, command)
        return
    assert isinstance(stage, PolicyStage) and isinstance(data, MotionDataModule)
    from physhmr_kit.viewer import filmstrip, record_rollout

    cost, minutes = _cost(stage), stage.seconds / 60
    _save(stage, folder, Evaluation(stage.policy, [], stage.samples), command)  # first, in case a later step fails
    after, rows = evaluate_stage(stage, data), [before] if before else []
    origin = f"the last, after {stage.samples:,} samples"
    best = _best(stage, data, folder)
    if best is not None and best.score > after.score:
        rows.append(after.row("last"))
        after, origin = best, f"the best evaluated, after {best.samples:,} samples; the last were worse"
        _save(stage, folder, after, command)
    rows.append(after.row("after"))
    shown = max(range(len(after.rollouts)), key=lambda i: len(after.rollouts[i]))
    rollout = after.rollouts[shown]
    rollout.save(folder / "rollout.npz")
    record_rollout(folder / "rollout.rrd", rollout, data.tracks[shown] if data.tracks else None)
    filmstrip(rollout, folder / "rollout.png")

    notes = [f"weights: {origin}"]
    if evaluations is not None and evaluations.stopped:
        notes.append(f"stopped early: {evaluations.stopped}")
    table = to_markdown(score_rollouts(after.rollouts), after.summary, f"Stage {stage.name}")
    closing = [f"## Before and after\n\n{markdown_table(_HEADS, rows)}", *(f"- {note}" for note in notes), "", cost, ""]
    if stage.name == "expert":
        milestones = evaluations.milestones if evaluations else []
        simulator = stage.config.sim.simulator
        closing.append(reference_section(milestones, data.library.names, minutes, simulator=simulator))
    write_text(folder / "table.md", f"{table}\n" + "\n".join(closing))
    _print(f"stage {stage.name}, {len(after.rollouts)} clips", rows, notes, cost, folder, rollout.name)


def _save(stage: PolicyStage, folder: Path, made: Evaluation, command: str) -> None:
    about = {"samples": made.samples, "substeps": stage.config.sim.substeps, "command": command}
    save_policy(made.policy, folder / "weights.safetensors", stage.name, **about)


def _best(stage: PolicyStage, data: MotionDataModule, folder: Path) -> Evaluation | None:
    """Evaluation of the weights with the best validation; None if there are none, or if they are the last ones."""
    path = folder / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return None
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    samples = checkpoint["physhmr_kit"]["samples"]
    if samples == stage.samples:
        return None
    policy = Policy(**checkpoint["hyper_parameters"]["policy"])
    weights = checkpoint["state_dict"].items()
    policy.load_state_dict({k.removeprefix("policy."): v for k, v in weights if k.startswith("policy.")})
    return evaluate_stage(stage, data, policy, samples)


def _print(title: str, rows: list[list[str]], notes: list[str], cost: str, folder: Path, name: str) -> None:
    table = Table(title=title, header_style="bold")
    for i, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    print("Errors cover the frames until a clip is lost; table.md has a row for each clip.")
    print("A body that just stands passes for success on motions done on the spot: read the errors too.")
    print(*notes, cost, f"run folder: {folder}", f"look at '{name}': python -m physhmr_kit.view {folder}", sep="\n")


def _close_encoder(stage: EncoderModule, folder: Path, command: str) -> None:
    about = {"iterations": str(stage.config.iterations), "samples": str(stage.samples), "command": command}
    stage.export(folder / "weights.safetensors", **about)
    name, measured = stage.datamodule.validation_name, stage.trainer.callback_metrics
    figures = {k.split("/")[1]: float(v) for k, v in measured.items() if k.startswith(f"{name}/")}
    cost = _cost(stage)
    table = markdown_table(list(figures), [[f"{v:.1f}" for v in figures.values()]])
    write_text(folder / "table.md", f"# Stage encoder, {name} clips\n\n{table}\n{cost}\n")
    print(f"stage encoder, {name} clips: " + ", ".join(f"{k} {v:.1f}" for k, v in figures.items()))
    print(f"{cost}\nrun folder: {folder}")


def _cost(stage: Stage) -> str:
    """Cost of a run in words. A sample is a control step of one body, or a frame given to the encoder."""
    rate = stage.samples / max(stage.seconds, 1e-9)
    return f"{stage.samples:,} samples in {stage.seconds:.0f} s of training, {rate:,.0f} samples/s"
