"""Nothing leaves the GPU: every term of the step, and the learner, on a device that is not the CPU.

There is no card where the tests run. PyTorch's meta device holds shapes and no numbers: a tensor there cannot be mixed with one
on the CPU, just as on a card, and asking for its numbers fails. So a constant left on the CPU shows itself here.
"""

from dataclasses import fields

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.body import humanoid, quaternions
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import actions, observations, rewards, terminations
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.learning import Critic, Policy, ppo
from physhmr_kit.motion import kinematics
from physhmr_kit.motion.kinematics import heading, hinge_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState

N = 5
BONES = Humanoid.mean().offsets


@pytest.fixture
def card():
    """Another device; caches for it are cleared afterwards."""
    yield torch.device("meta")
    for module in (humanoid, quaternions, kinematics, terminations):
        for value in vars(module).values():
            getattr(value, "cache_clear", lambda: None)()


@pytest.fixture
def body(card) -> BodyState:
    draw = lambda *shape: torch.randn(N, *shape, device=card)  # noqa: E731
    return hinge_kinematics(draw(3), draw(4), draw(3), draw(3), draw(69), draw(69), BONES.to(card))


def on_card(*tensors) -> None:
    assert all(t.device.type == "meta" for t in tensors)


def test_kinematics_stay_on_the_device(card, body):
    on_card(*(getattr(body, f.name) for f in fields(BodyState)))
    pos, rot = kinematics.forward_kinematics(body.root_pos, body.body_rot, BONES.to(card))
    on_card(pos, rot, *(getattr(BodyState.unpack(body.pack()), f.name) for f in fields(BodyState)))


def test_observations_rewards_and_terminations_stay_on_the_device(card, body):
    yaw, view = heading(body.root_rot), torch.randn(N, 12, 3, device=card)
    on_card(
        observations.proprioception(body, yaw), observations.reference(body, body, yaw),
        observations.rays(view, body.root_pos, view, yaw), observations.root_orientation(body.root_rot, yaw),
    )  # fmt: skip
    force, masses = torch.randn(N, 24, 3, device=card), torch.rand(24, device=card)
    on_card(
        *(term(body, body) for term in (rewards.position, rewards.rotation, rewards.velocity, rewards.angular_velocity)),
        rewards.power(body.dof_pos, body.dof_vel), rewards.balance(body, masses), rewards.foot_contact(body, body, force),
        terminations.any_body_far(body.body_pos, body.body_pos, 0.25),
        terminations.mean_body_far(body.body_pos, body.body_pos, 0.5),
    )  # fmt: skip


def test_targets_stay_on_the_device(card, body):
    body_of_means = Humanoid.mean()
    scale = actions.absolute_scale(body_of_means).to(card)
    on_card(
        body_of_means.limit_targets(body.dof_pos, body.dof_pos, body.dof_vel),
        actions.absolute_target(body.dof_pos, scale), actions.residual_target(body.dof_pos, body.dof_pos),
    )  # fmt: skip


def test_clips_and_starts_stay_on_the_device(card):
    clips, ids = MotionLibrary([rest_clip(4), waving_clip(6)]).to(card), torch.zeros(N, dtype=torch.long, device=card)
    state = clips.frames(ids, ids)
    on_card(
        state.body_pos,
        state.dof_vel,
        clips.last_frames(ids),
        clips.rows(ids, ids),
        StartSampler(clips.lengths, longest=clips.longest).clip_weights,
    )


def test_networks_and_losses_stay_on_the_device(card):
    groups = ("proprioception", "reference")
    with card:
        policy, critic = Policy(groups, (8,)), Critic(groups, (8,))
    seen = torch.randn(3, N, 934, device=card)
    mean = policy.mean(seen)
    action = policy.sample(mean)
    reward, value, done = torch.rand(3, N, device=card), critic(seen), torch.zeros(3, N, dtype=torch.bool, device=card)
    advantage = ppo.advantages(reward, value, value, done, 0.97, 0.95)
    policy.norm.update(seen)
    log_prob = policy.log_prob(mean, action)
    on_card(
        action, advantage, ppo.policy_loss(log_prob, log_prob, advantage, 0.2), ppo.bounds_loss(mean), policy.norm.mean
    )


def test_a_constant_left_on_the_cpu_raises(card, body):
    with pytest.raises(RuntimeError, match="device"):
        rewards.balance(body, torch.rand(24))
    with pytest.raises(RuntimeError, match="device"):
        Policy(("proprioception",), (8,)).mean(torch.zeros(N, 358, device=card))
