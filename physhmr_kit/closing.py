"""How a training run ends: before against after, and the files a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from physhmr_kit.env.rollout import Rollout, track_clips
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.metrics.table import score_rollouts, summarise, to_markdown, write_text
from physhmr_kit.stages.views import film_library
from physhmr_kit.vision.pretrained import load_encoder

_HEADS = ("", "success", "frames tracked", "tracking mm", "MPJPE mm", "PA-MPJPE mm", "foot sliding mm/frame")
_KEYS = ("tracking_mm", "mpjpe_mm", "pa_mpjpe_mm", "foot_sliding_mm_per_frame")
_UNSEEN_VIEWS = 10_007  # added to the seed: the closing views are not among those trained on


@dataclass(frozen=True)
class Evaluation:
    """All clips of a run followed once: the rollouts and the cameras' views of them, if the policy sees."""

    rollouts: list[Rollout]
    tracks: list | None = None

    def line(self, title: str) -> list[str]:
        """One row of the closing table."""
        whole = summarise(self.rollouts)[0]
        success = sum(r.success for r in self.rollouts)
        share = whole["scored"] / whole["frames"]
        return [title, f"{success}/{len(self.rollouts)}", f"{share:.0%}", *(f"{whole[k]:.1f}" for k in _KEYS)]


@torch.no_grad()
def evaluate_module(module) -> Evaluation | None:
    """Follow every clip of a stage's library with its policy; a policy that sees is shown one unseen camera for each.

    Returns None for a stage without a policy (the encoder).
    """
    if not hasattr(module, "policy"):
        return None
    config, visual, tracks = module.config, None, None
    if module.env.visual is not None:
        visual, tracks = film_library(
            module.library, load_encoder(config.encoder or None), 1, config.seed + _UNSEEN_VIEWS
        )
    rollouts = track_clips(
        module.final_policy, module.library, module.env.config, visual, config.simulator, config.substeps,
        device=config.device or None,
    )  # fmt: skip
    return Evaluation(rollouts, tracks)


def close_run(module, folder: Path, before: Evaluation | None, command: str) -> None:
    """Write weights, rollout, recording and table of a finished run, and print what it reached and cost."""
    if before is None:
        _close_encoder(module, folder, command)
        return
    from physhmr_kit.viewer import filmstrip, record_rollout

    stage = type(module).__name__.removesuffix("Module").lower()
    save_policy(
        module.final_policy,
        folder / "weights.safetensors",
        stage,
        samples=module.samples,
        substeps=module.config.substeps,
        command=command,
    )
    after = evaluate_module(module)  # after the weights are safe
    shown = max(range(len(after.rollouts)), key=lambda i: len(after.rollouts[i]))
    rollout = after.rollouts[shown]
    rollout.save(folder / "rollout.npz")
    record_rollout(folder / "rollout.rrd", rollout, after.tracks[shown] if after.tracks else None)
    filmstrip(rollout, folder / "rollout.png")

    cost = _cost(module)
    lines = [before.line("before"), after.line("after")]
    table = to_markdown(score_rollouts(after.rollouts), summarise(after.rollouts), f"Stage {stage}")
    head = "| " + " | ".join(_HEADS) + " |\n|---|" + "---:|" * (len(_HEADS) - 1) + "\n"
    short = head + "".join("| " + " | ".join(line) + " |\n" for line in lines)
    write_text(folder / "table.md", f"{table}\n## Before and after\n\n{short}\n{cost}\n")
    _print(f"stage {stage}, {len(after.rollouts)} clips", lines, cost, folder, rollout.name)


def _print(title: str, lines: list[list[str]], cost: str, folder: Path, name: str) -> None:
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
