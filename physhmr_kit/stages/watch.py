"""`ClipEvaluation`: every so often, track every clip and keep the weights that do it best."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from physhmr_kit.env.rollout import track_clips
from physhmr_kit.learning.storage import save_policy


class ClipEvaluation(pl.Callback):
    """Logs success and error over all clips, and writes `best.safetensors` when they improve.

    Better means more clips tracked to the end, then more frames tracked, then a smaller error.

    Args:
        every: iterations between two evaluations.
        folder: the run's.
    """

    def __init__(self, every: int, folder: str | Path):
        self.every, self.folder = every, Path(folder)
        self.best: tuple[float, float, float] | None = None

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        iteration = module.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if iteration % self.every:
            return
        rollouts = track_clips(
            module.final_policy,
            module.library,
            module.env.config,
            module.env.visual,
            module.config.simulator,
            module.config.substeps,
            device=module.config.device or None,
        )
        success = sum(r.success for r in rollouts) / len(rollouts)
        covered = sum(len(r) for r in rollouts) / sum(r.length for r in rollouts)
        errors = [(r.simulated.body_pos - r.reference.body_pos).norm(dim=-1).mean() for r in rollouts]
        error = 1000 * float(sum(errors) / len(errors))
        module.log_dict({"clips/success": success, "clips/covered": covered, "clips/error_mm": error})
        words = ", ".join(
            f"{r.name} {'ok' if r.success else f'{len(r)}/{r.length}'} {1000 * e:.0f}"
            for r, e in zip(rollouts, errors, strict=True)
        )
        trainer.print(
            f"iteration {iteration}, {module.samples} samples, {module.seconds / 60:.1f} min: {success:.0%} success, {error:.0f} mm ({words})"
        )
        score = (success, covered, -error)
        if self.best is None or score > self.best:
            self.best = score
            save_policy(
                module.final_policy,
                self.folder / "best.safetensors",
                _stage(module),
                samples=module.samples,
                substeps=module.config.substeps,
            )

    def state_dict(self) -> dict:
        return {"best": None if self.best is None else list(self.best)}

    def load_state_dict(self, state: dict) -> None:
        self.best = None if state["best"] is None else tuple(state["best"])


def _stage(module) -> str:
    return type(module).__name__.removesuffix("Module").lower()
