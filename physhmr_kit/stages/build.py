"""From settings to a module ready to train: loads clips, weights and views, and nothing else."""

from __future__ import annotations

from pathlib import Path

from data_prep.sources import load_clips
from physhmr_kit.learning.networks import Policy, widened
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinds import kinds_of_motion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored_clip
from physhmr_kit.motion.split import is_held_out
from physhmr_kit.stages.distill import STUDENT_GROUPS, DistillConfig, DistillModule
from physhmr_kit.stages.encoder import EncoderConfig, EncoderModule
from physhmr_kit.stages.expert import ExpertConfig, ExpertModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.merge import MergeModule
from physhmr_kit.stages.samcon import SamconConfig, SamconModule
from physhmr_kit.stages.settings import EXPERT_GROUPS, MergeConfig
from physhmr_kit.stages.supertrack import SuperTrackConfig, SuperTrackModule
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.pretrained import load_encoder

Module = EncoderModule | SuperTrackModule | SamconModule | MergeModule | ExpertModule | DistillModule | FinetuneModule

_EXPERTS = {ExpertConfig: ExpertModule, SuperTrackConfig: SuperTrackModule, SamconConfig: SamconModule}


def build_module(config) -> Module:
    """The LightningModule of a stage's settings.

    Raises:
        KitError: clips or weights that cannot be read.
    """
    if isinstance(config, EncoderConfig):
        return EncoderModule(config)
    clips = load_clips(list(config.clips))
    if type(config) in (*_EXPERTS, MergeConfig):
        clips = [clip for clip in clips if not is_held_out(clip.name, config.held_out, config.fold)]
    if isinstance(config, ExpertConfig) and config.kinds:
        clips = _of_kind(clips, config.kinds, config.kind)
    if type(config) in _EXPERTS and config.mirror:
        clips += [mirrored_clip(clip) for clip in clips]
    library = MotionLibrary(clips)
    if isinstance(config, MergeConfig):
        return _merging(config, library)
    if type(config) in _EXPERTS:
        policy = _policy("expert", config.init) if config.init else None
        if policy is not None and tuple(config.hidden) != type(config)().hidden:
            policy = widened(policy, config.hidden)
        return _EXPERTS[type(config)](config, library, policy)
    expert = _policy("expert", config.expert)
    visual, _ = film_library(library, load_encoder(config.encoder or None), config.views, config.seed, config.filming)
    if isinstance(config, DistillConfig):
        return DistillModule(config, library, visual, expert, _policy("distill", config.init) if config.init else None)
    return FinetuneModule(config, library, visual, expert, _policy("distill", config.student))


def _of_kind(clips: list[Clip], kinds: int, kind: int) -> list[Clip]:
    """The clips of one kind of motion."""
    found = kinds_of_motion(MotionLibrary(clips), kinds).tolist()
    if not 0 <= kind <= max(found):
        raise KitError(f"kind is {kind}; these {len(clips)} clips are of {max(found) + 1} kinds, counted from 0")
    return [clip for clip, its in zip(clips, found, strict=True) if its == kind]


def _merging(config: MergeConfig, library: MotionLibrary) -> MergeModule:
    """Several experts and what shall become of them."""
    if not config.experts:
        raise KitError("merge needs --experts, one for each kind of motion (fit --stage expert --kinds K --kind k)")
    experts = [_policy("expert", path) for path in config.experts]
    if len({(expert.groups, expert.control) for expert in experts}) > 1:
        raise KitError("the experts do not read and do the same: some were trained with another --preview or --control")
    policy = _policy("expert", config.init) if config.init else None
    if policy is not None and (policy.groups, policy.control) != (experts[0].groups, experts[0].control):
        raise KitError(f"{config.init}: does not read and do what the experts do; leave --init empty")
    if policy is not None and policy.hidden != tuple(config.hidden):
        policy = widened(policy, config.hidden)
    return MergeModule(config, library, experts, policy)


def _policy(stage: str, given: str) -> Policy:
    """A policy that reads and acts as those of a stage do: an expert, or (distilled, perhaps fine-tuned) a student."""
    path = find_weights(stage, given)
    policy = load_policy(path)
    if stage == "expert":
        needed, allowed, controls = EXPERT_GROUPS[:2], EXPERT_GROUPS, ("residual", "balanced")
    else:
        needed, allowed, controls = STUDENT_GROUPS, STUDENT_GROUPS, ("absolute",)
    if not set(needed) <= set(policy.groups) <= set(allowed) or policy.control not in controls:
        reads = ", ".join(policy.groups)
        raise KitError(
            f"{path}: not weights of stage '{stage}'; this policy reads {reads} and its control is {policy.control}"
        )
    return policy


def find_weights(stage: str, given: str | Path = "") -> Path:
    """A weights file: the one given, the `weights.safetensors` of a given run folder, or the bundled one of the stage.

    Raises:
        KitError: nothing there.
    """
    path = Path(given) if given else BUNDLED / f"{stage}.safetensors"
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        raise KitError(f"{path}: no weights; train some with python -m physhmr_kit.fit --stage {stage}")
    return path
