"""Builds the LightningModule and the data module of a stage from its settings."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from physhmr_kit.env.settings import ESTIMATE_STUDENT_GROUPS, ESTIMATES, EXPERT_GROUPS, reads_as_paper
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.stages.adaptation import AdaptationModule, VideoDataModule
from physhmr_kit.stages.base import Stage
from physhmr_kit.stages.data import EncoderDataModule, FilmedMotionDataModule, MotionDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.encoder import EncoderModule
from physhmr_kit.stages.expert import expert_module
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import DistillConfig, EncoderConfig, ExpertConfig, FinetuneConfig
from physhmr_kit.stages.student import fresh_student
from physhmr_kit.utils.errors import KitError


def build_stage(config) -> tuple[Stage, pl.LightningDataModule]:
    """The module and the data module of a stage; weights are read first, since loading and filming clips takes longer.

    Raises:
        KitError: clips or weights that cannot be read.
    """
    if isinstance(config, EncoderConfig):
        return EncoderModule(config), EncoderDataModule.load(config.data)
    init = config.policy.init
    if isinstance(config, ExpertConfig):
        policy = read_policy("expert", init) if init else None
        return expert_module(config, policy), MotionDataModule.load(config.data, config.noise, config.seed)
    teacher = read_policy("expert", config.expert)
    if isinstance(config, FinetuneConfig):
        if config.video and config.ppo.imitation_coef:
            raise KitError("an expert cannot label a video, which has no ground truth; leave --imitation_coef at 0")
        student = fresh_student(config.policy, teacher) if config.policy.student == "estimate" and not init else None
        student = student or read_policy("distill", init)
        if config.video:
            return AdaptationModule(config, student), VideoDataModule.read(config)
        stage: Stage = FinetuneModule(config, teacher, student)
    else:
        assert isinstance(config, DistillConfig)
        stage = DistillModule(config, teacher, read_policy("distill", init) if init else None)
    return stage, FilmedMotionDataModule.film(config.data, config.cameras, config.seed)


def read_policy(stage: str, given: str | Path | None) -> Policy:
    """Load a policy with the observations and control of a stage: 'expert', or 'distill' for any student.

    Args:
        given: a weights file or run folder; the bundled weights of the stage when None.

    Raises:
        KitError: no such weights, or weights of another kind of policy.
    """
    path = find_weights(stage, given)
    policy = load_policy(path)
    of_estimate = {estimate: true for true, estimate in ESTIMATES.items()}
    if stage == "expert":
        policy = policy.reading([of_estimate.get(g, g) for g in policy.groups])  # an expert trained on noisy references
    if policy.control == "absolute":
        fits = stage != "expert" and reads_as_paper(policy.groups)
    elif stage == "expert":
        fits = set(EXPERT_GROUPS[:2]) <= set(policy.groups) <= set(EXPERT_GROUPS)
    else:
        fits = set(policy.groups) == set(ESTIMATE_STUDENT_GROUPS)
    if not fits:
        reads = ", ".join(policy.groups)
        raise KitError(
            f"{path}: not weights of stage '{stage}'; the policy reads {reads}, its control is {policy.control}"
        )
    return policy


def find_weights(stage: str, given: str | Path | None = None) -> Path:
    """Path of the weights: the given file, `weights.safetensors` in the given run folder, or the bundled file of the stage.

    Raises:
        KitError: no such file.
    """
    path = Path(given) if given else BUNDLED / f"{stage}.safetensors"
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        raise KitError(f"{path}: no weights; train some with python -m physhmr_kit.fit --stage {stage}")
    return path
