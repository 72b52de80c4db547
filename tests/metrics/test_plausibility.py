"""Artefacts of known size, injected into a clean motion, show in the corresponding measure."""

import math
from dataclasses import replace

import pytest
import roma
import torch
from motions import rest_clip, sitting_clip

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.metrics.plausibility import COLUMNS, flights, plausibility
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.library import MotionLibrary


def measured(clip: Clip) -> dict[str, float]:
    values = plausibility(MotionLibrary([clip]).clip(0))
    assert set(values) == set(COLUMNS)
    return {name: float(v.mean()) if len(v) else math.nan for name, v in values.items()}


def shifted(clip: Clip, by) -> Clip:
    """The root moved by (T, 3) or (3,) m."""
    return Clip.from_joints(
        clip.root_pos + torch.as_tensor(by, dtype=torch.float32), clip.joint_rot, clip.fps, clip.name
    )


def bent(clip: Clip, hinge: str, angle: float) -> Clip:
    """One hinge set to an angle, rad."""
    dof = rotation_to_dof(clip.joint_rot[:, 1:])
    dof[:, dof_names().index(hinge)] = angle
    rot = torch.cat([clip.joint_rot[:, :1], dof_to_rotation(dof)], dim=1)
    return Clip.from_joints(clip.root_pos, rot, clip.fps, clip.name)


@pytest.fixture(scope="module")
def clean():
    return measured(rest_clip(60))


def test_standing_still_has_no_artefacts(clean):
    names = set(COLUMNS) - {"limit_excess"}
    assert {name: clean[name] for name in names} == pytest.approx(dict.fromkeys(names, 0.0), abs=0.05)
    assert math.isnan(clean["limit_excess"]), "nothing exceeds a limit"


def changed(clean: dict[str, float], clip: Clip) -> dict[str, float]:
    """The measures that differ from the clean motion by more than 0.1."""
    return {k: v for k, v in measured(clip).items() if not abs(v - clean[k]) <= 0.1 and k != "limit_excess"}


def test_a_sliding_foot(clean):
    way = torch.zeros(60, 3)
    way[:, 0] = 0.1 * torch.arange(60) / 30  # 10 cm/s
    assert changed(clean, shifted(rest_clip(60), way)) == {"foot_sliding": pytest.approx(10.0, abs=0.1)}


def test_a_floating_body(clean):
    found = changed(clean, shifted(rest_clip(60), [0.0, 0.0, 0.035]))
    assert found == {"floating": pytest.approx(35.0, abs=0.1), "foot_sliding": pytest.approx(math.nan, nan_ok=True)}


def test_a_penetrating_body(clean):
    assert changed(clean, shifted(rest_clip(60), [0.0, 0.0, -0.04])) == {"penetration": pytest.approx(40.0, abs=0.1)}


def test_jitter_of_a_known_size(clean):
    rng = torch.Generator().manual_seed(0)
    noise = 0.001 * torch.randn(60, 3, generator=rng) * torch.tensor([1.0, 1.0, 0.0])
    found = measured(shifted(rest_clip(60), noise))
    # third differences of white noise: variance 20; the mean length of a plane vector of deviation s is s sqrt(pi / 2)
    expected = 0.001 * math.sqrt(20) * math.sqrt(math.pi / 2) * 27000 / 10
    assert found["jitter"] == pytest.approx(expected, rel=0.15)


def test_a_hinge_beyond_its_limit(clean):
    knee = "left_knee_x"
    row = dof_names().index(knee)
    clip = bent(rest_clip(60), knee, float(dof_limits()[row, 0]) - math.radians(8))
    found = measured(clip)
    assert found["beyond_limits"] == pytest.approx(100 / 69, rel=1e-3)
    assert found["limit_excess"] == pytest.approx(8.0, abs=0.05)


def test_hovering_is_unphysical_and_a_jump_is_not(clean):
    t = torch.arange(60) / 30
    height = torch.zeros(60)
    height[20:40] = 0.3
    hover = torch.stack([0 * t, 0 * t, height], dim=-1)
    assert measured(shifted(rest_clip(60), hover))["unphysical_flight"] == pytest.approx(100 * 20 / 60)
    fall = t - 20 / 30
    height = (2.0 * fall - 9.81 / 2 * fall**2).clamp(min=0) * (fall > 0)
    jump = measured(shifted(rest_clip(60), torch.stack([0 * t, 0 * t, height], dim=-1)))
    assert jump["unphysical_flight"] == 0
    assert jump["floating"] < 5, "a flight is not floating"


def test_flights_over_a_second_are_unphysical():
    t = torch.arange(45) / 30
    centre = 6.0 * t - 9.81 / 2 * t**2
    assert flights(torch.full((45,), 0.2), centre, 30.0)[1].all()
    short = torch.full((45,), 0.2)
    short[20:] = 0.0
    physical, unphysical = flights(short, centre, 30.0)
    assert physical[:20].all() and not unphysical.any()
    tiny = torch.zeros(45)
    tiny[3:5] = 0.2
    assert not torch.stack(flights(tiny, torch.ones(45), 30.0)).any(), "two frames are not judged"


def test_sitting_on_nothing_is_off_balance(clean):
    assert clean["off_balance"] == 0 and measured(sitting_clip(60))["off_balance"] > 90


def test_an_arm_through_the_trunk_is_self_penetration(clean):
    clip = rest_clip(60)
    rot = clip.joint_rot.clone()
    rot[:, JOINT_NAMES.index("left_shoulder")] = roma.rotvec_to_unitquat(torch.tensor([0.0, 0.0, -math.radians(105)]))
    found = measured(Clip.from_joints(clip.root_pos, rot, 30.0, "through"))
    assert clean["self_penetration"] < 1 and found["self_penetration"] > 20


def test_unsteady_height_increases_its_variance(clean):
    wobble = torch.zeros(60, 3)
    wobble[::2, 2] = 0.004
    found = measured(shifted(rest_clip(60), wobble - torch.tensor([0.0, 0.0, 0.002])))
    assert found["height_variance"] == 0, "the lowest quarter is all at one height"
    slope = torch.zeros(60, 3)
    slope[:, 2] = 0.02 * torch.linspace(0, 1, 60)
    assert measured(shifted(rest_clip(60), slope))["height_variance"] > 1


def test_clamped_dof_pos_is_not_used():
    clip = bent(rest_clip(10), "left_knee_x", -0.5)
    states = MotionLibrary([clip]).clip(0)
    other = replace(states, dof_pos=torch.zeros_like(states.dof_pos))
    assert torch.equal(plausibility(states)["beyond_limits"], plausibility(other)["beyond_limits"])
