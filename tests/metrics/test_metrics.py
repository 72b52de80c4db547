import doctest
import importlib

import pytest
import torch
from torchmetrics import Metric

from physhmr_kit import metrics
from physhmr_kit.body.hinges import dof_limits
from physhmr_kit.metrics import functional as F

NAMES = [
    n for n in metrics.__all__ if isinstance(getattr(metrics, n), type) and issubclass(getattr(metrics, n), Metric)
]


def clip(frames, seed):
    """Keyword arguments, of which each metric takes what it needs."""
    g = torch.Generator().manual_seed(seed)
    body, sole = torch.randn(1, 24, 3, generator=g), 0.2 * torch.rand(1, 16, 3, generator=g)
    walk = torch.arange(frames)[:, None, None] * 0.02 * torch.rand(1, 1, 3, generator=g)
    return {
        "pred_joints": body + walk + 0.02 * torch.randn(frames, 24, 3, generator=g),
        "target_joints": body + walk,
        "pred_soles": sole + 0.01 * torch.randn(frames, 16, 3, generator=g),
        "target_soles": sole + 0.004 * torch.randn(frames, 16, 3, generator=g),
        "pred_dof": 2.0 * torch.randn(frames, 69, generator=g),
    }


def fed(name, *clips):
    metric = getattr(metrics, name)()
    for c in clips:
        metric.update(**metric._filter_kwargs(**c))
    return metric


@pytest.mark.parametrize("name", NAMES)
def test_metric_attributes_and_sum_reduction(name):
    metric = getattr(metrics, name)()
    assert metric.full_state_update is False
    assert metric.higher_is_better is (name == "SuccessRate")
    assert isinstance(metric.is_differentiable, bool)
    assert set(metric._reductions) == {"total", "count"}
    assert all(r.__name__ == "dim_zero_sum" for r in metric._reductions.values())


@pytest.mark.parametrize("name", NAMES)
def test_summing_over_two_processes_equals_one_process(name):
    a, b = clip(40, 1), clip(25, 2)
    together, left, right = fed(name, a, b), fed(name, a), fed(name, b)
    assert left.count > 0
    total, count = left.total + right.total, left.count + right.count
    torch.testing.assert_close(together.compute(), total / count)


@pytest.mark.parametrize("name", NAMES)
def test_without_values_the_result_is_nan(name):
    metric = getattr(metrics, name)()
    with pytest.warns(UserWarning, match="compute"):
        assert torch.isnan(metric.compute())


def test_values_are_pooled_over_frames():
    target = torch.zeros(30, 24, 3)
    pred = target.clone()
    pred[:, 15] = torch.tensor([0.24, 0.0, 0.0])  # 10 mm for 30 frames
    metric = metrics.MPJPE()
    metric.update(pred, target)
    metric.update(target[:10], target[:10])  # 0 mm for 10 frames
    assert metric.compute() == pytest.approx(7.5, rel=1e-5)


def test_height_variance_is_a_mean_over_clips():
    a, b = clip(40, 1), clip(80, 2)
    expected = (F.height_variance(a["pred_soles"]) + F.height_variance(b["pred_soles"])) / 2
    assert fed("HeightVariance", a, b).compute() == pytest.approx(expected.item(), rel=1e-5)


def test_foot_sliding_ignores_clips_without_contact():
    flying = torch.arange(10.0)[:, None, None].expand(10, 16, 3)
    still = torch.zeros(10, 16, 3)
    metric = metrics.FootSliding()
    metric.update(flying, flying)
    assert torch.isnan(metric.compute())
    metric.update(still, still)
    assert metric.compute() == 0


def test_success_needs_the_whole_clip():
    target = torch.zeros(20, 24, 3)
    metric = metrics.SuccessRate()
    metric.update(target, target, clip_frames=20)
    metric.update(target[:12], target[:12], clip_frames=20)  # cut short
    metric.update(target + 1.0, target, clip_frames=20)
    metric.update(target, target)
    assert metric.compute() == 50


def test_limit_violation_and_excess_by_hand():
    limits = dof_limits()
    dof = limits.mean(-1).expand(10, 69).clone()
    dof[:, 0] = limits[0, 1] + torch.deg2rad(torch.tensor(5.0))
    share, excess = metrics.LimitViolation(), metrics.LimitExcess()
    share.update(dof)
    excess.update(dof)
    assert share.compute() == pytest.approx(100 / 69, rel=1e-4)
    assert excess.compute() == pytest.approx(5, abs=1e-3)


@pytest.mark.parametrize("name", ["MPJPE", "PAMPJPE", "Accel", "WMPJPE", "WAMPJPE", "RTE", "GlobalMPJPE"])
def test_differentiable_metrics_have_finite_gradients(name):
    metric, inputs = getattr(metrics, name)(), clip(12, 3)
    assert metric.is_differentiable
    inputs["pred_joints"].requires_grad_()
    metric(**metric._filter_kwargs(**inputs)).backward()
    grad = inputs["pred_joints"].grad
    assert torch.isfinite(grad).all() and grad.abs().max() > 0


@pytest.mark.parametrize("module", ["functional", "accuracy"])
def test_docstring_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"physhmr_kit.metrics.{module}"))
    assert result.attempted > 0 and result.failed == 0
