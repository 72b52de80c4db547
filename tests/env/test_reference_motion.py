"""A policy that tracks an estimate observes the estimate and is rewarded by the true reference."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env import TrackingConfig, TrackingEnv, observations
from physhmr_kit.env.reference_motion import Estimates, Place, ReferenceMotion
from physhmr_kit.env.settings import ESTIMATES
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.errors import KitError

TRUE, TOLD = tuple(ESTIMATES), tuple(ESTIMATES.values())


def shifted(clip, metres):
    return replace(clip, trans=clip.trans + np.float32([metres, 0, 0]))


@pytest.fixture(scope="module")
def library():
    return MotionLibrary([rest_clip(20), waving_clip(30)])


@pytest.fixture(scope="module")
def estimates(library):
    """Two views of each clip, 0.1 and 0.2 m ahead of it along x."""
    views = [shifted(clip, metres) for clip in library.clips() for metres in (0.1, 0.2)]
    return Estimates(MotionLibrary(views), 2, library.lengths)


@pytest.fixture
def build(library):
    made = []

    def make(estimates=None, **config):
        made.append(
            TrackingEnv(
                library, make_simulator("mujoco_cpu", num_envs=3), TrackingConfig(**config), estimates=estimates
            )
        )
        made[-1].reset(
            seed=0,
            options={
                "clip": torch.tensor([0, 1, 1]),
                "frame": torch.tensor([0, 4, 9]),
                "view": torch.tensor([0, 1, 0]),
            },
        )
        return made[-1]

    yield make
    for env in made:
        env.close()


def test_an_estimate_is_looked_up_by_clip_and_view(library, estimates):
    followed = ReferenceMotion(estimates.library, 2)
    place = Place(torch.tensor([0, 1, 1]), torch.tensor([3, 29, 5]), torch.tensor([1, 0, 1]))
    truth = ReferenceMotion(library)
    true, told = truth.states(place, 1), followed.states(place, 1)
    assert (told.root_pos - true.root_pos)[:, 0].tolist() == pytest.approx([0.2, 0.1, 0.2], abs=1e-5)
    torch.testing.assert_close(told.root_pos[1], followed.states(place).root_pos[1], msg="held at the last frame")


def test_states_and_preview_are_those_of_later_frames_clamped_at_the_end(library):
    motion, last = ReferenceMotion(library), int(library.lengths[1]) - 1
    place = Place(torch.tensor([1, 1]), torch.tensor([4, last - 5]), torch.zeros(2, dtype=torch.long))
    waving = library.clip(1)
    torch.testing.assert_close(motion.states(place, 3).body_pos, waving.body_pos[[7, last - 2]])
    shown = motion.preview(place)
    assert shown.shape == (2, 3, 9, 3)
    for k, steps in enumerate((3, 7, 15)):
        expected = observations.preview_vectors(waving[[4 + steps, min(last - 5 + steps, last)]])
        torch.testing.assert_close(shown[:, k], expected)
    assert not torch.allclose(shown[0, 0], shown[0, 2])


def test_without_estimates_an_estimate_is_the_reference(build):
    obs = build(groups=("proprioception", *TRUE, *TOLD)).observe((*TRUE, *TOLD))
    for true, told in ESTIMATES.items():
        assert torch.equal(obs[true], obs[told])


def test_estimate_groups_differ_by_the_error_of_the_estimate(build, estimates):
    env = build(estimates, groups=("proprioception", *TOLD))
    obs = env.observe((*TRUE, *TOLD))
    off = (obs["estimate"] - obs["reference"]).view(3, 24, 24)
    assert off[:, :, :3].norm(dim=-1)[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.1], abs=1e-4)
    assert (off[:, :, 9:15]).abs().max() < 1e-4, "rotations are the same"
    preview = (obs["estimate_preview"] - obs["preview"]).view(3, 3, 9, 3).norm(dim=-1)
    assert preview[:, :, :6].mean((1, 2)).tolist() == pytest.approx([0.1, 0.2, 0.1], abs=1e-4)
    assert preview[:, :, 6:].max() < 1e-4


def test_rewards_and_terminations_use_the_true_reference(build, estimates):
    """With equal actions, the estimate makes no difference to rewards and terminations."""
    told, true = build(estimates, groups=TOLD, control="absolute"), build(groups=TRUE, control="absolute")
    for _ in range(3):
        results = [env.step(torch.zeros(3, 69)) for env in (told, true)]
        assert torch.equal(results[0][1], results[1][1]) and torch.equal(results[0][2], results[1][2])


def test_balanced_targets_pull_towards_the_estimate(build, estimates):
    """A body on the true reference is 0.1 or 0.2 m behind its estimate, which the virtual model corrects."""
    following = build(estimates, groups=TOLD, control="balanced")
    exact = build(estimates, groups=TRUE, control="balanced")
    for env in (following, exact):
        env.step(torch.zeros(3, 69))  # so that the feet carry something
    targets = [env.pd_targets(torch.zeros(3, 69)) for env in (following, exact)]
    legs = (targets[0] - targets[1]).view(3, 23, 3)[:, [0, 1, 3, 4, 6, 7]].abs().amax((1, 2))
    assert (legs > 0.02).all()


@pytest.mark.parametrize("control", ["balanced", "absolute"])
def test_a_label_reproduces_the_targets_of_an_expert_on_the_true_reference(build, estimates, control):
    expert = build(groups=TRUE, control="balanced")
    student = build(estimates, groups=TOLD, control=control)
    action = 0.1 * torch.randn(3, 69, generator=torch.Generator().manual_seed(1))
    wanted = expert.pd_targets(action)
    torch.testing.assert_close(student.pd_targets(student.label(action, "balanced")), wanted, atol=1e-5, rtol=1e-5)


def test_estimates_must_be_as_long_as_their_clips(library, estimates):
    with pytest.raises(KitError, match="2 of each clip are needed"):
        Estimates(library, 2, library.lengths)
    with pytest.raises(KitError, match="1 of each clip are needed"):
        Estimates(MotionLibrary([rest_clip(20), waving_clip(31)]), 1, library.lengths)


def test_views_of_estimates_are_drawn(build, estimates):
    env = build(estimates, groups=TOLD)
    drawn = []
    for seed in range(4):
        env.reset(seed=seed)
        drawn += env._view.tolist()
    assert set(drawn) == {0, 1}
