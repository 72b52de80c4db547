"""The expert with and without the adversarial motion prior, at the same number of samples.

    python benchmarks/motion_prior.py demo:walk_forward ../shared/data/cmu/asfamc/02/02_01.amc --style 0 0.5 --iterations 40

Trains a fresh expert for each weight of the style reward and prints a row every `--every` iterations: clips followed to their end and the
share of frames followed (mean action of the averaged policy, from the first frame), over these frames the tracking error mm,
acceleration error mm/frame^2 and jitter (10 m/s^3) beside the clip's own; then of the last rollout the task and style reward and how
often the discriminator tells right. A weight of 0 trains a discriminator as well, which watches and rewards nothing.
"""

import argparse
import logging
import warnings

import pytorch_lightning as pl
import torch

from data_prep.sources import load_clips
from physhmr_kit.env import track_clips
from physhmr_kit.metrics import functional as F
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.expert import ExpertConfig, ExpertModule

WATCH = 1e-12
"""A share of the reward that float32 rounds away."""

HEADS = ("style", "samples", "to the end", "followed", "error mm", "accel. error", "jitter", "clip's", "reward",
         "style reward", "real told", "agent told")  # fmt: skip


class Rows(pl.Callback):
    """Prints one row of the table every so many iterations."""

    def __init__(self, every: int):
        self.every, self.done = every, 0

    def on_train_start(self, trainer, module) -> None:
        self.row(module, {})

    def on_train_batch_end(self, trainer, module, *_) -> None:
        self.done += 1
        if self.done % self.every == 0:
            self.row(module, trainer.callback_metrics)

    def row(self, module: ExpertModule, metrics: dict) -> None:
        rollouts = track_clips(
            module.final_policy, module.library, module.env.config, simulator=module.config.simulator
        )
        pairs = [(r.simulated.body_pos, r.reference.body_pos) for r in rollouts]
        mean = lambda rows: float(torch.cat(list(rows)).mean())  # noqa: E731
        figures = (
            mean(F.e_g_mpjpe(*p) for p in pairs), mean(F.e_acc(*p) for p in pairs),
            mean(F.jitter(sim) for sim, _ in pairs), mean(F.jitter(ref) for _, ref in pairs),
        )  # fmt: skip
        logged = (metrics.get(k) for k in ("reward", "style/reward", "style/accuracy_real", "style/accuracy_agent"))
        followed = sum(map(len, rollouts)) / sum(r.length for r in rollouts)
        cells = [f"{module.config.style:.2g}" if module.config.style > WATCH else "0", f"{module.samples:,}"]
        cells += [f"{sum(r.success for r in rollouts)}/{len(rollouts)}", f"{followed:.0%}"]
        cells += [f"{x:.1f}" for x in figures] + ["" if x is None else f"{float(x):.2f}" for x in logged]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=["demo:walk_forward"])
    parser.add_argument("--style", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--window", type=int, default=ExpertConfig.style_window)
    parser.add_argument("--rate", type=float, default=ExpertConfig.style_rate)
    parser.add_argument("--num_envs", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    library = MotionLibrary(load_clips(args.clips))
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS), flush=True)
    for style in args.style:
        pl.seed_everything(args.seed, verbose=False)
        config = ExpertConfig(
            num_envs=args.num_envs, style=style or WATCH, style_window=args.window, style_rate=args.rate, seed=args.seed
        )
        module = ExpertModule(config, library)
        module.iterations_per_epoch = args.iterations
        pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[Rows(args.every)],
        ).fit(module)  # fmt: skip
        module.env.close()


if __name__ == "__main__":
    main()
