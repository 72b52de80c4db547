"""check_clip: infeasible motion is refused with its frame, repairable faults are repaired, good motion is unchanged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from motions import rest_clip, waving_clip

from data_prep.sources import load_clips
from physhmr_kit.motion.check import MIN_FRAMES, check_clip, teleports
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.utils.errors import KitError


def lifted(clip: Clip, height) -> Clip:
    """The clip raised by `height` m, a number or (T,)."""
    trans = clip.trans.copy()
    trans[:, 2] += np.asarray(height, np.float32)
    return replace(clip, trans=trans)


def turned(clip: Clip, joint: int, degrees: float, frames: slice) -> Clip:
    rot = clip.joint_rot
    turn = roma.rotvec_to_unitquat(torch.tensor([0.0, math.radians(degrees), 0.0]))
    rot[frames, joint] = roma.quat_product(rot[frames, joint], turn.expand_as(rot[frames, joint]))
    return Clip.from_joints(clip.root_pos, rot, clip.fps, clip.name)


def refused(clip: Clip, words: str) -> str:
    with pytest.raises(KitError, match=words) as caught:
        check_clip(clip)
    assert str(caught.value).startswith(f"{clip.name}: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_the_demo_motions_are_not_changed():
    for clip in demo_clips():
        same, lines = check_clip(clip)
        assert same is clip and lines == [], clip.name


def test_a_clip_too_short_to_track_is_refused_and_one_shorter_than_the_preview_reported():
    assert "4 frame(s)" in refused(rest_clip(MIN_FRAMES - 1), "at least 5")
    refused(replace(rest_clip(16), fps=120.0), r"4 frame\(s\) at 30 fps")
    clip, lines = check_clip(rest_clip(MIN_FRAMES))
    assert len(clip) == MIN_FRAMES and len(lines) == 1 and "shorter than the 0.5 s" in lines[0]
    assert check_clip(rest_clip(15))[1] == []


def test_a_frame_time_instead_of_a_rate_is_refused():
    refused(replace(rest_clip(), fps=1 / 30), "0.0333333 frames per second")


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_a_root_that_jumps_is_refused_with_frame_and_distance(fps):
    clip = replace(rest_clip(40), fps=fps)
    trans = clip.trans.copy()
    trans[12:, 0] += 0.25
    refused(replace(clip, trans=trans), rf"from frame 11 to 12 \({11 / fps:.2f} s\): the root jumps by 0.25 m.*Cut")
    trans = clip.trans.copy()
    trans[12, 1] += 0.25  # there and back: the first step is named
    refused(replace(clip, trans=trans), "from frame 11 to 12")


def test_a_root_faster_than_a_sprinter_is_refused():
    clip, t = rest_clip(90), torch.arange(90) / 30
    trans = clip.trans.copy()
    trans[:, 0] = 5 * t**2  # 10 m/s^2 exceeds 12 m/s after 1.2 s
    refused(replace(clip, trans=trans), r"frame 36 to 37 .* moves at 12\.\d m/s; no body exceeds 12")
    trans[:, 0] = 11 * t
    assert check_clip(replace(clip, trans=trans))[1] == []


def test_a_joint_that_flips_is_refused_and_named():
    refused(turned(waving_clip(), 16, 170, slice(20, None)), "frame 19 to 20 .*left_shoulder turns at")
    refused(turned(rest_clip(), 0, 90, slice(7, 8)), "frame 6 to 7 .*pelvis turns at 47 rad/s; none exceeds 40")
    assert check_clip(turned(rest_clip(), 16, 80, slice(10, None)))[1] == []  # 42 rad/s occurs in dancers' arms


def test_frames_of_a_shortened_motion_are_numbered_as_in_the_file():
    clip = turned(rest_clip(), 0, 90, slice(7, None))
    steps, fault = teleports(clip.root_pos, clip.joint_rot[:, :1], 30.0, first=20)
    assert steps == [6] and "frame 26 to 27" in fault


@pytest.mark.parametrize("height, done", [(0.08, "lowered by 8.0 cm"), (-0.30, "raised by 30.0 cm")])
def test_a_clip_at_the_wrong_height_is_shifted(height, done):
    clip, lines = check_clip(lifted(waving_clip(), height))
    assert len(lines) == 1 and lines[0].startswith(done)
    np.testing.assert_allclose(clip.trans, waving_clip().trans, atol=1e-3)
    assert check_clip(clip)[0] is clip


def test_a_brief_penetration_does_not_lift_the_clip_but_is_reported():
    height = np.zeros(60)
    height[28:33] = [-0.02, -0.06, -0.08, -0.06, -0.02]
    clip, lines = check_clip(lifted(waving_clip(), height))
    assert len(clip) == 60 and lines == ["kept, but 8 cm under the floor at 1.00 s"]


@pytest.mark.parametrize("start, words", [(0.4, "40 cm above"), (-0.4, "40 cm below")])
def test_a_start_in_mid_air_or_below_the_floor_is_cut_off(start, words):
    height = np.full(90, start)
    height[20:40] = np.linspace(start, 0, 20)
    height[40:] = 0
    clip, lines = check_clip(lifted(rest_clip(90), height))
    assert len(lines) == 1 and words in lines[0] and lines[0].startswith("first 37 frame(s)")
    assert len(clip) == 53 and abs(clip.trans[0, 2] - rest_clip().trans[0, 2]) < 0.05


def test_a_clip_too_short_without_its_start_is_refused():
    clip = replace(rest_clip(48), fps=60.0)
    height = np.zeros(48)
    height[:40] = np.linspace(0.5, 0.06, 40)
    refused(lifted(clip, height), r"4 frame\(s\) at 30 fps without its start 50 cm above the floor")


def test_flights_are_kept_at_the_start_and_in_the_middle():
    t = np.arange(90) / 30
    jump = np.maximum(0.4 - 9.81 / 2 * (t - 0.3) ** 2, 0)  # up to 40 cm, in the air from 0.01 to 0.59 s
    for first in (0, 4, 9, 14):  # taking off, rising, at the top, falling
        clip = lifted(rest_clip(90), jump).cut(first)
        same, lines = check_clip(clip)
        assert same is clip and lines == []


def test_a_flight_longer_than_any_jump_is_reported():
    _, lines = check_clip(rest_clip(60, lift_off=2.0))
    assert len(lines) == 1 and "in the air from 0.03 to 2.00 s" in lines[0]


def test_a_body_lying_on_the_floor_touches_it():
    clip = rest_clip(60)
    rot = clip.joint_rot
    lying = roma.rotvec_to_unitquat(torch.tensor([0.0, -math.pi / 2, 0.0]))
    rot[:, 0] = roma.quat_product(lying.expand_as(rot[:, 0]), rot[:, 0])
    legs = roma.rotvec_to_unitquat(torch.tensor([-1.0, 0.0, 0.0]))
    for hip in (1, 2):  # both feet half a metre up
        rot[:, hip] = legs
    root = clip.root_pos
    root[:, 2] = 0.14
    assert check_clip(Clip.from_joints(root, rot, 30.0))[1] == []


def test_load_clips_reports_each_repair_once_and_repairs_nothing_without_check(tmp_path, capsys):
    path = lifted(waving_clip(), 0.10).save(tmp_path / "high.npz")
    (clip,) = load_clips([path])
    assert capsys.readouterr().err.startswith(f"{path}: lowered by 10.0 cm")
    np.testing.assert_allclose(clip.trans, waving_clip().trans, atol=1e-3)
    load_clips([path])
    (raw,) = load_clips([path], check=False)
    assert capsys.readouterr().err == "" and raw.trans[0, 2] - clip.trans[0, 2] == pytest.approx(0.1, abs=1e-3)
