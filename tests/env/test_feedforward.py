"""Feed-forward targets from inverse dynamics."""

from dataclasses import replace

import pytest
import torch

from physhmr_kit.body import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES
from physhmr_kit.env.actions import VELOCITY_LEAD, reference_targets
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.env.rollout import track_clips
from physhmr_kit.env.tracking import TrackingConfig
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary, Motions


@pytest.fixture(scope="module")
def squat() -> MotionLibrary:
    return MotionLibrary([demo_clip("squat")])


def test_targets_lead_by_velocity_and_torque():
    humanoid = Humanoid.mean()
    q, v, tau = torch.full((69,), 0.1), torch.full((69,), 2.0), torch.full((69,), 80.0)
    knee = 3 * (JOINT_NAMES.index("left_knee") - 1)  # kp 800, kd 80
    expected = 0.1 + VELOCITY_LEAD * 0.1 * 2.0 + 80 / 800
    assert reference_targets(q, v, tau, humanoid)[knee] == pytest.approx(expected)


def test_library_targets_are_in_packed_order():
    library = MotionLibrary([demo_clip("stand"), demo_clip("squat")])
    both = library_targets(library, Humanoid.mean())
    alone = library_targets(MotionLibrary([demo_clip("squat")]), Humanoid.mean())
    row = library.rows(torch.tensor([1]), torch.tensor([7]))
    assert torch.allclose(both[row[0]], alone[7], atol=1e-5)
    some = library_targets(library.only([False, True]), Humanoid.mean())
    assert torch.equal(some[row[0]], both[row[0]]) and not some[0].any()


def test_packed_torques_are_not_recomputed(squat):
    library = MotionLibrary([demo_clip("squat")])
    library.torques = torch.full((library.num_frames, 69), 40.0)
    state, humanoid = library.clip(0), Humanoid.mean()
    expected = reference_targets(state.dof_pos, state.dof_vel, library.torques, humanoid)
    assert torch.equal(library_targets(library, humanoid), expected)
    assert not torch.equal(library_targets(library, replace(humanoid, mass=90.0)), expected)  # they are another body's


def test_feed_forward_alone_tracks_a_squat_within_two_centimetres(squat):
    rollout = track_clips(lambda obs: torch.zeros(1, 69), squat, TrackingConfig())[0]
    error = (rollout.simulated.body_pos - rollout.reference.body_pos).norm(dim=-1).mean()
    assert rollout.success
    assert error < 0.02


def test_inverse_dynamics_run_on_the_cpu():
    """MuJoCo's inverse dynamics need NumPy arrays; the states of this library have no method but `to`."""
    real = MotionLibrary([demo_clip("stand")])

    class There:
        def __init__(self, state):
            self.to = lambda device: state if device == "cpu" else self

    class Library:
        motions = Motions()
        num_clips, num_frames, torques, span = 1, real.num_frames, None, real.span
        clip = staticmethod(lambda c: There(real.clip(c)))

    assert torch.equal(library_targets(Library(), Humanoid.mean()), library_targets(real, Humanoid.mean()))


def test_targets_are_shared_with_copies_on_other_devices():
    library = MotionLibrary([demo_clip("stand")])
    here = library_targets(library, Humanoid.mean())
    assert library_targets(library.to("meta"), Humanoid.mean()) is here  # meta holds no numbers to work them out from
