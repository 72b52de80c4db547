"""The synthetic detector has the stated errors and no others."""

from dataclasses import replace

import pytest
import torch

from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_NAMES
from physhmr_kit.vision.synthetic import KeypointNoise, detect, displace, occlude, outward, perturb, resample_unevenly


def a_scene(frames=200):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(17, 3, generator=generator) * torch.tensor([0.2, 0.2, 0.4]) + torch.tensor([0, 0, 1.0])
    camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 1.0), focal=1000.0)
    return points.expand(frames, 17, 3), camera


def error(noise: KeypointNoise, frames=400, seed=1):
    """Mean size of the pixel error in shares of the box, and the keypoints."""
    points, camera = a_scene(frames)
    truth = camera.project(points)
    seen = perturb(truth, camera.is_visible(points), noise, torch.Generator().manual_seed(seed))
    box = (truth.amax(1) - truth.amin(1)).amax()
    return (seen[..., :2] - truth).norm(dim=-1) / box, seen


def test_a_perfect_detector_returns_the_projection_with_full_confidence():
    points, camera = a_scene()
    seen = detect(points, camera, KeypointNoise.none(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen[..., :2], camera.project(points))
    assert (seen[..., 2] == 1).all()


def test_noise_is_reproducible_from_the_seed():
    assert torch.equal(error(KeypointNoise(), seed=3)[1], error(KeypointNoise(), seed=3)[1])
    assert not torch.equal(error(KeypointNoise(), seed=3)[1], error(KeypointNoise(), seed=4)[1])


def test_jitter_is_proportional_to_its_setting():
    quiet = replace(KeypointNoise.none(), jitter=0.01)
    one, two = error(quiet)[0].mean(), error(replace(quiet, jitter=0.02))[0].mean()
    assert 0.003 < one < 0.02
    torch.testing.assert_close(two, 2 * one, rtol=1e-3, atol=0)


def test_jitter_is_correlated_over_time():
    points, camera = a_scene(2000)
    noise = replace(KeypointNoise.none(), jitter=0.01, memory=0.8)
    truth = camera.project(points)
    seen = perturb(truth, camera.is_visible(points), noise, torch.Generator().manual_seed(0))
    e = seen[..., 0] - truth[..., 0]
    e = e - e.mean(0)
    correlation = (e[1:] * e[:-1]).mean() / e.square().mean()
    assert abs(float(correlation) - 0.8) < 0.05


def test_dropout_has_the_stated_rate_and_length():
    _, seen = error(replace(KeypointNoise.none(), dropout=0.01, dropout_frames=5.0), frames=3000)
    missing = seen[..., 2] == 0
    assert missing.float().mean().item() == pytest.approx(0.05, abs=0.02)
    starts = (missing[1:] & ~missing[:-1]).sum()
    assert missing[1:].sum() / starts == pytest.approx(5.0, abs=1.0)


def test_swaps_exchange_left_and_right_limbs():
    points, camera = a_scene(2000)
    truth = camera.project(points)
    seen = perturb(
        truth, camera.is_visible(points), replace(KeypointNoise.none(), swap=0.05), torch.Generator().manual_seed(0)
    )[..., :2]
    left, right = COCO_NAMES.index("left_wrist"), COCO_NAMES.index("right_wrist")
    swapped = (seen[:, left] == truth[:, right]).all(-1)
    assert 0.05 < swapped.float().mean() < 0.5
    assert torch.equal(
        swapped, (seen[:, COCO_NAMES.index("left_elbow")] == truth[:, COCO_NAMES.index("right_elbow")]).all(-1)
    )
    assert torch.equal(seen[:, 0], truth[:, 0])  # the nose has no counterpart


def test_confidence_is_lower_where_the_error_is_large():
    e, seen = error(replace(KeypointNoise(), dropout=0.0, frame_dropout=0.0, swap=0.0), frames=2000)
    confidence = seen[..., 2]
    large = e > e.quantile(0.9)
    assert confidence[large].mean() < confidence[~large].mean() - 0.02
    assert (confidence >= 0).all() and (confidence <= 1).all()


def test_keypoints_outside_the_image_are_not_detected():
    points, camera = a_scene()
    outside = points.clone()
    outside[:, 9] = torch.tensor([0.0, 9.0, 1.0])
    seen = perturb(
        camera.project(outside), camera.is_visible(outside), KeypointNoise.none(), torch.Generator().manual_seed(0)
    )
    assert (seen[:, 9, 2] == 0).all() and (seen[:, 0, 2] == 1).all()


def test_scaled_noise_keeps_the_correlation_in_time():
    noise = KeypointNoise().scaled(2.0)
    assert noise.jitter == 2 * KeypointNoise().jitter and noise.swap == 2 * KeypointNoise().swap
    assert noise.memory == KeypointNoise().memory and noise.dropout_frames == KeypointNoise().dropout_frames
    points, camera = a_scene(20)
    seen = detect(points, camera, KeypointNoise().scaled(0.0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen[..., :2], camera.project(points))


def test_occlusion_hides_neighbouring_keypoints_for_a_while():
    points, camera = a_scene(2000)
    hidden = occlude(
        camera.project(points), replace(KeypointNoise.none(), occlusion=0.01), torch.Generator().manual_seed(0)
    )
    frames = hidden.any(-1)
    assert 0.05 < frames.float().mean() < 0.3  # starts with probability 0.01, lasts about 15 frames
    assert 1 <= hidden[frames].sum(-1).float().mean() < 12
    lengths = frames.long().diff().abs().sum() / 2
    assert frames.sum() / lengths > 6


def test_truncation_affects_a_share_of_the_tracks():
    points, camera = a_scene(4)
    pixels = camera.project(points).expand(300, 4, 17, 2)
    hidden = occlude(pixels, replace(KeypointNoise.none(), truncation=0.5), torch.Generator().manual_seed(0))
    cut = hidden.any(-1).any(-1)
    assert 0.35 < cut.float().mean() < 0.6
    lowest = pixels[0, 0, :, 1].argmax()
    assert hidden[cut][:, 0, lowest].float().mean() > 0.4  # most often at the bottom
    assert not hidden[:, 0].all(-1).any()


def test_uneven_frame_times_change_only_moving_keypoints():
    at = torch.arange(60, dtype=torch.float32)
    pixels = torch.zeros(200, 60, 17, 2)
    pixels[:, :, 0, 0] = at
    late = resample_unevenly(pixels, 0.5, torch.Generator().manual_seed(0))
    assert (late[..., 1:, :] == 0).all()
    off = late[:, :, 0, 0] - at
    uneven = off.abs().amax(1) > 0.01
    assert 0.35 < uneven.float().mean() < 0.65
    assert off.abs().max() < 2.6  # at most 2.5 frames late
    assert torch.equal(late[~uneven], pixels[~uneven]) or off[~uneven].abs().max() < 1e-4


def test_joints_are_displaced_by_jitter_and_bias():
    points = torch.zeros(300, 40, 17, 3)
    off = displace(points, 1.0, torch.Generator().manual_seed(0))
    bias, jitter = off.mean(1).std(0).mean(-1), off.std(1).median(0).values.mean(-1)
    quality = 0.98  # root mean square of a uniform number from 0.33 to 1.5
    for name, wanted_bias, wanted_jitter in (
        ("left_wrist", 0.035, 0.005),
        ("right_hip", 0.010, 0.020),
        ("nose", 0.040, 0.010),
    ):
        k = COCO_NAMES.index(name)
        expected = quality * (wanted_bias**2 + wanted_jitter**2 / 40) ** 0.5
        assert float(bias[k]) == pytest.approx(expected, rel=0.15)
        assert float(jitter[k]) == pytest.approx(0.915 * wanted_jitter, rel=0.15)
    ankle = off[:, :, COCO_NAMES.index("left_ankle")]
    peaks = ((ankle - ankle.median(1, keepdim=True).values).norm(dim=-1) > 0.06).float().mean()
    assert 0.002 < float(peaks) < 0.006
    half = displace(points, 0.5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(half, off / 2)


def test_the_detector_projects_displaced_joints():
    points, camera = a_scene()
    seen = detect(points, camera, replace(KeypointNoise.none(), joints=1.0), torch.Generator().manual_seed(0))
    off = (seen[..., :2] - camera.project(points)).norm(dim=-1)
    assert 1 < float(off.mean()) < 20  # 1000 px / 4 m: a centimetre is 2.5 px


def test_masking_extends_along_the_limb():
    mask = torch.zeros(17, dtype=torch.bool)
    mask[COCO_NAMES.index("left_shoulder")] = mask[COCO_NAMES.index("right_knee")] = True
    found = {COCO_NAMES[i] for i in outward(mask).nonzero().flatten().tolist()}
    assert found == {"left_shoulder", "left_elbow", "left_wrist", "right_knee", "right_ankle"}
    _, seen = error(replace(KeypointNoise.none(), masked=0.03), frames=3000)
    missing = (seen[..., 2] == 0).float().mean(0)
    wrist, hip = missing[COCO_NAMES.index("left_wrist")], missing[COCO_NAMES.index("left_hip")]
    assert float(hip) == pytest.approx(0.03, abs=0.01) and float(wrist) == pytest.approx(1 - 0.97**3, abs=0.02)


def test_hidden_legs_last_about_two_seconds():
    points, camera = a_scene(4000)
    hidden = occlude(
        camera.project(points), replace(KeypointNoise.none(), hidden_legs=0.005), torch.Generator().manual_seed(1)
    )
    legs = [i for i, n in enumerate(COCO_NAMES) if n.split("_")[-1] in ("knee", "ankle")]
    others = [i for i in range(17) if i not in legs]
    assert not hidden[:, others].any() and (hidden[:, legs] == hidden[:, legs[:1]]).all()
    starts = int((hidden[1:, legs[0]] & ~hidden[:-1, legs[0]]).sum())
    assert 20 < int(hidden[:, legs[0]].sum()) / starts < 120
