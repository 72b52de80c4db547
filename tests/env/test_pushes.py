"""Random pushes in training, and the push test."""

import math
from dataclasses import fields

import pytest
import torch
from motions import rest_clip

from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.env import TrackingConfig, TrackingEnv, track_clips
from physhmr_kit.env.pushes import RandomPushes, at_chest, horizontal
from physhmr_kit.env.recovery import PushTest, evaluate_push, push_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.errors import KitError

CPU = torch.device("cpu")


def nothing(obs):
    return torch.zeros(len(obs["proprioception"]), 69)


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(75), rest_clip(20, "short")])


@pytest.fixture
def build(library):
    """Makes environments of 4: build(**config)."""
    made = []

    def make(**config):
        made.append(TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=4), TrackingConfig(**config)))
        return made[-1]

    yield make
    for env in made:
        env.close()


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_a_push_has_the_direction_of_its_angle():
    force = horizontal(2.0, torch.tensor([0.0, math.pi / 2, math.pi]))
    expected = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [-2.0, 0, 0]])
    torch.testing.assert_close(force, expected, atol=1e-6, rtol=0)
    assert at_chest(force).nonzero()[:, 1].unique().tolist() == [JOINT_NAMES.index("spine3")]


# Random pushes


def test_random_pushes_have_the_configured_force_duration_and_interval():
    pushes, dice = RandomPushes(1000, force=120.0, steps=3, interval=20, device=CPU), torch.Generator().manual_seed(0)
    drawn = torch.stack([pushes.draw(dice) for _ in range(400)])
    chest = drawn[:, :, JOINT_NAMES.index("spine3")]
    assert torch.equal(drawn.abs().sum((2, 3)) > 0, chest.norm(dim=-1) > 0) and (chest[..., 2] == 0).all()
    size = chest.norm(dim=-1)
    torch.testing.assert_close(size[size > 0], torch.full_like(size[size > 0], 120.0))
    assert float((size > 0).float().mean()) == pytest.approx(3 / (3 + 19), rel=0.03)
    angle = torch.atan2(chest[..., 1], chest[..., 0])[size > 0]
    assert (torch.histc(angle, 4, -math.pi, math.pi) / len(angle) - 0.25).abs().max() < 0.03, "uniform directions"
    # a push that begins after a pause is constant for three steps
    begins = ((size[1:-3] > 0) & (size[:-4] == 0)).nonzero()
    for step, env in begins[:50].tolist():
        assert torch.equal(chest[step + 1, env], chest[step + 3, env])


def test_pushes_move_bodies_and_no_random_numbers_are_drawn_without_them(build):
    calm, pushed = build(), build(push_force=400.0, push_interval=5.0)
    for env in (calm, pushed):
        env.reset(seed=3)
    before = calm.generator.get_state()
    for _ in range(6):
        for env in (calm, pushed):
            env.step(torch.zeros(4, 69))
    assert torch.equal(calm.generator.get_state(), before)
    assert not torch.equal(pushed.generator.get_state(), before)
    assert "pushes" not in calm.state_dict()
    speed = [env.last_state.body_lin_vel[:, 0].norm(dim=1).max() for env in (calm, pushed)]
    assert speed[0] < 0.1 < 0.3 < speed[1]


def test_pushes_resume_exactly(build):
    one, other = (build(push_force=150.0, push_interval=4.0, push_steps=5) for _ in range(2))
    one.reset(seed=1)
    for _ in range(7):
        one.step(torch.zeros(4, 69))
    assert one.state_dict()["pushes"]["left"].any()
    other.load_state_dict(one.state_dict())
    for _ in range(8):
        for env in (one, other):
            env.step(torch.zeros(4, 69))
        assert same(one.last_state, other.last_state)


def test_a_run_without_pushes_can_resume_with_pushes(build):
    calm = build()
    calm.reset(seed=1)
    for config in ({}, {"push_force": 100.0}):
        env = build(**config)
        env.load_state_dict(calm.state_dict())
        env.step(torch.zeros(4, 69))


def test_a_new_episode_ends_the_push():
    pushes, dice = RandomPushes(3, force=1.0, steps=1000, interval=1, device=CPU), torch.Generator().manual_seed(0)
    pushes.draw(dice)
    pushes.end(torch.tensor([1]))
    assert pushes.state_dict()["left"].tolist() == [999, 0, 999]


def test_a_step_takes_an_external_push(build):
    env, twin = build(), build()
    for e in (env, twin):
        e.reset(seed=0, options={"clip": torch.zeros(4, dtype=torch.long), "frame": torch.zeros(4, dtype=torch.long)})
    force = torch.zeros(4, 3)
    force[2, 0] = 300.0
    env.step(torch.zeros(4, 69), at_chest(force))
    twin.step(torch.zeros(4, 69))
    moved = (env.last_state.body_pos - twin.last_state.body_pos).abs().amax((1, 2))
    assert moved[2] > 1e-3 and (moved[[0, 1, 3]] == 0).all()


@pytest.mark.parametrize("wrong", [{"push_force": -1.0}, {"push_steps": 0}, {"push_interval": 0.5}])
def test_invalid_pushes_are_refused(wrong):
    with pytest.raises(KitError, match=next(iter(wrong))):
        TrackingConfig(**wrong)


# The push test


def test_pushes_begin_after_half_a_second_and_a_second_before_the_end_in_all_directions():
    frames, angles = PushTest(pushes=4000).plan("clip", 100)
    assert frames.min() == 15 and frames.max() == 99 - 30
    assert 0 <= angles.min() < 0.1 and 6.2 < angles.max() < 2 * math.pi
    assert torch.equal(PushTest(pushes=5).plan("clip", 100)[0], frames[:5]), "independent of the number of pushes"
    assert not torch.equal(PushTest(pushes=5, seed=1).plan("clip", 100)[0], frames[:5])
    assert not torch.equal(PushTest(pushes=5).plan("other", 100)[0], frames[:5])


def test_a_short_clip_is_pushed_in_its_middle():
    assert PushTest(pushes=3).plan("clip", 41)[0].tolist() == [20, 20, 20]


def test_a_zero_push_changes_nothing_and_a_strong_one_makes_bodies_fall(library):
    calm = track_clips(nothing, library, TrackingConfig())
    rollouts, untouched = push_clips(nothing, library, TrackingConfig(), PushTest(force=0.0, pushes=2))
    assert [r.name for r in rollouts] == [f"{clip}_push{k}" for clip in ("rest", "short") for k in range(3)]
    assert [(f.clip, f.push) for f in untouched] == [(clip, k) for clip in ("rest", "short") for k in range(3)]
    for index, rollout in enumerate(rollouts):
        # the last bits depend on the number of environments
        torch.testing.assert_close(rollout.simulated.body_pos, calm[index // 3].simulated.body_pos, atol=1e-4, rtol=0)
    assert all(f.stayed_up and f.recovered and f.back_s == 0 and f.largest_mm < 50 for f in untouched)

    # the random pushes of the config are off in evaluations
    _, thrown = push_clips(
        nothing, library, TrackingConfig(push_force=1e4), PushTest(force=1500.0, pushes=2, seconds=0.2)
    )
    assert thrown[0].recovered and thrown[0].largest_mm < 50, "not pushed"
    assert not any(f.recovered for f in thrown[1:3]) and all(math.isnan(f.back_s) for f in thrown[1:3])
    assert min(f.largest_mm for f in thrown if f.push) > 100


def test_recovery_is_measured_at_the_end_of_the_clip(library):
    rollout = track_clips(nothing, library, TrackingConfig())[0]
    start = rollout.simulated.body_pos.clone()

    def moved(first: int, last: int, metres: float):
        rollout.simulated.body_pos.copy_(start)
        rollout.simulated.body_pos[first:last, :, 0] += metres
        return evaluate_push(rollout, 1, frame=20, steps=3)

    back = moved(22, 38, 0.3)
    assert back.recovered and back.back_s == pytest.approx(15 / 30) and back.largest_mm == pytest.approx(300, abs=40)
    away = moved(22, 75, 0.3)
    assert away.stayed_up and not away.recovered and math.isnan(away.back_s)
    leaning = moved(22, 75, 0.07)
    assert leaning.recovered and math.isnan(leaning.back_s)
    earlier = moved(0, 20, 0.3)
    assert earlier.recovered and earlier.back_s == 0 and earlier.largest_mm < 50


@pytest.mark.parametrize("wrong", [{"force": -1.0}, {"force": math.nan}, {"seconds": 0.0}, {"pushes": 0}])
def test_invalid_push_tests_are_refused(wrong):
    with pytest.raises(KitError, match="needed"):
        PushTest(**wrong)
