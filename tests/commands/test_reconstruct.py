import contextlib
import csv
import io
import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from material import STUDENT_GROUPS, filmed, rest_encoder, run, weights
from motions import rest_clip

from data_prep.sources import load_clips
from physhmr_kit import reconstruct
from physhmr_kit.env import Rollout, TrackingConfig
from physhmr_kit.evaluate import student_stage
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.following import is_upright
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.reconstruction import (
    MIN_RESTART_GAP,
    errors_over_time,
    kinematic_estimate,
    simulate_track,
    summary,
    video_errors,
)
from physhmr_kit.reconstruction.files import write_files
from physhmr_kit.stages.settings import ADAPTATION_CONFIG, Simulation
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack
from physhmr_kit.vision.track import VisualTrack

CONFIG = TrackingConfig(groups=STUDENT_GROUPS, control="absolute")
DATA = Path(os.environ.get("PHYSHMR_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reconstruct")
    return {**filmed(folder), **weights(folder)}


@pytest.fixture(scope="module")
def track(given):
    return track_from_keypoints(KeypointTrack.load(given["keypoints"]), Camera.load(given["camera"]), rest_encoder())


def arguments(given, out):
    named = {"--keypoints": "keypoints", "--camera": "camera", "--weights": "distill", "--encoder": "encoder"}
    return [word for option, key in named.items() for word in (option, given[key])] + ["--scale", 1.0, "--out", out]


@pytest.fixture(scope="module")
def standing(given, tmp_path_factory):
    """The folder of a reconstruction of the film, beside which is its video; and what was said."""
    out, said = tmp_path_factory.mktemp("standing") / "deep" / "out", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(reconstruct.main, *arguments(given, out)) == 0
    return out, said.getvalue()


def test_a_person_standing_in_the_rest_pose_is_reconstructed(standing):
    out, said = standing
    assert "20 frames at 30 fps" in said and "upright in 100 %" in said and "0 time(s)" in said

    before, after = (line for line in said.splitlines() if line.startswith(("before, the", "after, the")))
    assert all(
        "feet slide 0." in line and "float 0." in line and "off balance 0.0 %" in line for line in (before, after)
    )
    clip, truth = Clip.load(out / "reconstruction.npz"), rest_clip(20)
    assert len(clip) == 20 and clip.fps == 30
    assert (clip.root_pos - truth.root_pos).norm(dim=-1).max() < 0.03  # m; camera, placement and physics agree
    rows = list(csv.DictReader((out / "errors.csv").open()))
    errors = {k: np.array([float(r[k]) for r in rows]) for k in rows[0]}
    assert len(errors["frame"]) == 20 and all(np.isfinite(v).all() for v in errors.values())
    assert errors["reprojection_px"][0] < 0.5 and errors["reprojection_px"].max() < 2
    assert errors["estimate_reprojection_px"].max() < 0.5
    assert errors["restart"].sum() == 0 and errors["upright"].all()

    assert len(Rollout.load(out / "rollout.npz")) == len(VisualTrack.load(out / "track.npz")) == 20
    assert (out / "reconstruction.rrd").stat().st_size > 10_000
    assert (out / "reconstruction.bvh").read_text().startswith("HIERARCHY")
    assert len(list(out.iterdir())) == 7 and [p.name for p in out.parent.iterdir()] == ["out"]


def test_the_video_beside_the_keypoints_is_used_and_goes_into_the_recording(given, standing, tmp_path):
    assert reconstruct.find_video(given["keypoints"]) == given["video"]
    (tmp_path / "alone").mkdir()
    lonely = {**given, "keypoints": tmp_path / "alone" / "man_keypoints.npz"}
    lonely["keypoints"].write_bytes(given["keypoints"].read_bytes())
    assert reconstruct.find_video(lonely["keypoints"]) is None
    assert run(reconstruct.main, *arguments(lonely, tmp_path / "without")) == 0
    bodies = {"world/simulated/Pelvis", "world/reference/Pelvis"}
    shown = {"world/camera/keypoints", "world/rays", *bodies, "errors/body", "errors/rays"}
    with_video, without = (entities(folder / "reconstruction.rrd") for folder in (standing[0], tmp_path / "without"))
    assert shown <= with_video and shown <= without
    assert with_video - without == {"world/camera/image"}


def test_a_video_alone_goes_through_the_detector_and_an_estimated_camera(given, capsys, tmp_path, monkeypatch):
    asked = []

    def detector(video, name, person, weights, place):
        asked.append((video, name, person, weights, place))
        return KeypointTrack.load(given["keypoints"])

    monkeypatch.setattr(reconstruct, "keypoints_of", detector)
    monkeypatch.chdir(tmp_path)
    options = ["--weights", given["distill"], "--encoder", given["encoder"], "--scale", 1.0, "--focal", 300.0]
    assert run(reconstruct.main, given["video"], *options) == 0
    assert asked == [(given["video"], "mediapipe", "largest", None, None)]
    captured = capsys.readouterr()
    assert "estimated camera:" in captured.out and "looking 0 degrees down" in captured.out
    for name in ("keypoints", "camera, encoder and rays", "simulation", "writing"):
        assert f"{name}: " in captured.err
    track = VisualTrack.load(tmp_path / "out" / "man" / "track.npz")
    assert float(track.centre[0, 2]) == pytest.approx(1.0, abs=0.1)  # where `filmed` put it


def test_the_unknown_tilt_of_a_lens_is_estimated(given, capsys, tmp_path):
    import roma

    camera = Camera.load(given["camera"]).in_world(
        roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 1.0])), (5.0, 0.0, 2.0)
    )
    lens = camera.save(tmp_path / "lens.json")
    words = [w for w in arguments(given, tmp_path / "out") if w not in ("--camera", given["camera"])]
    assert run(reconstruct.main, *words, "--lens", lens, "--method", "kinematic") == 0
    assert "estimated camera: 0.9" in capsys.readouterr().out


def test_the_kinematic_method_writes_the_estimate_itself(given, capsys, tmp_path):
    assert run(reconstruct.main, *arguments(given, tmp_path / "out"), "--method", "kinematic") == 0
    said = capsys.readouterr().out
    assert "without physics" in said and "upright" not in said
    rollout = Rollout.load(tmp_path / "out" / "rollout.npz")
    assert torch.equal(rollout.simulated.body_pos, rollout.reference.body_pos)
    assert (Clip.load(tmp_path / "out" / "reconstruction.npz").root_pos - rest_clip(20).root_pos).abs().max() < 0.01


def test_only_spans_that_show_the_person_are_reconstructed(given, capsys, tmp_path):
    """A start and an end without the person are cut off, a short gap is bridged, a long one parts the film."""
    keypoints = KeypointTrack.load(filmed(tmp_path, 150, 30.0)["keypoints"])
    hidden = keypoints.keypoints.clone()
    for a, b in ((0, 12), (30, 40), (60, 80), (81, 120), (140, 150)):  # frame 80 alone is a glimpse, no motion
        hidden[a:b, :, 2] = 0
        hidden[a:b, :, :2] = 0
    path = KeypointTrack(hidden, 30.0, keypoints.image_size).save(tmp_path / "man_keypoints.npz")
    out = tmp_path / "out"
    assert run(reconstruct.main, *arguments({**given, "keypoints": path}, out), "--method", "kinematic") == 0
    said = capsys.readouterr().out
    assert "150 frames at 30 fps, 5.0 s" in said
    assert "seen in 39 % of the video, from 0.4 to 2.0 s, 4.0 to 4.7 s; the files of a segment" in said
    rows = list(csv.DictReader((out / "errors.csv").open()))
    assert [r["segment"] for r in rows] == [str(1 if 12 <= k < 60 else 2 if 120 <= k < 140 else 0) for k in range(150)]
    assert all((r["from_estimate_mm"] == "") == (r["segment"] == "0") for r in rows)
    tracks = [VisualTrack.load(out / f"track_{n}.npz") for n in (1, 2)]
    assert [(t.first, len(t)) for t in tracks] == [(12, 48), (120, 20)]
    assert "overlay.mp4" in {p.name for p in out.iterdir()}
    for n, frames in ((1, 48), (2, 20)):
        for kind in ("npz", "bvh"):
            (clip,) = load_clips([out / f"reconstruction_{n}.{kind}"], cached=False)
            assert abs(len(clip) - frames) <= 1 and (clip.root_pos[:, :2]).norm(dim=-1).max() < 0.1


def test_every_shot_has_its_own_camera_and_files(given, capsys, tmp_path):
    """The second shot is filmed from twice as near."""
    keypoints = KeypointTrack.load(given["keypoints"])
    near = keypoints.keypoints * torch.tensor([2.0, 2.0, 1.0]) - torch.tensor([160.0, 120.0, 0.0])
    both = torch.cat([keypoints.keypoints, near])
    path = KeypointTrack(both, 60.0, keypoints.image_size, "k", cuts=(2 / 3,)).save(tmp_path / "k.npz")
    words = [
        "--keypoints",
        path,
        "--weights",
        given["distill"],
        "--encoder",
        given["encoder"],
        "--out",
        tmp_path / "out",
    ]
    assert run(reconstruct.main, *words, "--focal", 300.0, "--method", "kinematic") == 0
    said = capsys.readouterr().out
    assert said.count("estimated camera: ") == 2 and "shot from 0.67 to 1.33 s" in said
    assert (
        "seen in 100 % of the video, from 0.0 to 0.7 s, 0.7 to 1.3 s; the files of a segment end in its number" in said
    )
    first, second = (VisualTrack.load(tmp_path / "out" / f"track_{n}.npz") for n in (1, 2))
    assert [(t.first, len(t)) for t in (first, second)] == [(0, 20), (20, 20)]
    rows = list(csv.DictReader((tmp_path / "out" / "errors.csv").open()))
    assert [r["segment"] for r in rows] == ["1"] * 20 + ["2"] * 20


def test_keypoints_of_another_tool_and_of_every_second_frame_match_their_video(given, tmp_path):
    keypoints, coco = KeypointTrack.load(given["keypoints"]), tmp_path / "coco.json"
    half = KeypointTrack(keypoints.keypoints[::2], 30.0, keypoints.image_size).save(tmp_path / "half.npz")
    bodies = enumerate(keypoints.keypoints.numpy())
    coco.write_text(json.dumps([{"image_id": n, "keypoints": body.reshape(-1).tolist()} for n, body in bodies]))
    read = []
    for file in (half, coco):
        args = reconstruct._parse([str(given["video"]), "--keypoints", str(file)])
        found, video = reconstruct.keypoints_and_video(args)
        assert video == given["video"]
        read.append(found.resample(30.0).keypoints)
    torch.testing.assert_close(*read)


def test_a_person_seen_only_for_a_moment_is_refused(given, capsys, tmp_path):
    keypoints = KeypointTrack.load(given["keypoints"])
    hidden = keypoints.keypoints.clone()
    hidden[8:, :, 2] = 0
    path = KeypointTrack(hidden, 60.0, keypoints.image_size).save(tmp_path / "moment.npz")
    assert run(reconstruct.main, *arguments({**given, "keypoints": path}, tmp_path / "out")) == 2
    assert "nowhere seen for 0.27 s in a row" in capsys.readouterr().err


def test_keypoints_of_a_video_of_variable_rate_are_compared_by_duration(given, tmp_path):
    from fractions import Fraction

    import av

    path = tmp_path / "variable.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for ms in (0, 33, 67, 100, 200, 233, 267, 300, 333, 450, 483, 517, 550):
            frame = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    good = KeypointTrack(torch.ones(17, 17, 3), 30.0, (320, 240), "k")
    reconstruct.check_video(good, path)
    with pytest.raises(KitError, match=r"1\.33 s of keypoints"):
        reconstruct.check_video(KeypointTrack(torch.ones(40, 17, 3), 30.0, (320, 240), "k"), path)


def test_a_body_that_falls_is_reset_and_every_reset_is_marked(track):
    def throw(obs):
        return torch.randn(1, 69, generator=generator)

    generator = torch.Generator().manual_seed(0)
    long = simulate_track(throw, _longer(track, 3), CONFIG)
    assert long.restarts and not long.rollout.success
    frames = long.restart_frames
    assert long.rollout.fail_frame == frames[0]
    assert all(b - a >= MIN_RESTART_GAP for a, b in pairwise(frames))
    errors = errors_over_time(long)
    assert np.flatnonzero(errors["restart"]).tolist() == frames
    assert np.isfinite(errors["ray_distance_mm"]).all()
    for frame in frames:  # the body is near the estimate again, after it was far away
        assert errors["from_estimate_mm"][frame] < 100 < 200 < errors["from_estimate_mm"][frame - 1]
        assert not errors["upright"][frame]
    assert errors["upright"][frames[0] + 1]
    for line in (f"{why} at {frame / 30:.2f} s" for frame, why in long.restarts):
        assert line in "\n".join(summary([long], video_errors([long], len(long.track))))


def test_actions_of_nan_do_not_reach_the_output(track):
    def broken(obs):
        return torch.full((1, 69), float("nan"))

    result = simulate_track(broken, track, CONFIG)
    assert {why for _, why in result.restarts} == {"diverged"}
    assert torch.isfinite(result.rollout.simulated.body_pos).all()


def test_a_failure_while_writing_is_reported_and_leaves_no_files(given, capsys, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("physhmr_kit.viewer.recording.record_rollout", fail)
    assert run(reconstruct.main, *arguments(given, tmp_path / "out"), "--method", "kinematic") == 2
    assert f"{tmp_path / 'out'}: cannot be written (disk full)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_motion_with_resets_is_written_in_parts_that_can_be_read(track, tmp_path, monkeypatch):
    """The person leaves the picture: the body is reset at frame 40, and the estimate jumps before frames 61 and 63."""
    monkeypatch.setattr("physhmr_kit.viewer.recording.record_rollout", lambda *_: None)
    still = kinematic_estimate(_longer(track, 6))
    body = still.rollout.simulated
    pos = body.body_pos.clone()
    pos[40:, :, 0] += 3.0
    pos[61:63, :, 1] += 50.0
    moved = replace(
        still, rollout=replace(still.rollout, simulated=replace(body, body_pos=pos)), restarts=[(40, "lost")]
    )
    write_files([still], errors_over_time(still), tmp_path, None)
    assert len(load_clips([tmp_path / "reconstruction.npz"])[0]) == len(pos)
    write_files([moved], errors_over_time(moved), tmp_path, None)
    assert sorted(p.name for p in tmp_path.glob("reconstruction*.npz")) == [
        f"reconstruction_part{n}.npz" for n in (1, 2, 3)
    ]
    for name in ("*.npz", "*.bvh"):
        parts = [load_clips([path], strict=True) for path in sorted(tmp_path.glob(f"reconstruction{name}"))]
        assert [[len(clip) for clip in clips] for clips in parts] == [[40], [21], [len(pos) - 63]]


def test_the_body_starts_where_and_as_fast_as_the_estimate_says(track):
    shove = torch.arange(len(track)).unsqueeze(-1) * torch.tensor(
        [0.02, 0.0, 0.0]
    )  # m: the person drifts past the camera
    camera = replace(
        track.camera, t=track.camera.t - shove @ track.camera.R.T, R=track.camera.R.expand(len(track), 3, 3)
    )
    moving = replace(track, camera=camera, centre=track.centre + shove, ray_point=track.ray_point + shove.unsqueeze(1))
    result = simulate_track(lambda obs: torch.zeros(1, 69), moving, CONFIG, "mujoco_cpu")
    start, estimate = result.rollout.simulated[:1], result.rollout.reference[:1]
    torch.testing.assert_close(start.body_pos, estimate.body_pos, atol=1e-4, rtol=0)
    assert float(start.body_lin_vel[0, 0, 0]) == pytest.approx(0.6, abs=0.1)


def test_upright_is_standing_and_not_lying_or_kneeling():
    body = MotionLibrary([rest_clip(3)]).clip(0)
    assert is_upright(body.body_pos).all()
    lying = body.body_pos[..., [2, 1, 0]]
    assert not is_upright(lying).any()
    assert not is_upright(body.body_pos - torch.tensor([0.0, 0.0, 0.6])).any()


def test_the_real_video_is_reconstructed_within_half_a_minute(capsys, tmp_path):
    keypoints = DATA / "video" / "balance_cam01_keypoints.npz"
    if not keypoints.is_file():
        pytest.skip("no shared data: set PHYSHMR_DATA")
    camera = DATA / "video" / "balance_cam01_camera.json"
    assert run(reconstruct.main, "--keypoints", keypoints, "--camera", camera, "--out", tmp_path / "out") == 0
    seconds = float(capsys.readouterr().out.split(" s\nlook at it")[0].split()[-1])
    assert seconds < 30
    clip = Clip.load(tmp_path / "out" / "reconstruction.npz")  # refuses anything that is not finite
    assert len(clip) == 50


def entities(rrd):
    from rerun.chunk import RrdReader

    return {
        c.entity_path.strip("/")
        for c in RrdReader(str(rrd)).stream().to_chunks()
        if not c.entity_path.startswith("/__")
    }


def _longer(track: VisualTrack, times: int) -> VisualTrack:
    keys = ("keypoints", "ray_point", "ray_confidence", "centre", "feature", "joint_rot", "contact", "uncertainty")
    return replace(track, **{k: torch.cat([getattr(track, k)] * times) for k in keys})


def test_the_stage_of_a_student_is_that_of_its_weights(given):
    assert student_stage(None) == "finetune", "the bundled one"
    assert student_stage(given["distill"]) == "distill"
    assert student_stage(given["expert"]) == "finetune", "it is refused when it is loaded"


def test_two_stages_are_an_expert_that_tracks_the_estimate(given, capsys, tmp_path):
    words = [given["expert"] if w == given["distill"] else w for w in arguments(given, tmp_path / "out")]
    assert run(reconstruct.main, *words, "--method", "two_stage", "--no-overlay") == 0
    assert "upright in 100 %" in capsys.readouterr().out
    assert run(reconstruct.main, *arguments(given, tmp_path / "no"), "--method", "two_stage") == 2
    assert "of stage 'distill', not of 'expert'" in capsys.readouterr().err


def test_a_policy_is_adapted_to_the_video_and_no_force_assists_the_result(given, capsys, tmp_path, monkeypatch):
    small = replace(ADAPTATION_CONFIG, sim=Simulation(num_envs=4), ppo=replace(ADAPTATION_CONFIG.ppo, horizon=4))
    monkeypatch.setattr("physhmr_kit.stages.adaptation.ADAPTATION_CONFIG", small)
    assert run(reconstruct.main, *arguments(given, tmp_path / "out"), "--adapt", 0.01, "--no-overlay") == 0
    said = capsys.readouterr().out
    for words in ("adapted in 0.", "% of the video, ", "mm from the rays", "largest assistive force: 0 N"):
        assert words in said


@pytest.mark.parametrize("words", [["--adapt", "0"], ["--adapt", "5", "--method", "kinematic"]])
def test_an_impossible_adaptation_is_refused(given, capsys, tmp_path, words):
    assert run(reconstruct.main, *arguments(given, tmp_path / "out"), *words) == 2
    assert "a positive number of minutes" in capsys.readouterr().err
