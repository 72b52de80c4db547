"""Virtual model: no correction on the reference, corrections towards it beside it, and better balance without a policy."""

from dataclasses import fields, replace

import pytest
import roma
import torch
from motions import rest_clip

from physhmr_kit.body.hinges import dof_names, hinge_axes
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import MIRROR, PARENTS
from physhmr_kit.env import TrackingConfig, track_clips
from physhmr_kit.env.pushes import at_chest
from physhmr_kit.env.virtual_model import FOOT_REACH, virtual_model_targets
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored_clip
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState

HUMANOID = Humanoid.mean()
ROW = {name: i for i, name in enumerate(dof_names())}


def felt(body: BodyState, left: float, right: float) -> SimState:
    """A body with these vertical forces, N, on its ankles."""
    force = torch.zeros(len(body), 24, 3)
    force[:, 7, 2], force[:, 8, 2] = left, right
    nothing = torch.zeros(len(body))
    values = {f.name: getattr(body, f.name) for f in fields(BodyState)}
    return SimState(**values, contact_force=force, dof_torque=torch.zeros(len(body), 69), diverged=nothing.bool())


def moved(body: BodyState, by: tuple[float, float, float]) -> BodyState:
    return replace(body, body_pos=body.body_pos + torch.tensor(by))


@pytest.fixture(scope="module")
def lunge() -> MotionLibrary:
    clip = next(c for c in demo_clips() if c.name == "lunge").cut(20, 120)
    return MotionLibrary([clip, mirrored_clip(clip)])


def test_a_body_on_its_reference_is_not_corrected(lunge):
    body = lunge.clip(0)
    assert virtual_model_targets(felt(body, 350, 350), body, HUMANOID).abs().max() < 1e-3


def hinges_in_the_world(body: BodyState, row: int, joint: int) -> torch.Tensor:
    """(3, 3): world axis of each hinge of a joint, rotated by its parent and by the hinges before it."""
    axes, frame, rows = hinge_axes()[joint - 1], body.body_rot[row, PARENTS[joint]], []
    for k in range(3):
        rows.append(roma.quat_action(frame, axes[k]))
        turn = roma.rotvec_to_unitquat(axes[k] * body.dof_pos[row, 3 * (joint - 1) + k])
        frame = roma.quat_product(frame, turn)
    return torch.stack(rows)


def by_hand(body: BodyState, ref: BodyState, row: int, loads: tuple[float, float]) -> torch.Tensor:
    """The formula of the module docstring for one body with forces `loads` on its ankles: (69,) rad."""
    cross, floor = torch.linalg.cross, torch.tensor([1.0, 1.0, 0.0])
    masses = HUMANOID.segment_masses()
    share = (masses / masses.sum())[:, None]
    pos, rot = body.body_pos[row], body.body_rot[row]
    lag = (share * (ref.body_pos[row] - pos)).sum(0)
    slow = (share * (ref.body_lin_vel[row] - body.body_lin_vel[row])).sum(0)
    force = masses.sum() * (15 * lag + 2 * 15**0.5 * slow)
    turn = roma.quat_product(ref.body_rot[row, 0], roma.quat_conjugation(rot[0]))
    moment = 400 * 2 * turn[:3] * (1 if turn[3] >= 0 else -1) + 40 * (
        ref.body_ang_vel[row, 0] - body.body_ang_vel[row, 0]
    )
    added = torch.zeros(24, 3)
    for (hip, knee, ankle, toes), load in zip(((1, 4, 7, 10), (2, 5, 8, 11)), loads, strict=True):
        stands = load / sum(loads) if sum(loads) > 50 else 0.0
        foot = (pos[ankle] + pos[toes]) / 2 * floor
        wanted = stands * moment + cross((share * pos).sum(0) - foot, stands * force)
        left = torch.nn.functional.normalize(roma.quat_action(rot[ankle], torch.tensor([1.0, 0, 0])) * floor, dim=0)
        forward, up = cross(left, torch.tensor([0.0, 0, 1])), torch.tensor([0.0, 0, 1])
        passed = sum(
            (wanted @ a).clamp(-r * load, r * load) * a for a, r in zip((left, forward, up), FOOT_REACH, strict=True)
        )
        for joint in (hip, knee, ankle):
            torque = -cross(foot - pos[joint], stands * force) - passed
            added[joint] += hinges_in_the_world(body, row, joint) @ torque / HUMANOID.kp.view(23, 3)[joint - 1]
        if load < 20:
            leg = pos[ankle] - pos[hip]
            swing = cross(leg, (-0.2 * lag - 0.2 * slow) * floor) / (leg @ leg)
            swing = swing * min(1.0, 0.5 / float(swing.norm()))
            added[hip] += hinges_in_the_world(body, row, hip) @ swing
            added[ankle] -= hinges_in_the_world(body, row, ankle) @ swing
    return added[1:].flatten()


@pytest.mark.parametrize("loads", [(500.0, 200.0), (0.0, 700.0), (30.0, 10.0), (15.0, 400.0)])
@pytest.mark.parametrize("far", [1.0, 30.0])
def test_targets_are_those_of_the_formula(lunge, loads, far):
    """For a body behind its reference in position, velocity and pelvis rotation, by a little and by a lot."""
    body, ref = (lunge.clip(0)[rows] for rows in (slice(0, 60), slice(15, 75)))
    ref = replace(ref, body_pos=body.body_pos + far * (ref.body_pos - body.body_pos))
    target = virtual_model_targets(felt(body, *loads), ref, HUMANOID)
    assert target.abs().max() > 0.01
    for row in (0, 20, 45):
        torch.testing.assert_close(target[row], by_hand(body, ref, row, loads), atol=2e-4, rtol=1e-3)


def test_corrections_concern_legs_only_and_in_the_air_only_foot_placement(lunge):
    ref = lunge.clip(0)
    body = moved(ref, (-0.1, 0.05, 0.0))
    standing, flying = (virtual_model_targets(felt(body, load, load), ref, HUMANOID) for load in (350, 0))
    legs = [i for name, i in ROW.items() if name.split("_")[1] in ("hip", "knee", "ankle")]
    others = [i for i in range(69) if i not in legs]
    knees = [i for name, i in ROW.items() if "knee" in name]
    assert standing[:, legs].abs().amax(0).min() > 0 and standing[:, others].abs().max() == 0
    assert flying[:, knees].abs().max() == 0 and flying.abs().max() > 0.01


def test_a_swing_foot_moves_in_the_direction_of_the_error():
    """The body is ahead of its reference (it faces +x): the swing hip bends forwards, negative on its x hinge."""
    ref = MotionLibrary([rest_clip(10)]).clip(0)
    target = virtual_model_targets(felt(moved(ref, (0.1, 0, 0)), 0, 700), ref, HUMANOID)
    assert target[0, ROW["left_hip_x"]] < -0.01
    torch.testing.assert_close(target[0, ROW["left_ankle_x"]], -target[0, ROW["left_hip_x"]], atol=1e-3, rtol=0)


def test_ankle_torques_are_limited_to_what_the_sole_can_transmit():
    ref = MotionLibrary([rest_clip(10)]).clip(0)
    kp = HUMANOID.kp
    for far in (0.1, 0.3, 3.0):
        target = virtual_model_targets(felt(moved(ref, (-far, 0, 0)), 350, 350), ref, HUMANOID)
        torque = float(target[0, ROW["left_ankle_x"]] * kp[ROW["left_ankle_x"]])
        force = 35 * 15 * far  # of half the body, a hand's breadth above the sole at the ankle
        assert abs(torque) < FOOT_REACH[0] * 350 + 0.1 * force + 1e-3
        assert torque < 0 or far > 1, "the ankle pushes the body forwards"


def test_corrections_are_symmetric(lunge):
    """The mirror image of a body gets the mirror image of the corrections."""
    body, ref = (lunge.clip(0)[rows] for rows in (slice(0, 60), slice(15, 75)))
    image, image_ref = (lunge.clip(1)[rows] for rows in (slice(0, 60), slice(15, 75)))
    target = virtual_model_targets(felt(body, 500, 200), ref, HUMANOID)
    mirrored = virtual_model_targets(felt(image, 200, 500), image_ref, HUMANOID)
    # left and right are swapped; the hinge about the lateral axis keeps its sign
    places = [3 * (MIRROR[i // 3 + 1] - 1) + i % 3 for i in range(69)]
    signs = torch.tensor([1.0 if name.endswith("_x") else -1.0 for name in dof_names()])
    assert target.abs().max() > 0.02
    torch.testing.assert_close(target[:, places] * signs, mirrored, atol=2e-3, rtol=0)


@pytest.mark.parametrize("newton", [220.0, -165.0])
def test_the_virtual_model_survives_a_push_that_residual_control_does_not(newton):
    library = MotionLibrary([rest_clip(90)])
    force = at_chest(torch.tensor([[newton, 0.0, 0.0]]))
    push = lambda frame: force if 15 <= frame < 18 else None  # noqa: E731

    def stood(control: str) -> bool:
        nothing = lambda obs: torch.zeros(1, 69)  # noqa: E731
        return track_clips(nothing, library, TrackingConfig(control=control), push=push)[0].success

    assert stood("balanced") and not stood("residual")
