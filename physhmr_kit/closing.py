"""How a training run ends: before against after, and the files a run leaves behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from physhmr_kit.env.rollout import Rollout, track_clips
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import load_policy, read_weights, save_policy
from physhmr_kit.metrics.followed import score_clips, total
from physhmr_kit.metrics.table import score_rollouts, summarise, to_markdown
from physhmr_kit.stages.healthy import healthy_section
from physhmr_kit.stages.views import film_library
from physhmr_kit.stages.watch import ClipEvaluation
from physhmr_kit.utils.files import write_text
from physhmr_kit.vision.pretrained import load_encoder

_HEADS = ("", "success", "frames tracked", "tracking mm", "MPJPE mm", "PA-MPJPE mm", "foot sliding mm/frame")
_KEYS = ("tracking_mm", "mpjpe_mm", "pa_mpjpe_mm", "foot_sliding_mm_per_frame")
_BEST = "best.safetensors"
_UNSEEN_VIEWS = 10_007  # added to the seed: the closing views are not among those trained on


@dataclass(frozen=True)
class Evaluation:
    """All clips of a run followed once: the rollouts and the cameras' views of them, if the policy sees."""

    rollouts: list[Rollout]
    tracks: list | None = None

    @property
    def score(self) -> tuple[float, float, float]:
        """By which evaluations of a run are compared, see `metrics.followed.Totals`."""
        return total(score_clips(self.rollouts)).score

    def line(self, title: str) -> list[str]:
        """One row of the closing table."""
        whole = summarise(self.rollouts)[0]
        success = sum(r.success for r in self.rollouts)
        share = whole["scored"] / whole["frames"]
        return [title, f"{success}/{len(self.rollouts)}", f"{share:.0%}", *(f"{whole[k]:.1f}" for k in _KEYS)]


@torch.no_grad()
def evaluate_module(module, policy: Policy | None = None, seen: tuple | None = None) -> Evaluation | None:
    """Follow every clip of a stage's library with its policy; a policy that sees is shown one unseen camera for each.

    Args:
        policy: another one than the module's `final_policy`.
        seen: the views and tracks to show it, (None, None) to a blind one; filmed here when omitted.

    Returns:
        None for a stage without a policy (the encoder).
    """
    if not hasattr(module, "policy"):
        return None
    config, (visual, tracks) = module.config, seen or _film(module)
    rollouts = track_clips(
        policy or module.final_policy, module.library, module.env.config, visual, config.simulator, config.substeps,
        device=config.device or None,
    )  # fmt: skip
    return Evaluation(rollouts, tracks)


def _film(module) -> tuple:
    """One unseen camera for each clip, (views, tracks), where the policy sees."""
    if module.env.visual is None:
        return None, None
    encoder = load_encoder(module.config.encoder or None)
    return film_library(module.library, encoder, 1, module.config.seed + _UNSEEN_VIEWS)


def evaluate_before(module, folder: Path, resumed: bool) -> list[str] | None:
    """The row "before" of the closing table: from an evaluation now, or, in a resumed run, from its first session.

    Returns:
        None for a stage without a policy, and for a resumed run whose first session kept no such row.
    """
    file = folder / "before.json"
    if resumed:
        return ["before", *json.loads(file.read_text()).values()] if file.is_file() else None
    before = evaluate_module(module)
    if before is None:
        return None
    line = before.line("before")
    write_text(file, json.dumps(dict(zip(_HEADS[1:], line[1:], strict=True)), indent=1) + "\n")
    return line


def close_run(
    module, folder: Path, before: list[str] | None, command: str, watch: ClipEvaluation | None = None
) -> None:
    """Write weights, rollout, recording and table of a finished run, and print what it reached and cost.

    Args:
        before: the row of `evaluate_before`.
        watch: what was evaluated on the way, if anything.
    """
    if not hasattr(module, "policy"):
        _close_encoder(module, folder, command)
        return
    from physhmr_kit.viewer import filmstrip, record_rollout

    cost, minutes = _cost(module), module.seconds / 60  # before the evaluations below: the clock goes on
    stage = module.weights_of
    about = {"substeps": module.config.substeps, "command": command}
    save_policy(module.final_policy, folder / "weights.safetensors", stage, samples=module.samples, **about)
    seen = _film(module)
    after, lines = evaluate_module(module, seen=seen), [before] if before else []  # after the weights are safe
    better = _better(module, folder, after, seen)
    taken = f"the last, after {module.samples:,} samples"
    if better is not None:
        best, after, lines, header = *better, [*lines, after.line("last")], read_weights(folder / _BEST)[1]
        taken = f"the best evaluated, of iteration {header['iteration']}, after {header['samples']:,} samples; the last were worse"
        about |= {"samples": header["samples"], "iteration": header["iteration"]}
        save_policy(best, folder / "weights.safetensors", stage, **about)
    lines.append(after.line("after"))
    shown = max(range(len(after.rollouts)), key=lambda i: len(after.rollouts[i]))
    rollout = after.rollouts[shown]
    rollout.save(folder / "rollout.npz")
    record_rollout(folder / "rollout.rrd", rollout, after.tracks[shown] if after.tracks else None)
    filmstrip(rollout, folder / "rollout.png")

    notes = [f"weights: {taken}", *([f"stopped early: {watch.stopped}"] if watch and watch.stopped else [])]
    table = to_markdown(score_rollouts(after.rollouts), summarise(after.rollouts), f"Stage {stage}")
    head = "| " + " | ".join(_HEADS) + " |\n|---|" + "---:|" * (len(_HEADS) - 1) + "\n"
    short = head + "".join("| " + " | ".join(line) + " |\n" for line in lines)
    end = "\n".join([f"## Before and after\n\n{short}", *(f"- {note}" for note in notes), "", cost, ""])
    if stage == "expert":
        milestones = watch.milestones if watch else []
        end += "\n" + healthy_section(milestones, module.library.names, minutes, simulator=module.env.simulator.name)
    write_text(folder / "table.md", f"{table}\n{end}")
    _print(f"stage {stage}, {len(after.rollouts)} clips", lines, notes, cost, folder, rollout.name)


def _better(module, folder: Path, last: Evaluation, seen: tuple) -> tuple[Policy, Evaluation] | None:
    """The best weights evaluated on the way, if they follow the clips better than the last ones, and how they do.

    Both are judged here, in the same way: a policy that sees was evaluated on cameras it was trained with.
    """
    path = folder / _BEST
    if not path.is_file() or read_weights(path)[1]["samples"] == module.samples:
        return None
    best = load_policy(path)
    then = evaluate_module(module, best, seen)
    return (best, then) if then.score > last.score else None


def _print(title: str, lines: list[list[str]], notes: list[str], cost: str, folder: Path, name: str) -> None:
    table = Table(title=title, header_style="bold")
    for i, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if i == 0 else "right")
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.print(table)
    console.print("Errors cover the frames until a clip is lost; each clip is in table.md.", highlight=False)
    console.print(
        "A body that just stands passes for success on motions done on the spot: read the errors too.", highlight=False
    )
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)
    console.print(cost, highlight=False)
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
    console.print(f"look at '{name}': python -m physhmr_kit.view {folder}", highlight=False, soft_wrap=True)


def _close_encoder(module, folder: Path, command: str) -> None:
    module.export(
        folder / "weights.safetensors",
        iterations=str(module.config.iterations),
        samples=str(module.samples),
        command=command,
    )
    figures = {
        k.split("/")[1]: float(v)
        for k, v in module.trainer.callback_metrics.items()
        if k.startswith(("held_out/", "seen/"))
    }
    row = (
        "| "
        + " | ".join(figures)
        + " |\n|"
        + "---|" * len(figures)
        + "\n| "
        + " | ".join(f"{v:.1f}" for v in figures.values())
        + " |\n"
    )
    cost = _cost(module)
    write_text(folder / "table.md", f"# Stage encoder, {module.validation_name} clips\n\n{row}\n{cost}\n")
    print(f"stage encoder, {module.validation_name} clips: " + ", ".join(f"{k} {v:.1f}" for k, v in figures.items()))
    print(f"{cost}\nrun folder: {folder}")


def _cost(module) -> str:
    """What a run cost: a sample is a control step of one body, or a frame the encoder has seen."""
    rate = module.samples / max(module.seconds, 1e-9)
    return f"{module.samples:,} samples in {module.seconds:.0f} s of training, {rate:,.0f} samples/s"
