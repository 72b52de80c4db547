"""Policy stages small enough for tests: four bodies, two short clips, untrained expert, student and encoder."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import pytorch_lightning as pl
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env.settings import EXPERT_GROUPS, STUDENT_GROUPS
from physhmr_kit.learning import Policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.data import FilmedMotionDataModule, MotionDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.expert import expert_module
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import (
    PPO,
    Distillation,
    DistillConfig,
    ExpertConfig,
    ExpertPolicy,
    FinetuneConfig,
    FinetunePPO,
    Simulation,
    StudentPolicy,
)
from physhmr_kit.stages.views import film_library
from physhmr_kit.vision.encoder import VisionEncoder

SIM = Simulation(simulator="mujoco_cpu", num_envs=4)
CONFIGS = {
    "expert": ExpertConfig(
        iterations=4, sim=SIM, policy=ExpertPolicy(hidden=(16,)), ppo=PPO(horizon=4, epochs=2, minibatch_size=8)
    ),
    "distill": DistillConfig(
        iterations=4, sim=SIM, policy=StudentPolicy(hidden=(16,)),
        optim=Distillation(horizon=4, updates=3, minibatch_size=8, buffer_rollouts=2),
    ),
    "finetune": FinetuneConfig(
        iterations=4, sim=SIM, policy=StudentPolicy(hidden=(16,), std=0.02),
        ppo=FinetunePPO(horizon=4, epochs=2, minibatch_size=8, critic_hidden=(16,), critic_warmup=1, ema_decay=0.0),
    ),
}  # fmt: skip


def with_settings(config, **settings):
    """The config with settings changed that are named by their last word, in whichever group they are."""
    for name, value in settings.items():
        if name in {f.name for f in fields(config)}:
            config = replace(config, **{name: value})
            continue
        groups = [f.name for f in fields(config) if hasattr(getattr(config, f.name), name)]
        assert len(groups) == 1, (name, groups)
        config = replace(config, **{groups[0]: replace(getattr(config, groups[0]), **{name: value})})
    return config


@pytest.fixture(scope="session")
def small_library() -> MotionLibrary:
    return MotionLibrary([rest_clip(14), waving_clip(20)])


@pytest.fixture(scope="session")
def views(small_library):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = VisionEncoder(width=24, layers=1, heads=2).eval()
    return film_library(small_library, encoder, 2, seed=0)[0]


@pytest.fixture
def build(small_library, views):
    """Makes modules ready to train, with their data: build("expert", gamma=0.9)."""
    made = []

    def make(stage: str, **settings):
        config = with_settings(CONFIGS[stage], **settings)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            expert = Policy(EXPERT_GROUPS, (16,), 0.1)
            student = Policy(STUDENT_GROUPS, (16,), 0.1, "absolute")
        if stage == "expert":
            module, data = expert_module(config), MotionDataModule(small_library)
        else:
            data = FilmedMotionDataModule(small_library, views)
            module = DistillModule(config, expert) if stage == "distill" else FinetuneModule(config, expert, student)
        module.data = data
        made.append(module)
        return module

    yield make
    for module in made:
        module.teardown("fit")


@pytest.fixture
def opened(build):
    """The same with their environments, without a Trainer."""

    def make(stage: str, **settings):
        module = build(stage, **settings)
        module.open(module.data)
        return module

    return make


@pytest.fixture
def train(tmp_path):
    """Trains a module for some iterations, from a checkpoint if one is given; leaves `checkpoint` where asked."""

    def fit(module, iterations: int, resume=None, checkpoint=None, callbacks=(), **options):
        saver = []
        if checkpoint is not None:
            from physhmr_kit.runs.callbacks import LastCheckpoint

            saver = [LastCheckpoint(checkpoint, 1)]
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=iterations, logger=False, enable_model_summary=False,
            default_root_dir=tmp_path, callbacks=[*callbacks, *saver],
            **({"limit_val_batches": 0, "enable_checkpointing": bool(saver), "enable_progress_bar": False} | options),
        )  # fmt: skip
        trainer.fit(module, datamodule=module.data, ckpt_path=resume, weights_only=True)
        return trainer

    return fit


@pytest.fixture
def weights_of():
    """All parameters and buffers of a module, copied."""
    return lambda module: {k: v.clone() for k, v in module.state_dict().items()}


@pytest.fixture
def equal_weights():
    """Whether two such copies agree to the last bit."""
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
