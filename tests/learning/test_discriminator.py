"""Losses of the discriminator against hand-computed values, and that it learns to separate motion from a noisy copy."""

import math

import pytest
import torch
from motions import waving_clip
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from physhmr_kit.env.style import reference_windows
from physhmr_kit.learning import discriminator as amp
from physhmr_kit.motion.library import MotionLibrary


def test_the_loss_is_torchs_binary_cross_entropy():
    real, agent = torch.tensor([2.0, -1.0, 30.0]), torch.tensor([0.5, -60.0])
    wanted = 0.5 * binary_cross_entropy_with_logits(real, torch.ones(3)) + 0.5 * binary_cross_entropy_with_logits(
        agent, torch.zeros(2)
    )
    torch.testing.assert_close(amp.discriminator_loss(real, agent), wanted)
    assert float(amp.discriminator_loss(torch.zeros(4), torch.zeros(4))) == pytest.approx(math.log(2))


def test_the_gradient_penalty_of_a_linear_net_is_its_squared_weight():
    line = nn.Linear(6, 1)
    inputs = torch.randn(7, 2, 3, requires_grad=True)
    penalty = amp.gradient_penalty(line(inputs.flatten(1)).squeeze(-1), inputs)
    torch.testing.assert_close(penalty, line.weight.square().sum())
    penalty.backward()  # and it can be learned from: d |w|^2 / d w = 2 w
    torch.testing.assert_close(line.weight.grad, 2 * line.weight.detach())


def test_the_gradient_penalty_is_a_mean_over_rows():
    """Logit x^2 / 2 has slope x: the mean of x^2."""
    x = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    penalty = amp.gradient_penalty(0.5 * x.square().squeeze(-1), x)
    assert penalty.item() == pytest.approx(14 / 3)


def test_the_regularisers_are_sums_of_squared_weights():
    net = nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Linear(3, 1))
    nn.init.constant_(net[0].weight, 2.0)
    nn.init.constant_(net[2].weight, 3.0)
    assert amp.logit_regulariser(net).item() == 27.0
    assert amp.weight_decay(net).item() == 24.0 + 27.0


def test_the_style_reward_is_the_papers_formula():
    logits = torch.linspace(-15, 8, 200, dtype=torch.float64)
    wanted = -(1 - logits.sigmoid()).clamp(min=1e-4).log()
    torch.testing.assert_close(amp.style_reward(logits, scale=1.0), wanted)
    torch.testing.assert_close(amp.style_reward(logits), 2 * wanted)
    assert float(amp.style_reward(torch.tensor(0.0))) == pytest.approx(2 * math.log(2))
    assert float(amp.style_reward(torch.tensor(1e4))) == pytest.approx(-2 * math.log(1e-4)), "bounded"


def test_accuracy_is_computed_for_each_class():
    real, agent = amp.accuracy(torch.tensor([1.0, -1.0, 2.0, 3.0]), torch.tensor([-1.0, 5.0]))
    assert (float(real), float(agent)) == (0.75, 0.5)


def test_it_learns_to_separate_motion_from_a_noisy_copy():
    library = MotionLibrary([waving_clip(60), waving_clip(60, "slow", rate=1.0)])
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    judge = amp.Discriminator(3, (64,))
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3)

    def pair():
        clips, frames = torch.randint(2, (128,), generator=draw), torch.randint(60, (128,), generator=draw)
        real = reference_windows(library, clips, frames, 3)
        return real, real + 0.05 * torch.randn(real.shape, generator=draw)

    def told():
        with torch.no_grad():
            return sum(map(float, amp.accuracy(*map(judge, pair())))) / 2

    judge.norm.update(torch.cat(pair()))
    assert told() < 0.75, "a new one guesses"
    for _ in range(60):
        real, agent = pair()
        shown = judge.norm(real).requires_grad_()
        logits = judge.logits(shown)
        optimizer.zero_grad()
        (amp.discriminator_loss(logits, judge(agent)) + 0.1 * amp.gradient_penalty(logits, shown)).backward()
        optimizer.step()
    assert told() > 0.9
