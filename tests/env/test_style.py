"""Observation of the adversarial motion prior: layout, and invariance to place and heading."""

import pytest
import roma
import torch
from motions import waving_clip

from physhmr_kit.body.hinges import dof_to_rotation
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING
from physhmr_kit.env.observations import rotation_6d
from physhmr_kit.env.style import (
    STYLE_ENDS,
    STYLE_JOINTS,
    STYLE_LAYOUT,
    STYLE_SIZE,
    reference_windows,
    style_observation,
)
from physhmr_kit.motion.kinematics import heading, hinge_kinematics, local_rotations, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState


def some_state(seed: int = 0, count: int = 5) -> BodyState:
    draw = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    tilt = roma.quat_product(roma.rotvec_to_unitquat(0.4 * rand(count, 3)), torch.tensor(STANDING).expand(count, 4))
    return hinge_kinematics(
        rand(count, 3), tilt, rand(count, 3), rand(count, 3), 0.4 * rand(count, 69), rand(count, 69),
        Humanoid.mean().offsets,
    )  # fmt: skip


def parts(state: BodyState) -> dict[str, torch.Tensor]:
    return dict(zip(STYLE_LAYOUT, style_observation(state).split(list(STYLE_LAYOUT.values()), dim=1), strict=True))


@pytest.fixture
def facing_x() -> BodyState:
    """Bodies whose heading frame is the world frame."""
    state = some_state(1)
    back = yaw_quaternion(-heading(state.root_rot))
    rotate = lambda v: roma.quat_action(back, v)  # noqa: E731
    return hinge_kinematics(
        state.root_pos, roma.quat_product(back, state.root_rot), rotate(state.body_lin_vel[:, 0]),
        rotate(state.body_ang_vel[:, 0]), state.dof_pos, state.dof_vel, Humanoid.mean().offsets,
    )  # fmt: skip


def test_the_size_is_that_of_phc():
    assert (STYLE_SIZE, list(STYLE_LAYOUT.values())) == (196, [1, 6, 3, 3, 114, 57, 12])
    assert style_observation(some_state()).shape == (5, 196)
    names = [JOINT_NAMES[j] for j in STYLE_JOINTS]
    assert len(names) == 19 and not any(n in " ".join(names) for n in ("pelvis", "foot", "hand"))
    assert [JOINT_NAMES[j] for j in STYLE_ENDS] == ["left_ankle", "right_ankle", "left_wrist", "right_wrist"]


def test_parts_are_in_the_order_of_the_layout(facing_x):
    s, seen = facing_x, parts(facing_x)
    near = lambda a, b: torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)  # noqa: E731
    near(seen["root_height"], s.body_pos[:, 0, 2:])
    near(seen["root_rotation"], rotation_6d(s.root_rot))
    near(seen["root_velocity"], s.body_lin_vel[:, 0])
    near(seen["root_angular_velocity"], s.body_ang_vel[:, 0])
    near(seen["joint_rotations"], rotation_6d(local_rotations(s.body_rot)[:, list(STYLE_JOINTS)]).flatten(1))
    near(seen["joint_velocities"], torch.cat([s.dof_vel[:, 3 * j - 3 : 3 * j] for j in STYLE_JOINTS], dim=1))
    near(seen["end_positions"], (s.body_pos[:, list(STYLE_ENDS)] - s.body_pos[:, :1]).flatten(1))


def test_it_does_not_depend_on_place_and_heading():
    here = some_state(2)
    draw = torch.Generator().manual_seed(9)
    turn = yaw_quaternion(6 * torch.rand(5, generator=draw) - 3)
    rotate = lambda v: roma.quat_action(turn, v)  # noqa: E731
    there = hinge_kinematics(
        rotate(here.root_pos) + torch.cat([3 * torch.randn(5, 2, generator=draw), torch.zeros(5, 1)], dim=1),
        roma.quat_product(turn, here.root_rot), rotate(here.body_lin_vel[:, 0]), rotate(here.body_ang_vel[:, 0]),
        here.dof_pos, here.dof_vel, Humanoid.mean().offsets,
    )  # fmt: skip
    torch.testing.assert_close(style_observation(there), style_observation(here), atol=2e-5, rtol=1e-4)


def test_it_ignores_toes_and_hands():
    state = some_state(3)
    dof = state.dof_pos.clone()
    for j in (10, 11, 22, 23):
        dof[:, 3 * j - 3 : 3 * j] += 0.3
    moved = hinge_kinematics(
        state.root_pos, state.root_rot, state.body_lin_vel[:, 0], state.body_ang_vel[:, 0], dof, state.dof_vel,
        Humanoid.mean().offsets,
    )  # fmt: skip
    torch.testing.assert_close(style_observation(moved), style_observation(state), atol=1e-6, rtol=0)
    assert not torch.equal(dof_to_rotation(dof), dof_to_rotation(state.dof_pos))


def test_reference_windows_repeat_the_first_frame_before_the_start():
    library = MotionLibrary([waving_clip(20, rate=2.0), waving_clip(12, "other", rate=5.0)])
    windows = reference_windows(library, torch.tensor([0, 1, 1]), torch.tensor([9, 11, 1]), 4)
    frames = lambda clip, *at: style_observation(  # noqa: E731
        library.starts(library.rows(torch.full((len(at),), clip), torch.tensor(at)))
    )
    assert windows.shape == (3, 4, 196)
    assert torch.equal(windows[0], frames(0, 6, 7, 8, 9))
    assert torch.equal(windows[1], frames(1, 8, 9, 10, 11))
    assert torch.equal(windows[2], frames(1, 0, 0, 0, 1)), "no frames of the previous clip"
