"""Motion noise: magnitudes, smoothness, growing strength, reproducibility."""

from dataclasses import replace

import pytest
import roma
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.noise import noisy_clip, noisy_library, smooth_noise
from physhmr_kit.motion.settings import MotionNoise
from physhmr_kit.utils.errors import KitError

NONE = MotionNoise(
    root_drift=0, float_height=0, tilt_degrees=0, joint_degrees=0, jitter_degrees=0, jump=0, gap_every=1e9
)


def noisy(noise, clip=None, strength=1.0, seed=0):
    return noisy_clip(clip or waving_clip(300), noise, strength, torch.Generator().manual_seed(seed))


def turned(a, b):
    """Angle between the joint rotations of two clips, degrees (T, 24)."""
    dot = (a.joint_rot * b.joint_rot).sum(-1).abs().clamp(max=1)
    return torch.rad2deg(2 * dot.acos())


def test_the_first_version_is_exact_and_the_noise_of_the_others_grows():
    library = MotionLibrary([waving_clip(200), rest_clip(200)])
    made = noisy_library(library, MotionNoise(versions=4), seed=0)
    assert len(made) == 8
    for clip in range(2):
        true = library.clip(clip).body_pos
        off = [float((made.clip(4 * clip + k).body_pos - true).norm(dim=-1).mean()) for k in range(4)]
        assert off[0] < 1e-5 and off[1] > 0.005 and off == sorted(off) and off[3] < 0.3


def test_a_single_noisy_version_has_full_strength():
    library = MotionLibrary([waving_clip(200)])
    two, three = (noisy_library(library, MotionNoise(versions=n, least=0.01), 0) for n in (2, 3))
    off = [
        float((made.clip(k).body_pos - library.clip(0).body_pos).norm(dim=-1).mean())
        for made, k in ((two, 1), (three, 1))
    ]
    assert off[0] > 10 * off[1]


def test_a_version_depends_only_on_name_and_seed():
    both = noisy_library(MotionLibrary([rest_clip(30), waving_clip(40)]), MotionNoise(versions=2), 0)
    alone = noisy_library(MotionLibrary([waving_clip(40)]), MotionNoise(versions=2), 0)
    other = noisy_library(MotionLibrary([waving_clip(40)]), MotionNoise(versions=2), 1)
    assert torch.equal(both.clip(3).body_pos, alone.clip(1).body_pos)
    renamed = noisy_library(MotionLibrary([replace(waving_clip(40), name="other")]), MotionNoise(versions=2), 0)
    assert not torch.equal(renamed.clip(1).body_pos, alone.clip(1).body_pos)
    assert not torch.equal(other.clip(1).body_pos, alone.clip(1).body_pos)


def test_zero_noise_changes_nothing():
    clip = waving_clip(60)
    same = noisy(NONE, clip)
    torch.testing.assert_close(same.root_pos, clip.root_pos)
    assert turned(same, clip).max() < 0.1


def test_the_root_drifts_smoothly_with_the_given_standard_deviation():
    drift = torch.cat(
        [noisy(replace(NONE, root_drift=0.05), seed=s).root_pos - waving_clip(300).root_pos for s in range(8)]
    )
    assert float(drift.std()) == pytest.approx(0.05, rel=0.15)
    one = noisy(replace(NONE, root_drift=0.05)).root_pos - waving_clip(300).root_pos
    assert (one[1:] - one[:-1]).norm(dim=-1).max() < 0.02, "from frame to frame it hardly moves"


def test_float_tilt_joints_and_jitter_have_their_magnitudes():
    clip = rest_clip(2)
    heights = torch.stack(
        [(noisy(replace(NONE, float_height=0.03), clip, seed=s).root_pos - clip.root_pos)[0] for s in range(40)]
    )
    assert float(heights[:, 2].std()) == pytest.approx(0.03, rel=0.3) and heights[:, :2].abs().max() < 1e-6
    leans = torch.stack([turned(noisy(replace(NONE, tilt_degrees=4), clip, seed=s), clip)[0] for s in range(40)])
    assert float(leans[:, 0].square().mean().sqrt()) == pytest.approx(4 * 2**0.5, rel=0.25) and leans[:, 1:].max() < 0.1
    for seed in range(5):  # a lean is a rotation about a horizontal axis
        turn = roma.quat_product(
            noisy(replace(NONE, tilt_degrees=4), clip, seed=seed).joint_rot[0, 0],
            roma.quat_conjugation(clip.joint_rot[0, 0]),
        )
        assert turn[2].abs() < 1e-3 < turn[:2].norm()
    clip = rest_clip(300)
    for name, frame_to_frame in (("joint_degrees", 1.5), ("jitter_degrees", 8)):
        bent = noisy(replace(NONE, **{name: 3.0}), clip)
        assert float(turned(bent, clip).square().mean().sqrt()) == pytest.approx(3 * 3**0.5, rel=0.1)
        after = turned(bent.cut(1), bent.cut(0, -1)).mean()
        assert (after < frame_to_frame) if name == "joint_degrees" else (after > frame_to_frame / 2)


def test_jumps_are_sudden_and_decay():
    clip = rest_clip(900)
    off = noisy(replace(NONE, jump=0.2, jump_every=2.0), clip).root_pos - clip.root_pos
    steps = (off[1:] - off[:-1]).norm(dim=-1)
    assert 5 < (steps > 0.08).sum() < 30
    first = int((steps > 0.08).nonzero()[0]) + 1
    assert off[:first].abs().max() < 1e-6
    until = int((steps > 0.01).nonzero()[1]) + 1  # the next one
    for frame in range(first, min(first + 12, until)):
        assert float(off[frame].norm() / off[first].norm()) == pytest.approx(0.5 ** ((frame - first) / 12), abs=0.01)


def test_gaps_are_bridged_by_interpolation():
    clip = waving_clip(300)
    bridged = noisy(replace(NONE, gap_every=1.0), clip)
    angle = turned(bridged, clip).amax(1)
    assert 0.05 < (angle > 0.5).float().mean() < 0.9
    assert turned(bridged, clip)[[0, -1]].max() < 0.1


def test_smooth_noise_has_standard_deviation_1_at_any_smoothness():
    for seconds in (0.05, 0.3, 1.0):
        made = smooth_noise(400, 60, seconds, torch.Generator().manual_seed(0))
        assert made.shape == (400, 60) and float(made.std()) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"versions": 0}, {"jump": -0.1}, {"least": 1.5}, {"gap_every": 0}, {"root_seconds": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(KitError, match=next(iter(wrong))):
        MotionNoise(**wrong)
