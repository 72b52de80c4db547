"""Physical feasibility: overlap, support, distance of the ankles."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.metrics.feasible import ankles_apart, beyond_support
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.overlap import self_overlap


@cache
def states(name):
    return MotionLibrary([demo_clip(name)]).clip(0)


@pytest.mark.parametrize("name", ["squat", "walk_forward"])
def test_demo_motions_are_feasible(name):
    assert self_overlap(states(name)).max() == 0
    beyond = beyond_support(states(name))
    assert beyond.nan_to_num().max() < 0.03


def test_crossed_legs_overlap():
    s = states("stand")
    dof = s.dof_pos.clone()
    hip_z = 3 * (JOINT_NAMES.index("left_hip") - 1)
    worst = 0.0
    for axis in range(3):
        for sign in (-1, 1):
            turned = dof.clone()
            turned[:, hip_z + axis] += sign * 0.3
            worst = max(worst, float(self_overlap(replace(s, dof_pos=turned))[0]))
    assert worst > 0.02


def test_distance_from_the_support_is_measured():
    s = states("stand")
    assert beyond_support(s).max() == 0
    pos = s.body_pos.clone()
    feet = [7, 8, 10, 11]
    pos[..., 0] += 0.5
    pos[:, feet, 0] -= 0.5
    beyond = beyond_support(replace(s, body_pos=pos))
    assert (beyond > 0.2).all()


def test_a_body_in_the_air_has_no_support():
    s = states("stand")
    assert beyond_support(replace(s, body_pos=s.body_pos + torch.tensor([0.0, 0.0, 1.0]))).isnan().all()


def test_ankle_distance_is_measured_while_walking_only():
    walk, stand = states("walk_forward"), states("stand")
    assert ankles_apart(stand.body_pos, 30.0).isnan().all()
    apart = ankles_apart(walk.body_pos, 30.0)
    assert 0.05 < float(apart.nanmedian()) < 0.3
