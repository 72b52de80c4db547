"""Policy stages small enough for tests: four bodies, two short clips, untrained expert, student and eye."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from motions import rest_clip, waving_clip
from physhmr_kit.stages.merge import MergeModule
from physhmr_kit.stages.samcon import SamconConfig, SamconModule
from physhmr_kit.stages.supertrack import SuperTrackConfig, SuperTrackModule

from physhmr_kit.learning import Policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.distill import STUDENT_GROUPS, DistillConfig, DistillModule
from physhmr_kit.stages.expert import ExpertConfig, ExpertModule
from physhmr_kit.stages.finetune import FinetuneConfig, FinetuneModule
from physhmr_kit.stages.settings import EXPERT_GROUPS, MergeConfig
from physhmr_kit.stages.views import film_library
from physhmr_kit.vision.encoder import VisionEncoder

SIZES = {"num_envs": 4, "horizon": 4, "iterations": 4, "hidden": (16,)}
MODEL = {
    "model_hidden": (16,),
    "memory": 2,
    "warmup": 1,
    "window": 2,
    "lookahead": 2,
    "model_updates": 2,
    "policy_updates": 2,
}
SETTINGS = {
    "supertrack": SuperTrackConfig(
        **SIZES,
        model_hidden=(16,),
        memory=2,
        warmup=1,
        window=2,
        lookahead=2,
        minibatch=8,
        model_updates=2,
        policy_updates=2,
    ),
    "samcon": SamconConfig(
        bodies=2,
        copies=4,
        iterations=4,
        hidden=(16,),
        windows=2,
        window=2,
        lead=2,
        lookahead=1,
        memory=64,
        warmup=8,
        minibatch=8,
    ),
    "expert": ExpertConfig(**SIZES, epochs=2, minibatch=8),
    "merge": MergeConfig(**SIZES, updates=3, minibatch=8, memory=64),
    "distill": DistillConfig(**SIZES, updates=3, minibatch=8, memory=2),
    "finetune": FinetuneConfig(**SIZES, epochs=2, minibatch=8, warmup=1),
}


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
    """Makes modules ready to train, with two iterations in an epoch: build("expert", **settings)."""
    made = []

    def make(stage: str, **settings):
        from dataclasses import replace

        config = replace(SETTINGS[stage], **settings)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            expert = Policy(EXPERT_GROUPS, (16,), 0.1)
            student = Policy(STUDENT_GROUPS, (16,), 0.1, "absolute")
        if stage == "supertrack":
            module = SuperTrackModule(config, small_library)
        elif stage == "samcon":
            module = SamconModule(config, small_library)
        elif stage == "merge":
            with torch.random.fork_rng():
                torch.manual_seed(6)
                other = Policy(EXPERT_GROUPS, (16,), 0.1)
            module = MergeModule(config, small_library, [expert, other])
        elif stage == "expert":
            module = ExpertModule(config, small_library)
        elif stage == "distill":
            module = DistillModule(config, small_library, views, expert)
        else:
            module = FinetuneModule(config, small_library, views, expert, student)
        module.iterations_per_epoch = 2
        made.append(module)
        return module

    yield make
    for module in made:
        module.env.close()


@pytest.fixture
def train(tmp_path):
    """Trains a module for some epochs, from a checkpoint if one is given; leaves `checkpoint` where asked."""

    def fit(module, epochs: int, resume=None, checkpoint=None):
        trainer = pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, ckpt_path=resume, weights_only=True)
        if checkpoint is not None:
            trainer.save_checkpoint(checkpoint)
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
