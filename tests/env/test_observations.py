"""Observation terms: widths, hand-computed entries, invariance to place and heading."""

import math

import pytest
import roma
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING
from physhmr_kit.env import observations
from physhmr_kit.env.settings import GROUP_SIZES
from physhmr_kit.motion.kinematics import heading, hinge_kinematics, yaw_quaternion
from physhmr_kit.motion.state import BodyState


def random_state(seed: int, count: int = 5) -> BodyState:
    draw = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    tilt = roma.quat_product(roma.rotvec_to_unitquat(0.4 * rand(count, 3)), torch.tensor(STANDING).expand(count, 4))
    return hinge_kinematics(
        rand(count, 3),
        tilt,
        rand(count, 3),
        rand(count, 3),
        0.4 * rand(count, 69),
        rand(count, 69),
        Humanoid.mean().offsets,
    )


def moved(state: BodyState, yaw: torch.Tensor, shift: torch.Tensor) -> BodyState:
    """The same motion rotated about the vertical by `yaw` (N,), then shifted by (N, 2) m on the floor."""
    turn = yaw_quaternion(yaw).unsqueeze(1).expand(-1, 24, -1)
    rotate = lambda v: roma.quat_action(turn, v)  # noqa: E731
    place = torch.nn.functional.pad(shift, (0, 1)).unsqueeze(1)
    return BodyState(
        rotate(state.body_pos) + place, roma.quat_product(turn, state.body_rot), rotate(state.body_lin_vel),
        rotate(state.body_ang_vel), state.dof_pos, state.dof_vel,
    )  # fmt: skip


@pytest.fixture
def elsewhere():
    draw = torch.Generator().manual_seed(9)
    yaw, shift = 6 * torch.rand(5, generator=draw) - 3, 3 * torch.randn(5, 2, generator=draw)
    return lambda state: moved(state, yaw, shift)


def test_to_heading_rotates_by_minus_the_yaw():
    ahead = torch.tensor([[1.0, 0.0, 0.5]])
    torch.testing.assert_close(
        observations.to_heading(ahead, torch.tensor([math.pi / 2])), torch.tensor([[0.0, -1.0, 0.5]]), atol=1e-6, rtol=0
    )


def test_rotation_6d_is_the_first_two_columns_of_the_matrix():
    quarter = roma.rotvec_to_unitquat(torch.tensor([[0.0, 0.0, math.pi / 2]]))  # x -> y, y -> -x
    torch.testing.assert_close(
        observations.rotation_6d(quarter), torch.tensor([[0.0, 1.0, 0.0, -1.0, 0.0, 0.0]]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        observations.rotation_6d(quarter, torch.tensor([math.pi / 2])),
        torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]), atol=1e-6, rtol=0,
    )  # fmt: skip


def test_every_term_has_the_width_of_its_group():
    sim, ref = random_state(0), random_state(1)
    yaw = heading(sim.root_rot)
    centre, point = torch.zeros(5, 3), torch.randn(5, 12, 3)
    widths = {
        "proprioception": observations.proprioception(sim, yaw),
        "reference": observations.reference(sim, ref, yaw),
        "rays": observations.rays(sim.body_pos[:, :12], centre, point, yaw),
        "root_orientation": observations.root_orientation(ref.root_rot, yaw),
        "root_position": observations.root_position(sim, ref.root_pos, yaw),
    }
    assert {k: tuple(v.shape) for k, v in widths.items()} == {
        "proprioception": (5, 358), "reference": (5, 576), "rays": (5, 36), "root_orientation": (5, 6),
        "root_position": (5, 3),
    }  # fmt: skip
    assert all(GROUP_SIZES[k] == v.shape[1] for k, v in widths.items())
    assert GROUP_SIZES["ray_confidence"] == 12 and GROUP_SIZES["feature"] == 512


def by_hand(vectors: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
    """World vectors (N, K, 3) in the heading frame, by roma."""
    return roma.quat_action(yaw_quaternion(-yaw)[:, None].expand(*vectors.shape[:2], 4), vectors)


def columns_by_hand(rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second column of the rotation matrices, by roma: (N, K, 4) -> (N, K, 3) twice."""
    matrix = roma.unitquat_to_rotmat(rotation)
    return matrix[..., 0], matrix[..., 1]


def test_proprioception_has_the_documented_layout():
    sim = random_state(10)
    yaw = heading(sim.root_rot)
    x, y = (by_hand(column, yaw) for column in columns_by_hand(sim.body_rot))
    parts = (
        sim.body_pos[:, 0, 2:], by_hand(sim.body_pos[:, 1:] - sim.body_pos[:, :1], yaw).flatten(1),
        torch.cat([x, y], dim=-1).flatten(1), by_hand(sim.body_lin_vel, yaw).flatten(1),
        by_hand(sim.body_ang_vel, yaw).flatten(1),
    )  # fmt: skip
    torch.testing.assert_close(observations.proprioception(sim, yaw), torch.cat(parts, dim=1), atol=2e-5, rtol=1e-4)


def test_the_reference_has_the_documented_layout():
    sim, ref = random_state(11), random_state(12)
    yaw = heading(sim.root_rot)
    turn = roma.quat_product(roma.quat_conjugation(sim.body_rot), ref.body_rot)
    x, y = (by_hand(column, yaw) for column in columns_by_hand(ref.body_rot))
    parts = (
        by_hand(ref.body_pos - sim.body_pos, yaw), *columns_by_hand(turn),
        by_hand(ref.body_lin_vel - sim.body_lin_vel, yaw), by_hand(ref.body_ang_vel - sim.body_ang_vel, yaw),
        by_hand(ref.body_pos - sim.body_pos[:, :1], yaw), x, y,
    )  # fmt: skip
    seen = observations.reference(sim, ref, yaw)
    torch.testing.assert_close(seen, torch.cat(parts, dim=-1).flatten(1), atol=5e-5, rtol=1e-4)


def test_the_preview_has_the_documented_layout():
    sim, refs = random_state(13), [random_state(seed) for seed in (14, 15, 16)]
    yaw = heading(sim.root_rot)
    ends = [JOINT_NAMES.index(n) for n in ("pelvis", "left_ankle", "right_ankle", "head", "left_wrist", "right_wrist")]
    expected = [
        torch.cat([
            by_hand(ref.body_pos[:, ends] - sim.body_pos[:, :1], yaw),
            *(by_hand(column, yaw) for column in columns_by_hand(ref.body_rot[:, :1])),
            by_hand(ref.body_lin_vel[:, :1], yaw),
        ], dim=1).flatten(1) for ref in refs
    ]  # fmt: skip
    future = torch.stack([observations.preview_vectors(ref) for ref in refs], dim=1)
    torch.testing.assert_close(observations.preview(sim, future, yaw), torch.cat(expected, dim=1), atol=5e-5, rtol=1e-4)
    assert [round(step / 30, 2) for step in observations.PREVIEW_STEPS] == [0.1, 0.23, 0.5]


def test_the_root_orientation_is_in_the_heading_frame():
    sim, ref = random_state(17), random_state(18)
    yaw = heading(sim.root_rot)
    x, y = (by_hand(column, yaw)[:, 0] for column in columns_by_hand(ref.body_rot[:, :1]))
    seen = observations.root_orientation(ref.root_rot, yaw)
    torch.testing.assert_close(seen, torch.cat([x, y], dim=1), atol=1e-5, rtol=0)


def test_the_root_position_is_relative_to_the_pelvis_in_the_heading_frame(elsewhere):
    sim = random_state(19, 2)
    ahead = sim.root_pos + torch.tensor([[0.0, 0.3, 0.1], [0.3, 0.0, -0.2]])
    yaw = torch.tensor([math.pi / 2, math.pi])  # the first faces +y, the second -x
    seen = observations.root_position(sim, ahead, yaw)
    torch.testing.assert_close(seen, torch.tensor([[0.3, 0.0, 0.1], [-0.3, 0.0, -0.2]]), atol=1e-6, rtol=0)
    sim, ref = random_state(19), random_state(20)
    there, there_ref = elsewhere(sim), elsewhere(ref)
    torch.testing.assert_close(
        observations.root_position(there, there_ref.root_pos, heading(there.root_rot)),
        observations.root_position(sim, ref.root_pos, heading(sim.root_rot)), atol=2e-5, rtol=1e-4,
    )  # fmt: skip


def test_proprioception_is_invariant_to_place_and_heading(elsewhere):
    here = random_state(2)
    there = elsewhere(here)
    torch.testing.assert_close(
        observations.proprioception(there, heading(there.root_rot)),
        observations.proprioception(here, heading(here.root_rot)), atol=2e-5, rtol=1e-4,
    )  # fmt: skip


def test_the_reference_is_invariant_to_place_and_heading(elsewhere):
    sim, ref = random_state(3), random_state(4)
    there_sim, there_ref = elsewhere(sim), elsewhere(ref)
    torch.testing.assert_close(
        observations.reference(there_sim, there_ref, heading(there_sim.root_rot)),
        observations.reference(sim, ref, heading(sim.root_rot)), atol=5e-5, rtol=1e-4,
    )  # fmt: skip


def test_turning_the_body_alone_changes_the_reference_observation(elsewhere):
    """Invariance holds only if body and reference move together."""
    sim, ref = random_state(3), random_state(4)
    turned = elsewhere(sim)
    a, b = (observations.reference(s, ref, heading(s.root_rot)) for s in (sim, turned))
    assert (a - b).abs().max() > 0.5


def test_at_perfect_tracking_all_differences_are_zero():
    sim = random_state(5)
    view = observations.reference(sim, sim, heading(sim.root_rot)).view(5, 24, 24)
    same = torch.tensor(
        [0.0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    )  # position, rotation, velocity, angular velocity
    torch.testing.assert_close(view[..., :15], same.expand(5, 24, 15), atol=1e-5, rtol=0)
    assert view[:, 0, 15:18].abs().max() == 0


def test_a_reference_ahead_of_a_turned_body_lies_along_its_x():
    sim = random_state(6, 1)
    yaw = heading(sim.root_rot)
    ahead = torch.stack([yaw.cos(), yaw.sin(), torch.zeros(1)], dim=-1)
    ref = BodyState(
        sim.body_pos + 0.3 * ahead,
        *(getattr(sim, f) for f in ("body_rot", "body_lin_vel", "body_ang_vel", "dof_pos", "dof_vel")),
    )
    view = observations.reference(sim, ref, yaw).view(1, 24, 24)
    torch.testing.assert_close(view[..., :3], torch.tensor([0.3, 0, 0]).expand(1, 24, 3), atol=1e-5, rtol=0)


def test_proprioception_contains_the_height_and_distances():
    sim = random_state(7)
    yaw = heading(sim.root_rot)
    felt = observations.proprioception(sim, yaw)
    assert torch.equal(felt[:, 0], sim.body_pos[:, 0, 2])
    head = 15
    distance = (sim.body_pos[:, head] - sim.body_pos[:, 0]).norm(dim=1)
    torch.testing.assert_close(felt[:, 1 + 3 * (head - 1) : 4 + 3 * (head - 1)].norm(dim=1), distance)


def test_rays_are_zero_for_joints_on_them_and_clipped_far_off():
    centre = torch.tensor([[0.0, -4.0, 1.0]])
    joints = torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(1))
    yaw = torch.zeros(1)
    beyond = centre.unsqueeze(1) + 1.7 * (joints - centre.unsqueeze(1))
    assert observations.rays(joints, centre, beyond, yaw).abs().max() < 1e-5
    far = joints.clone()
    far[:, 3] = centre + torch.tensor([5.0, 2.0, 0.0])
    residual = observations.rays(far, centre, beyond, yaw).view(12, 3)
    assert residual.abs().max() == 1.0
    assert residual[:3].abs().max() < 1e-5


def test_the_preview_is_invariant_to_place_and_heading(elsewhere):
    body, later = random_state(1), random_state(2)
    steps = len(observations.PREVIEW_STEPS)
    look = lambda sim, ref: observations.preview(  # noqa: E731
        sim, torch.stack([observations.preview_vectors(ref)] * steps, dim=1), heading(sim.root_rot)
    )
    seen = look(body, later)
    assert seen.shape == (5, GROUP_SIZES["preview"])
    torch.testing.assert_close(look(elsewhere(body), elsewhere(later)), seen, atol=2e-4, rtol=0)
    first = seen.view(5, steps, 9, 3)[:, 0]
    torch.testing.assert_close(first[:, 0].norm(dim=1), (later.root_pos - body.root_pos).norm(dim=1))
    torch.testing.assert_close(
        first[:, 3, 2], later.body_pos[:, 15, 2] - body.root_pos[:, 2]
    )  # how much higher the head
    torch.testing.assert_close(first[:, 8].norm(dim=1), later.body_lin_vel[:, 0].norm(dim=1))
