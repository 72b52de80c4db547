"""Weights on disk: saving, loading, and errors for files that are not weights."""

import pytest
import torch
from safetensors.torch import save_file

from physhmr_kit.learning import BUNDLED, Policy, load_policy, read_weights, save_policy, save_weights
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.pretrained import save_encoder

GROUPS = ("ray_confidence", "root_orientation")


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    policy = Policy(GROUPS, (16, 8), std=0.07, control="absolute")
    policy.norm.update(torch.randn(50, 18) * 3 + 1)
    return policy


def test_a_policy_survives_saving_and_loading(policy, tmp_path):
    path = save_policy(policy, tmp_path / "deep" / "p.safetensors", "distill", samples=7)
    back = load_policy(path)
    assert (back.groups, back.hidden, back.control) == (policy.groups, policy.hidden, policy.control)
    assert policy.training and not back.training, "loaded in eval mode"
    assert back.state_dict().keys() == policy.state_dict().keys()
    assert all(torch.equal(v, policy.state_dict()[k]) for k, v in back.state_dict().items())
    settings = read_weights(path)[1]
    assert settings["stage"] == "distill" and settings["samples"] == 7
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"], "no temporary file is left"


def test_half_precision_halves_the_file_and_is_read_as_float32(policy, tmp_path):
    whole, half = (save_policy(policy, tmp_path / f"{h}.safetensors", "expert", half=h) for h in (False, True))
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    back = load_policy(half)
    weight = policy.net[0].weight
    assert back.net[0].weight.dtype == torch.float32
    assert {t.dtype for t in read_weights(half)[0].values() if t.is_floating_point()} <= {torch.float32, torch.float64}
    torch.testing.assert_close(back.net[0].weight, weight, atol=1e-3, rtol=1e-3)
    assert not torch.equal(back.net[0].weight, weight)
    assert torch.equal(back.norm.var, policy.norm.var), "statistics stay exact"


def refused(path, words):
    with pytest.raises(KitError, match=words) as fault:
        load_policy(path)
    assert str(path) in str(fault.value) and "\n" not in str(fault.value)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "no such weights file")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "no such weights file")


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    path.write_text("these are not the weights")
    refused(path, "not a safetensors weights file")
    path.write_bytes(b"")
    refused(path, "not a safetensors weights file")


def test_a_git_lfs_pointer_is_refused_with_its_remedy(tmp_path):
    path = tmp_path / "pointer.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    refused(path, "git lfs pull")


def test_a_truncated_file_is_refused(policy, tmp_path):
    path = save_policy(policy, tmp_path / "p.safetensors", "expert")
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "not a safetensors weights file")


def test_other_safetensors_are_refused(tmp_path):
    save_file({"layer": torch.zeros(3)}, tmp_path / "other.safetensors")
    refused(tmp_path / "other.safetensors", "not weights of physhmr_kit")


def test_an_encoder_is_refused_as_a_policy(tmp_path):
    refused(
        save_encoder(VisionEncoder(width=24, layers=1, heads=2), tmp_path / "encoder.safetensors"),
        "not weights of physhmr_kit|not a policy",
    )


def test_settings_that_do_not_match_the_tensors_are_refused(policy, tmp_path):
    settings = {"stage": "expert", "groups": GROUPS, "hidden": [32], "std": 0.1, "control": "residual"}
    refused(save_weights(policy, tmp_path / "odd.safetensors", settings), "not a policy")
    refused(save_weights(policy, tmp_path / "bare.safetensors", {"stage": "critic"}), "'critic', not a policy")
    refused(save_weights(policy, tmp_path / "odd.safetensors", settings | {"groups": ["smell"]}), "not a policy")


@pytest.mark.parametrize(
    "path", sorted(p for p in BUNDLED.glob("*.safetensors") if p.stem != "encoder"), ids=lambda p: p.stem
)
def test_bundled_policies_load_and_have_a_card(path):
    policy = load_policy(path)
    assert all(torch.isfinite(v).all() for v in policy.state_dict().values())
    assert read_weights(path)[1]["stage"] == path.stem
    assert path.with_suffix(".md").is_file(), "every bundled file has a card"
