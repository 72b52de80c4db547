import math

import pytest
import roma
import torch

from physhmr_kit.body.hinges import dof_limits
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.metrics import functional as F
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_corners

ERRORS = (F.mpjpe, F.pa_mpjpe, F.accel, F.w_mpjpe, F.wa_mpjpe, F.e_g_mpjpe, F.e_mpjpe, F.e_acc, F.e_vel)


def wandering(frames: int = 130, seed: int = 0) -> torch.Tensor:
    """(T, 24, 3) a random body that changes shape and moves along x."""
    g = torch.Generator().manual_seed(seed)
    rest = torch.randn(1, 24, 3, generator=g, dtype=torch.float64) * 0.3
    wave = torch.randn(1, 24, 3, generator=g, dtype=torch.float64) * 0.1
    t = torch.arange(frames, dtype=torch.float64)[:, None, None] / 30
    path = torch.cat([t, 0.2 * torch.sin(t), 0.9 + 0 * t], dim=-1)
    return rest + wave * torch.sin(3 * t) + path


def moved(joints, scale=1.0):
    """The motion rotated, translated and scaled as a whole."""
    torch.manual_seed(7)
    turn = roma.random_unitquat(dtype=torch.float64)
    return scale * roma.quat_action(turn.expand(*joints.shape[:-1], 4), joints) + torch.tensor([3.0, -2.0, 1.0])


def standing_soles(frames: int = 8, height: float = 0.0) -> torch.Tensor:
    """(T, 16, 3) soles of the rest pose standing still, `height` above the floor."""
    rot = torch.zeros(frames, 24, 4)
    rot[..., 3] = 1
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.tensor([0.0, 0.0, standing_height() + height]).expand(frames, 3)
    return sole_corners(*forward_kinematics(root, rot, Humanoid.mean().offsets)).flatten(-3, -2)


@pytest.mark.parametrize("error", ERRORS, ids=lambda f: f.__name__)
def test_identical_motions_have_no_error(error):
    joints = wandering()
    assert error(joints, joints).abs().max() < 1e-6


def test_only_aligned_measures_ignore_a_similarity_transform():
    joints = wandering()
    copy = moved(joints, scale=1.3)
    for error in (F.pa_mpjpe, F.w_mpjpe, F.wa_mpjpe):
        assert error(copy, joints).max() < 1e-6
    assert F.rte(moved(joints)[:, 0], joints[:, 0]).max() < 1e-6
    assert F.rte(copy[:, 0], joints[:, 0]).max() > 1  # a rigid alignment does not correct the scale
    assert F.mpjpe(copy, joints).min() > 10 and F.e_g_mpjpe(copy, joints).min() > 10


def test_alignment_excludes_reflections():
    joints = wandering()
    mirrored = joints * torch.tensor([1.0, -1.0, 1.0])
    assert F.pa_mpjpe(mirrored, joints).min() > 10


def test_mpjpe_and_rte_ignore_a_translation_and_tracking_error_does_not():
    joints = wandering()
    shifted = joints + torch.tensor([0.3, 0.0, 0.4])
    assert F.mpjpe(shifted, joints).max() < 1e-6
    assert F.rte(shifted[:, 0], joints[:, 0]).max() < 1e-6
    torch.testing.assert_close(F.e_g_mpjpe(shifted, joints), torch.full((129,), 500.0, dtype=torch.float64))


def test_mpjpe_is_relative_to_the_hips_and_e_mpjpe_to_joint_0():
    target = torch.zeros(2, 24, 3)
    pred = target.clone()
    pred[:, 0, 0] = 0.024  # only the root joint is wrong
    torch.testing.assert_close(F.mpjpe(pred, target), torch.full((2,), 1.0))
    torch.testing.assert_close(F.e_mpjpe(pred, target), torch.full((1,), 23.0))  # the error shifts the 23 others


def test_a_constant_velocity_error_has_no_acceleration_error():
    joints = wandering()
    drift = torch.arange(130, dtype=torch.float64)[:, None, None] * torch.tensor([0.01, 0.0, 0.0], dtype=torch.float64)
    assert F.accel(joints + drift, joints).max() < 1e-6
    assert F.e_acc(joints + drift, joints).max() < 1e-6
    torch.testing.assert_close(F.e_vel(joints + drift, joints), torch.full((128,), 10.0, dtype=torch.float64))


def test_acceleration_of_one_joint_by_hand():
    target = torch.zeros(3, 24, 3)
    pred = target.clone()
    pred[1, 20, 0] = 0.012  # second difference 24 mm on one joint of 24
    torch.testing.assert_close(F.accel(pred, target), torch.tensor([0.9]))  # 0.001 m/frame^2 x 30^2
    late = torch.cat([pred[:1], pred])  # E_acc leaves out the first frame
    torch.testing.assert_close(F.e_acc(late, torch.zeros_like(late)), torch.tensor([1.0]))


def test_drift_is_larger_in_w_mpjpe_than_in_wa_mpjpe():
    joints = wandering(100)
    drift = torch.arange(100.0)[:, None, None] * torch.tensor([0.0, 0.005, 0.0])
    drifting = joints + drift
    assert F.w_mpjpe(drifting, joints).mean() > 1.5 * F.wa_mpjpe(drifting, joints).mean() > 10
    assert F.w_mpjpe(drifting, joints)[-1] > 200


def test_chunks_of_100_frames_are_aligned_independently_and_a_short_last_one_is_kept():
    joints = wandering(130)
    jump = torch.where(torch.arange(130)[:, None, None] < 100, 0.0, 5.0)
    assert F.w_mpjpe(joints + jump, joints).max() < 1e-6
    assert len(F.w_mpjpe(joints, joints)) == 130
    assert F.w_mpjpe(joints + jump, joints, chunk=130).max() > 1000
    early = torch.where(torch.arange(130)[:, None, None] < 50, 0.0, 5.0)
    assert F.w_mpjpe(joints + early, joints).max() > 1000, "not before"


def test_w_mpjpe_is_aligned_on_the_first_two_frames_and_wa_mpjpe_on_all():
    joints, pred = wandering(5), wandering(5)
    pred = pred + 0.2 * torch.randn(pred.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    flat, wanted = pred.flatten(0, 1), joints.flatten(0, 1)
    for measure, fit in ((F.w_mpjpe, slice(0, 48)), (F.wa_mpjpe, None)):
        expected = 1000 * (F.align(flat, wanted, fit=fit) - wanted).norm(dim=-1).view(5, 24).mean(1)
        torch.testing.assert_close(measure(pred, joints), expected)


def test_align_fits_selected_points_and_transforms_all():
    target = wandering(1)[0]
    pred = moved(target, 0.7)
    pred[20:] += 5.0
    fitted = F.align(pred, target, fit=slice(0, 20))
    assert (fitted - target)[:20].abs().max() < 1e-6 and (fitted - target)[20:].norm(dim=-1).min() > 1
    shrunk = F.align(0.5 * target, target, scale=False)
    torch.testing.assert_close(shrunk - shrunk.mean(0), 0.5 * (target - target.mean(0)))


@pytest.mark.parametrize("measure, power", [(F.accel, 2), (F.jitter, 3)])
def test_derivatives_scale_with_the_frame_rate(measure, power):
    joints = wandering(20)
    given = (joints, 0.5 * joints) if measure is F.accel else (joints,)
    torch.testing.assert_close(measure(*given, fps=60.0), 2**power * measure(*given))


def test_rte_by_hand():
    target = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]])
    pred = target * torch.tensor([1.1, 1.0, 1.0])  # centred path 10 % too long: 0.2, 0.1, 0, 0.1, 0.2 m of 4 m
    torch.testing.assert_close(F.rte(pred, target), torch.tensor([5.0, 2.5, 0, 2.5, 5.0]), atol=1e-3, rtol=0)


def test_rte_of_a_static_reference_is_empty():
    still = torch.zeros(10, 3)
    assert len(F.rte(still, still)) == 0


def test_a_body_at_rest_has_no_jitter_and_no_sliding():
    still = wandering(1).expand(20, 24, 3)
    assert F.jitter(still).max() == 0
    soles = standing_soles()
    assert F.foot_sliding(soles, soles).max() == 0
    assert F.skating(soles).max() == 0


def test_jitter_by_hand():
    joints = torch.zeros(4, 24, 3)
    joints[3, 5, 2] = 0.024  # third difference 0.024 m on one joint of 24
    torch.testing.assert_close(F.jitter(joints), torch.tensor([0.001 * 30**3 / 10]))


def test_soles_of_the_rest_pose_are_on_the_floor():
    soles = standing_soles()
    assert soles.shape == (8, 16, 3)
    assert soles[..., 2].abs().max() < 1e-5
    assert soles[0, :4, 1].mean() > 0.05  # left foot to the left of a body that faces +x
    assert soles[0, 8:12, 0].mean() > soles[0, :4, 0].mean()  # toes before the foot


def test_foot_sliding_counts_only_points_at_rest_in_the_reference():
    target = torch.zeros(3, 2, 3)
    target[1, 1, 0] = target[2, 1, 0] = 0.5  # point 1 swings, then stands
    pred = torch.zeros(3, 2, 3)
    pred[1:, 0, 1] = 0.004  # point 0 slips by 4 mm once
    pred[1, 1, 0] = 0.5
    pred[2, 1, 0] = 0.506  # point 1 slips by 6 mm after it has landed
    torch.testing.assert_close(
        F.foot_sliding(pred, target).sort().values, torch.tensor([0.0, 4.0, 6.0]), atol=1e-3, rtol=0
    )


def test_floating_is_measured_in_frames_with_reference_contact():
    target, pred = torch.zeros(3, 2, 3), torch.zeros(3, 2, 3)
    target[2, :, 0] = 1.0  # at rest from frame 0 to 1, moving from 1 to 2
    pred[0, :, 2], pred[1, :, 2], pred[2, :, 2] = 0.1, 0.2, 0.3
    pred[0, 1, 2] = 0.4  # the lowest point counts
    torch.testing.assert_close(F.floating(pred, target), torch.tensor([100.0]))
    pred[0, 0, 2] = 0.0049
    assert F.floating(pred, target).tolist() == [0.0], "5 mm are within the dead zone"
    pred[0, 0, 2] = 0.0051
    torch.testing.assert_close(F.floating(pred, target), torch.tensor([5.1]))


def test_contact_threshold_is_1_cm_per_frame():
    soles = torch.zeros(3, 1, 3)
    soles[1, 0, 0], soles[2, 0, 0] = 0.0099, 0.0201
    assert F.points_at_rest(soles).flatten().tolist() == [True, False]


def test_height_variance_ignores_a_constant_offset_and_floating_does_not():
    on_floor = standing_soles(12)
    wobble = torch.linspace(0, 0.004, 12)[:, None, None] * torch.tensor([0.0, 0.0, 1.0])
    raised = on_floor + torch.tensor([0.0, 0.0, 0.1])
    torch.testing.assert_close(F.floating(raised, on_floor), torch.full((11,), 100.0), atol=0.02, rtol=0)
    assert F.floating(on_floor + wobble, on_floor).max() == 0  # 4 mm are within the dead zone
    low, high = F.height_variance(on_floor + wobble), F.height_variance(raised + wobble)
    assert low > 0.05
    torch.testing.assert_close(low, high, atol=1e-2, rtol=0)
    assert F.penetration(raised).max() == 0


def test_height_variance_by_hand_over_the_lowest_quarter():
    soles = torch.ones(8, 1, 3)
    soles[5, 0, 2], soles[2, 0, 2] = 0.000, 0.002  # two of eight frames: 0 and 2 mm, variance 1 mm^2
    torch.testing.assert_close(F.height_variance(soles), torch.tensor([1.0]))
    assert len(F.height_variance(soles[:3])) == 0


def test_penetration_is_the_depth_of_the_lowest_point():
    soles = standing_soles(4, height=-0.03)
    torch.testing.assert_close(F.penetration(soles), torch.full((4,), 30.0), atol=0.02, rtol=0)
    assert F.floating(soles, soles).max() == 0


def test_skating_needs_a_low_point_and_horizontal_speed():
    soles = torch.zeros(4, 2, 3)
    soles[:, 1, 2] = 0.06  # point 1 is above 5 cm and may move
    soles[:, 1, 0] = torch.arange(4) * 0.1
    soles[3, 0, 0] = 0.001  # point 0 moves 1 mm in a frame: 3 cm/s
    assert F.skating(soles).tolist() == [0, 0, 100]
    soles[3, 0] = torch.tensor([0.0, 0.0, 0.01])  # up is not sideways
    assert F.skating(soles).tolist() == [0, 0, 0]


def test_skating_counts_lift_off_and_landing():
    soles = torch.zeros(3, 1, 3)
    soles[:, 0, 2] = torch.tensor([0.06, 0.04, 0.06])
    soles[:, 0, 1] = torch.tensor([0.0, 0.001, 0.002])
    assert F.skating(soles).tolist() == [100, 100]
    assert F.skating(soles, fps=15.0).tolist() == [0, 0], "1.5 cm/s"


def test_limit_excess_by_hand():
    limits = dof_limits()
    middle = limits.mean(-1).expand(2, 69).clone()
    assert F.limit_excess(middle, limits).max() == 0
    middle[1, 10] = limits[10, 1] + math.radians(7)
    middle[0, 3] = limits[3, 0] - math.radians(2)
    excess = F.limit_excess(middle, limits)
    assert excess[1, 10] == pytest.approx(7, abs=1e-3) and excess[0, 3] == pytest.approx(2, abs=1e-3)
    assert (excess > 0).sum() == 2


def test_failure_is_a_mean_distance_of_20_bodies_above_half_a_metre():
    target = torch.zeros(10, 24, 3)
    pred = target.clone()
    pred[6:, :, 0] = 0.51
    assert F.fail_frame(pred, target) == 6
    assert F.fail_frame(pred * 0.49 / 0.51, target) is None
    assert F.fail_frame(pred[4:], target[4:]) == 2, "the first frame that is judged"
    assert F.fail_frame(pred, target, threshold=0.52) is None
    toes_and_hands = target.clone()
    toes_and_hands[:, [10, 11, 22, 23]] = 30.0
    assert F.fail_frame(toes_and_hands, target) is None
    one_arm = target.clone()
    one_arm[4, 18, 2] = 0.6
    assert F.fail_frame(one_arm, target) is None


def test_failure_skips_the_first_two_frames_and_includes_nan():
    target = torch.zeros(10, 24, 3)
    early = target.clone()
    early[:2] = 2.0
    assert F.fail_frame(early, target) is None
    blown = target.clone()
    blown[7] = float("nan")
    assert F.fail_frame(blown, target) == 7


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_clips_give_few_values(frames):
    joints = wandering(frames)
    for error in ERRORS:
        assert torch.isfinite(error(joints, joints)).all()
    assert len(F.accel(joints, joints)) == max(frames - 2, 0)
    assert len(F.jitter(joints)) == 0
    assert F.rte(joints[:, 0], joints[:, 0]).numel() in (0, frames)


def test_rte_of_a_static_prediction_is_finite():
    target = torch.zeros(5, 3)
    target[:, 0] = torch.arange(5.0)
    assert torch.isfinite(F.rte(torch.zeros(5, 3), target)).all()


def test_limb_errors_by_hand():
    true = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(0))
    off = F.limb_errors(1.1 * true + torch.tensor([0.3, 0.0, 0.4]), true)
    assert {key: value.shape for key, value in off.items()} == {k: (4,) for k in ("mpjpe", "pa_mpjpe", "world")}
    assert off["pa_mpjpe"].max() < 1e-2  # invariant to scale and translation
    local = true - true[:, 6:8].mean(1, keepdim=True)
    torch.testing.assert_close(off["mpjpe"], 100 * local.norm(dim=-1).mean(-1))
    torch.testing.assert_close(
        F.limb_errors(true + torch.tensor([0.3, 0.0, 0.4]), true)["world"], torch.full((4,), 500.0)
    )
