"""Merging: each clip is taught by the expert of its kind, and one policy comes to answer as all of them do."""

import pytest
import torch

from physhmr_kit.fit import main
from physhmr_kit.learning import Policy, load_policy, save_policy
from physhmr_kit.stages.settings import EXPERT_GROUPS
from physhmr_kit.utils.errors import KitError


def test_every_clip_is_labelled_by_the_expert_of_its_kind(build):
    module = build("merge")
    obs, _ = module.env.reset(options={"clip": [0, 1, 1, 0], "frame": [0, 3, 5, 2]})
    label = module.label(obs)
    answers = torch.stack([expert(obs) for expert in module.experts])
    assert module.kinds.tolist() == [0, 1]
    assert not torch.allclose(answers[0], answers[1], atol=1e-4)
    torch.testing.assert_close(label, torch.stack([answers[k, i] for i, k in enumerate((0, 1, 1, 0))]))


def test_the_policy_comes_closer_to_the_labels_and_the_experts_stay(build, train):
    settings = {"updates": 40, "learning_rate": 3e-3}
    module = build("merge", **settings)
    before = [p.clone() for p in module.experts.parameters()]
    early = float(train(module, 1).callback_metrics["loss/imitation"])
    late = float(train(build("merge", **settings), 4).callback_metrics["loss/imitation"])
    assert late < 0.7 * early
    assert all(torch.equal(a, b) for a, b in zip(before, module.experts.parameters(), strict=True))


@pytest.fixture
def expert(tmp_path):
    """Writes weights of an untrained expert: expert(name, preview, control)."""

    def write(name: str, preview: bool = True, control: str = "residual"):
        torch.manual_seed(0)
        policy = Policy(EXPERT_GROUPS if preview else EXPERT_GROUPS[:2], (16,), 0.05, control)
        save_policy(policy, tmp_path / f"{name}.safetensors", "expert", substeps=4)
        return str(tmp_path / f"{name}.safetensors")

    return write


def fit(tmp_path, *options: str) -> int:
    quick = ["--short", "--progress", "none", "--iterations", "1", "--num_envs", "4", "--horizon", "4"]
    return main(["--stage", "merge", *quick, "--runs", str(tmp_path / "runs"), "--name", "run", *options])


def test_experts_that_differ_in_what_they_read_or_do_cannot_be_merged(tmp_path, expert):
    for other in (expert("blind", preview=False), expert("balanced", control="balanced")):
        with pytest.raises(KitError, match="experts do not read and do the same"):
            fit(tmp_path, "--experts", expert("one"), other)


def test_a_policy_to_begin_from_must_be_of_the_experts_kind(tmp_path, expert):
    with pytest.raises(KitError, match=r"balanced.safetensors: does not read and do"):
        fit(tmp_path, "--experts", expert("one"), "--init", expert("balanced", control="balanced"))


def test_without_experts_there_is_nothing_to_merge(tmp_path):
    with pytest.raises(KitError, match="merge needs --experts"):
        fit(tmp_path, "--experts", "[]")


def test_a_merged_expert_is_as_wide_as_asked_and_does_what_its_experts_do(tmp_path, expert):
    balanced = expert("balanced", control="balanced")
    assert fit(tmp_path, "--experts", balanced, balanced, "--init", balanced, "--hidden", "24") == 0
    policy = load_policy(tmp_path / "runs" / "merge" / "run" / "weights.safetensors")
    assert (policy.hidden, policy.control) == ((24,), "balanced")


def test_a_kind_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(KitError, match="kind is 2; these 2 clips are of 2 kinds"):
        main(["--stage", "expert", "--short", "--kinds", "8", "--kind", "2", "--runs", str(tmp_path)])
