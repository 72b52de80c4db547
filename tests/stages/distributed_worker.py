"""The processes of the tests in test_several_processes.py, as torchrun would start them.

One process imports PyTorch and Lightning and forks the others: the argument lists, as JSON, [number of processes, their jobs].
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import sys
import tempfile
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path

import pytorch_lightning as pl
import torch
from motions import rest_clip, waving_clip
from small_stages import CONFIGS, with_settings

from physhmr_kit.env.settings import EXPERT_GROUPS, STUDENT_GROUPS
from physhmr_kit.learning import Policy
from physhmr_kit.learning.collect import Batch
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.runs.callbacks import LastCheckpoint
from physhmr_kit.stages.data import FilmedMotionDataModule, MotionDataModule
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import VisionEncoder

WORLD, RANK = 1, 0
"""How many processes there are, and which one this is."""


def trainer(folder: str, iterations: int, callbacks=(), **options) -> pl.Trainer:
    several = {"strategy": "ddp_find_unused_parameters_true"} if WORLD > 1 else {}
    return pl.Trainer(
        accelerator="cpu", devices=WORLD, max_epochs=iterations, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, callbacks=list(callbacks),
        **several, **options,
    )  # fmt: skip


def a_library() -> MotionLibrary:
    return MotionLibrary([rest_clip(14), waving_clip(20)])


class Gradient(pl.Callback):
    """The gradient of the first update, as the optimiser sees it before clipping."""

    def on_after_backward(self, trainer, pl_module) -> None:
        if trainer.global_step == 0:
            parameters = [*pl_module.policy.net.parameters(), *pl_module.critic.net.parameters()]
            self.gradient = torch.cat([p.grad.flatten() for p in parameters])


def gradient(environments: int) -> dict:
    """Learn once from a rollout that is the same however many processes share it."""
    config = with_settings(CONFIGS["expert"], epochs=1, minibatch_size=10_000, iterations=1, desired_kl=0.1)
    module = ExpertModule(replace(config, sim=replace(config.sim, num_envs=environments // WORLD)))
    generator = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.randn(4, environments, *shape, generator=generator)  # noqa: E731
    width, rows = (
        module.policy.norm.mean.numel(),
        slice(RANK * environments // WORLD, (RANK + 1) * environments // WORLD),
    )
    obs, action, reward, value = noise(width), 0.05 * noise(69), noise(), noise()
    done = noise() > 1
    mine = [x[:, rows].contiguous() for x in (obs, action, reward, value, done)]

    def collect(teacher=None) -> Batch:
        seen, acted, paid, worth, ended = mine
        batch = Batch.allocate(4, environments // WORLD, width, None)
        batch.policy_in.copy_(seen)
        batch.action.copy_(acted)
        batch.mean.zero_()
        batch.log_prob.copy_(module.policy.log_prob(batch.mean, acted))
        batch.reward.copy_(paid)
        batch.value.copy_(worth)
        batch.next_value[:-1] = worth[1:]
        batch.done.copy_(ended)
        module.collector.batch = batch
        return batch

    open_stage, kl = module.open, []

    def opened(*args) -> None:
        open_stage(*args)
        module.collector.collect = collect

    module.open, module.adapt_learning_rate = opened, kl.append
    watch = Gradient()
    trainer("/tmp", 1, [watch], limit_val_batches=0, enable_checkpointing=False).fit(
        module, datamodule=MotionDataModule(a_library())
    )
    norm = module.policy.norm
    return {
        "gradient": watch.gradient.tolist(), "kl": kl,
        "norm_mean": norm.mean[:50].tolist(), "norm_var": norm.var[:50].tolist(), "norm_count": float(norm.count),
    }  # fmt: skip


def make(stage: str):
    """A small stage and its data."""
    torch.manual_seed(5)
    if stage == "expert":
        return ExpertModule(CONFIGS["expert"]), MotionDataModule(a_library())
    encoder = VisionEncoder(width=24, layers=1, heads=2).eval()
    teacher, student = Policy(EXPERT_GROUPS, (16,), 0.1), Policy(STUDENT_GROUPS, (16,), 0.1, "absolute")
    data = FilmedMotionDataModule(a_library(), film_library(a_library(), encoder, 2, seed=0)[0])
    return FinetuneModule(CONFIGS["finetune"], teacher, student), data


def run(stage: str, folder: str, sessions: list[int]) -> dict:
    """Train in sessions that end at these iterations, each from the checkpoint of the one before."""
    last = Path(folder) / "last.ckpt"
    for number, iterations in enumerate(sessions):
        module, data = make(stage)
        frames, close = [], module.teardown

        def teardown(stage, module=module, frames=frames, close=close) -> None:
            frames[:] = module.env.frame_ids.tolist()
            close(stage)

        module.teardown = teardown
        trainer(folder, iterations, [LastCheckpoint(last, 1)]).fit(
            module, datamodule=data, ckpt_path=last if number else None, weights_only=True
        )
    state = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    return {
        "weights": hashlib.sha256(state).hexdigest(), "samples": module.samples, "frames": frames,
        "clips": [score.clip for score in module.scores],
    }  # fmt: skip


def refused(stage: str, folder: str) -> dict:
    """What is said when the run is resumed by another number of processes."""
    module, data = make(stage)
    try:
        trainer(folder, 4).fit(module, datamodule=data, ckpt_path=Path(folder) / "last.ckpt", weights_only=True)
    except KitError as fault:
        return {"refusal": str(fault)}
    return {"refusal": ""}


def work(rank: int, world: int, tasks: list[dict], answer: Path) -> None:
    """The life of one process."""
    global WORLD, RANK
    WORLD, RANK = world, rank
    os.environ |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    jobs = {"gradient": gradient, "run": run, "refused": refused}
    answer.write_text(json.dumps([jobs[task.pop("job")](**task) for task in tasks]))


def launch(world: int, tasks: list[dict], folder: Path) -> list[list[dict]]:
    """What each of so many processes returned for each task."""
    answers = [folder / f"{world}_{rank}.json" for rank in range(world)]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(rank, world, tasks, file)) for rank, file in enumerate(answers)]
    for process in processes:
        process.start()
    while running := [process for process in processes if process.exitcode is None]:
        connection.wait([process.sentinel for process in running])
        if any(process.exitcode for process in processes):  # the others would wait for it
            for process in processes:
                process.kill()
            raise SystemExit(f"of {world} processes, exit codes: {[p.exitcode for p in processes]}")
    return [json.loads(file.read_text()) for file in answers]


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as told:
        results = [launch(world, tasks, Path(told)) for world, tasks in json.loads(sys.argv[1])]
    print(json.dumps(results), flush=True)
