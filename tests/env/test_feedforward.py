"""Feed-forward: the torques that carry a reference, and the targets made of them."""

import pytest
import roma
import torch
from motions import rest_clip

from physhmr_kit.body import Humanoid, dof_names
from physhmr_kit.body.skeleton import JOINT_NAMES, rest_joints
from physhmr_kit.env.actions import VELOCITY_LEAD, reference_targets
from physhmr_kit.env.feedforward import library_targets, reference_torques
from physhmr_kit.env.rollout import track_clips
from physhmr_kit.env.tracking import TrackingConfig
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary, Motions
from physhmr_kit.motion.state import BodyState


@pytest.fixture(scope="module")
def squat() -> MotionLibrary:
    return MotionLibrary([demo_clip("squat")])


def test_targets_lead_by_velocity_and_torque():
    humanoid = Humanoid.mean()
    q, v, tau = torch.full((69,), 0.1), torch.full((69,), 2.0), torch.full((69,), 80.0)
    knee = 3 * (JOINT_NAMES.index("left_knee") - 1)  # kp 800, kd 80
    expected = 0.1 + VELOCITY_LEAD * 0.1 * 2.0 + 80 / 800
    assert reference_targets(q, v, tau, humanoid)[knee] == pytest.approx(expected)


def test_a_body_in_a_squat_loads_its_knees_and_standing_hardly_does(squat):
    states = squat.clip(0)
    torque = reference_torques(states, Humanoid.mean())
    knee = 3 * (JOINT_NAMES.index("left_knee") - 1)
    deepest = int(states.root_pos[:, 2].argmin())
    assert torque[deepest, knee].abs() > 30  # N m: half the trunk's weight behind a lever of some 10 cm, at least
    assert torque[0, knee].abs() < 0.5 * torque[deepest, knee].abs()


def test_a_symmetric_motion_needs_symmetric_torques(squat):
    torque = reference_torques(squat.clip(0), Humanoid.mean())
    left, right = (3 * (JOINT_NAMES.index(f"{side}_hip") - 1) for side in ("left", "right"))
    assert torch.allclose(torque[:, left], torque[:, right], atol=3.0)


def t_pose(height: torch.Tensor) -> BodyState:
    """The rest pose, arms held out to both sides, its pelvis at these heights (T,)."""
    clip = rest_clip(len(height))
    root = clip.root_pos
    root[:, 2] = height
    return MotionLibrary([Clip.from_joints(root, clip.joint_rot, 30.0)]).clip(0)


def test_a_shoulder_carries_the_arm_that_hangs_from_it():
    """Sum of the weights of upper arm, forearm and hand times their levers, about the forward axis; halved in a lift at -g/2."""
    humanoid = Humanoid.mean()
    joints = rest_joints(humanoid.offsets) + humanoid.segment_centres()
    arm = [JOINT_NAMES.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    lever = joints[arm, 0] - rest_joints(humanoid.offsets)[arm[0], 0]
    expected = float((humanoid.segment_masses()[arm] * 9.81 * lever).sum())
    t = torch.arange(20) / 30
    row = dof_names().index("left_shoulder_z")
    for rise, share in ((0.0, 1.0), (-9.81, 0.0), (9.81, 2.0), (-9.81 / 2, 0.5)):
        torque = reference_torques(t_pose(5.0 + rise * t**2 / 2), humanoid)
        assert torque[10, row] == pytest.approx(share * expected, abs=0.03 * expected), rise


def test_in_free_fall_nothing_needs_to_be_held():
    t = torch.arange(20) / 30
    assert reference_torques(t_pose(5.0 - 9.81 * t**2 / 2), Humanoid.mean())[5:-5].abs().max() < 0.5


def test_a_motion_too_short_for_derivatives_is_held_as_if_it_stood():
    long, short = (reference_torques(t_pose(torch.full((n,), 5.0)), Humanoid.mean()) for n in (20, 2))
    torch.testing.assert_close(short[0], long[10], atol=0.05, rtol=0.01)


@pytest.mark.parametrize("rate", [3.0, 6.0])
def test_an_arm_that_swings_to_and_fro_needs_its_inertia_times_its_acceleration(rate):
    """About the vertical, where gravity has no say: mass times squared lever, and a little for the girth of the segments."""
    humanoid, t = Humanoid.mean(), torch.arange(60) / 30
    clip = rest_clip(60)
    rot, root = clip.joint_rot, clip.root_pos + torch.tensor([0.0, 0.0, 5.0])
    rot[:, JOINT_NAMES.index("left_shoulder")] = roma.rotvec_to_unitquat(
        torch.stack([0 * t, 0.5 * (rate * t).sin(), 0 * t], dim=-1)
    )
    library = MotionLibrary([Clip.from_joints(root, rot, 30.0)])
    torque = reference_torques(library.clip(0), humanoid)[10:-10, dof_names().index("left_shoulder_y")]
    acceleration = -(rate**2) * 0.5 * (rate * t[10:-10]).sin()
    inertia = float((torque * acceleration).sum() / acceleration.square().sum())
    joints = rest_joints(humanoid.offsets) + humanoid.segment_centres()
    arm = [JOINT_NAMES.index(f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
    lever = joints[arm, 0] - rest_joints(humanoid.offsets)[arm[0], 0]
    assert inertia == pytest.approx(float((humanoid.segment_masses()[arm] * lever**2).sum()), rel=0.25)
    assert (torque - inertia * acceleration).abs().max() < 0.3 * torque.abs().max()


def test_torques_stay_within_the_drives(squat):
    humanoid = Humanoid.mean()
    assert (reference_torques(squat.clip(0), humanoid).abs() <= humanoid.torque_limit + 1e-4).all()


def test_the_table_of_targets_is_in_the_library_s_packed_order():
    library = MotionLibrary([demo_clip("stand"), demo_clip("squat")])
    both = library_targets(library, Humanoid.mean())
    alone = library_targets(MotionLibrary([demo_clip("squat")]), Humanoid.mean())
    row = library.rows(torch.tensor([1]), torch.tensor([7]))
    assert torch.allclose(both[row[0]], alone[7], atol=1e-5)


def test_without_any_policy_the_lead_keeps_a_squat_within_two_centimetres(squat):
    rollout = track_clips(lambda obs: torch.zeros(1, 69), squat, TrackingConfig())[0]
    error = (rollout.simulated.body_pos - rollout.reference.body_pos).norm(dim=-1).mean()
    assert rollout.success
    assert error < 0.02


def test_a_library_on_another_device_is_brought_to_the_cpu_first():
    """MuJoCo's inverse dynamics read NumPy; a state on a card refuses that, so all this one can do is come here."""
    real = MotionLibrary([demo_clip("stand")])

    class There:
        def __init__(self, state):
            self.to = lambda device: state if device == "cpu" else self

    class Library:
        motions = Motions()
        num_clips = 1
        clip = staticmethod(lambda c: There(real.clip(c)))

    assert torch.equal(library_targets(Library(), Humanoid.mean()), library_targets(real, Humanoid.mean()))


def test_inverse_dynamics_are_not_worked_out_again_for_a_copy_on_another_device():
    library = MotionLibrary([demo_clip("stand")])
    here = library_targets(library, Humanoid.mean())
    assert library_targets(library.to("meta"), Humanoid.mean()) is here  # meta holds no numbers to work them out from
