"""A student that begins as the expert and follows the refined estimate."""

import pytest
import torch
from small_stages import CONFIGS, with_settings

from physhmr_kit.env.settings import ESTIMATE_STUDENT_GROUPS, EXPERT_GROUPS, STUDENT_GROUPS
from physhmr_kit.learning import Policy, save_policy
from physhmr_kit.stages.build import read_policy
from physhmr_kit.stages.data import FilmedMotionDataModule, MotionDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.expert import expert_module
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import StudentPolicy
from physhmr_kit.stages.student import fresh_student
from physhmr_kit.utils.errors import KitError


@pytest.fixture
def expert():
    torch.manual_seed(0)
    return Policy(EXPERT_GROUPS, (16,), 0.1, "balanced")


def test_a_new_student_is_of_one_of_two_kinds(expert):
    paper = fresh_student(StudentPolicy(hidden=(8,)))
    assert paper.groups == STUDENT_GROUPS and paper.control == "absolute"
    estimate = fresh_student(StudentPolicy(student="estimate"), expert)
    assert set(estimate.groups) == set(ESTIMATE_STUDENT_GROUPS) and estimate.control == "balanced"
    with pytest.raises(ValueError, match="starts from an expert"):
        fresh_student(StudentPolicy(student="estimate"))


@pytest.mark.parametrize("stage", ["distill", "finetune"])
def test_an_estimate_student_trains_in_both_stages(expert, small_library, views, train, weights_of, stage):
    student = fresh_student(StudentPolicy(student="estimate"), expert)
    config = with_settings(CONFIGS[stage], student="estimate")
    make = DistillModule if stage == "distill" else FinetuneModule
    module = make(config, expert, student)
    module.data = FilmedMotionDataModule(small_library, views)
    before = weights_of(module.policy)
    train(module, 2)
    assert not torch.equal(before["net.0.weight"][:, -512:], module.policy.net[0].weight[:, -512:])


def test_an_expert_trained_on_noise_is_saved_as_an_expert(small_library, train, tmp_path):
    from physhmr_kit.env.reference_motion import Estimates
    from physhmr_kit.motion.noise import noisy_library

    config = with_settings(CONFIGS["expert"], versions=3)
    module = expert_module(config)
    assert module.policy.groups == ("proprioception", "estimate", "estimate_preview")
    assert module.critic.groups == (*module.policy.groups, "reference"), "the critic knows the truth"
    module.data = MotionDataModule(
        small_library, Estimates(noisy_library(small_library, config.noise, 0), 3, small_library.lengths)
    )
    train(module, 2)
    assert float(module.critic.norm.count) == float(module.policy.norm.count) > 0
    path = save_policy(module.policy, tmp_path / "weights.safetensors", "expert")
    assert read_policy("expert", str(path)).groups == EXPERT_GROUPS


def test_a_paper_student_may_read_other_groups(expert, small_library, views, train, tmp_path):
    groups = ("proprioception", "feature", "root_position")
    module = DistillModule(with_settings(CONFIGS["distill"], groups=groups), expert)
    module.data = FilmedMotionDataModule(small_library, views)
    train(module, 2)
    assert module.policy.groups == groups and module.policy.norm.var[-3:].min() > 0
    path = save_policy(module.policy, tmp_path / "s.safetensors", "distill")
    assert read_policy("distill", str(path)).groups == groups
    blind = save_policy(Policy(("proprioception",), (8,), control="absolute"), tmp_path / "b.safetensors", "distill")
    with pytest.raises(KitError, match="not weights of stage 'distill'"):
        read_policy("distill", str(blind))
    with pytest.raises(KitError, match="not weights of stage 'expert'"):
        read_policy("expert", str(path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": ("proprioception", "reference")}, "cannot read 'reference'"),
        ({"groups": ("feature", "rays")}, "give proprioception"),
        ({"groups": ("proprioception",)}, "another group"),
        ({"groups": ("proprioception", "rays", "rays")}, "each once"),
        ({"groups": ("proprioception", "rays"), "student": "estimate"}, "for a 'paper' student"),
    ],
)
def test_groups_that_a_paper_student_cannot_read_are_refused(settings, words):
    with pytest.raises(KitError, match=words):
        StudentPolicy(**settings)


def test_weights_of_an_estimate_student_are_accepted_as_distill(expert, tmp_path):
    student = fresh_student(StudentPolicy(student="estimate"), expert)
    path = save_policy(student, tmp_path / "s.safetensors", "distill")
    assert read_policy("distill", str(path)).groups == student.groups
    with pytest.raises(KitError, match="not weights of stage 'expert'"):
        read_policy("expert", str(path))
    short = save_policy(
        Policy(("proprioception", "estimate"), (8,), control="balanced"), tmp_path / "t.safetensors", "distill"
    )
    with pytest.raises(KitError, match="not weights of stage 'distill'"):
        read_policy("distill", str(short))
