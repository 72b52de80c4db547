"""Assistive force at the pelvis: direction, limit, and that evaluations have none."""

from dataclasses import replace

import pytest
import torch
from motions import rest_clip

from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.env.assist import DAMPING, STIFFNESS, assist_force
from physhmr_kit.env.rollout import evaluation_env
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(40)])


def test_the_force_is_a_spring_and_damper_at_the_pelvis(library):
    ref = library.clip(0)[:2]
    sim = replace(
        ref,
        body_pos=ref.body_pos - torch.tensor([0.01, 0, 0]),
        body_lin_vel=ref.body_lin_vel + torch.tensor([0, 0.02, 0]),
    )
    force = assist_force(sim, ref, 70.0, 1e3)
    assert force.shape == (2, 24, 3) and not force[:, 1:].any()
    expected = torch.tensor([70 * STIFFNESS * 0.01, -70 * DAMPING * 0.02, 0.0])
    torch.testing.assert_close(force[:, 0], expected.expand(2, 3), atol=1e-2, rtol=1e-3)
    held = assist_force(sim, ref, 70.0, 20.0)[:, 0]
    assert held.norm(dim=-1).tolist() == pytest.approx([20, 20], rel=1e-4)
    assert torch.nn.functional.cosine_similarity(held, expected, dim=-1).tolist() == pytest.approx([1, 1], abs=1e-4)


def height_after(library, assist, steps=12):
    """Height of the pelvis, m, after steps whose targets make the body collapse."""
    env = TrackingEnv(
        library,
        make_simulator("mujoco_cpu", num_envs=2),
        TrackingConfig(termination="none", control="absolute"),
    )
    env.reset(seed=0, options={"frame": torch.zeros(2, dtype=torch.long)})
    env.assist = assist
    for _ in range(steps):
        env.step(torch.full((2, 69), 0.5))
    height = float(env.last_state.root_pos[:, 2].mean())
    env.close()
    return height


def test_an_assisted_body_stays_higher(library):
    assert height_after(library, 600.0) > height_after(library, 0.0) + 0.05


def test_an_evaluation_has_no_assistive_force(library):
    env = evaluation_env(library, TrackingConfig(termination="relative"))
    assert env.assist == 0 and env.config.termination == "relative"
    env.close()
