"""`view` finds what the user names, and says in one line when it cannot."""

import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from physhmr_kit import view
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.cli import run
from physhmr_kit.env.rollout import Rollout
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError


def one_line(capsys) -> str:
    """The only line on stderr."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def standing() -> Rollout:
    """Four frames that follow themselves."""
    clip = demo_clip("stand").cut(0, 4)
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    state = BodyState(pos, rot, torch.zeros_like(pos), torch.zeros_like(pos), torch.zeros(4, 69), torch.zeros(4, 69))
    rewards = {"pose": torch.ones(4)}
    return Rollout("standing", state, state, torch.zeros(4, 24, 3), torch.zeros(4, 69), rewards, 4, True, None)


def test_a_demo_motion_is_recorded_and_drawn(tmp_path, capsys):
    arguments = ["demo:squat", "--save", str(tmp_path / "s.rrd"), "--picture", str(tmp_path / "s.png")]
    assert view.main(arguments) == 0
    assert (tmp_path / "s.rrd").read_bytes()[:4] == b"RRF2" and (tmp_path / "s.png").stat().st_size > 1000
    assert capsys.readouterr().out.count("wrote") == 2


def test_a_clip_is_found_by_its_file(tmp_path):
    file = demo_clip("stand").save(tmp_path / "standing.npz")
    found = view.find_motion(str(file))
    assert isinstance(found, Clip) and found.name == "standing"


def test_a_run_gives_its_recording_and_for_pictures_its_rollout(tmp_path):
    (tmp_path / "rollout.rrd").write_bytes(b"RRF2")
    clip = demo_clip("stand").save(tmp_path / "rollout.npz")  # any .npz will do here
    assert view.find_motion(str(tmp_path)) == tmp_path / "rollout.rrd"
    assert len(view.find_motion(str(tmp_path), want_npz=True)) == len(Clip.load(clip))


def test_the_folder_of_a_reconstruction_opens_its_recording(tmp_path):
    (tmp_path / "reconstruction.rrd").write_bytes(b"RRF2")
    demo_clip("stand").save(tmp_path / "rollout.npz")
    demo_clip("stand").save(tmp_path / "reconstruction.npz")
    assert view.find_motion(str(tmp_path)) == tmp_path / "reconstruction.rrd"
    assert view.find_motion(str(tmp_path), want_npz=True).name == "rollout"


def test_a_folder_of_several_segments_asks_for_one(tmp_path):
    for number in (1, 2):
        (tmp_path / f"reconstruction_{number}.rrd").write_bytes(b"RRF2")
    with pytest.raises(KitError, match=r"2 segments; choose one, e.g. .*reconstruction_1\.rrd"):
        view.find_motion(str(tmp_path))


def test_rollouts_are_compared_in_one_recording(tmp_path, capsys):
    for name in ("kinematic", "two stage"):
        (tmp_path / name).mkdir()
        standing().save(tmp_path / name / "rollout.npz")
    folders = [str(tmp_path / name) for name in ("kinematic", "two stage")]
    assert list(view.find_comparison(folders).rollouts) == ["kinematic", "two_stage"]
    assert view.main([*folders, "--save", str(tmp_path / "c.rrd")]) == 0
    assert (tmp_path / "c.rrd").read_bytes()[:4] == b"RRF2"
    assert run(lambda: view.main([folders[0], "demo:squat"])) == 2 and "only rollouts are compared" in one_line(capsys)
    assert run(lambda: view.main([*folders, "--picture", "x.png"])) == 2 and "drawn of one motion" in one_line(capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without telling it")
def test_a_page_that_is_terminated_stops_its_server(tmp_path):
    assert view.main(["demo:stand", "--save", str(tmp_path / "s.rrd")]) == 0
    command = [sys.executable, "-m", "physhmr_kit.view", str(tmp_path / "s.rrd"), "--web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        words = process.stdout.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+)/", words)[1])
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0


def test_a_recording_can_be_copied_out_of_a_run(tmp_path):
    (tmp_path / "rollout.rrd").write_bytes(b"RRF2 and more")
    assert view.main([str(tmp_path), "--save", str(tmp_path / "copy.rrd")]) == 0
    assert (tmp_path / "copy.rrd").read_bytes() == b"RRF2 and more"


def test_rollouts_and_clips_are_distinguished_by_their_content(tmp_path):
    rollout, clip = standing(), demo_clip("stand").cut(0, 4)
    found = view.find_motion(str(rollout.save(tmp_path / "rollout.npz")))
    assert isinstance(found, Rollout) and found.name == "standing" and len(found) == 4
    assert isinstance(view.find_motion(str(clip.save(tmp_path / "clip.npz"))), Clip)
    np.savez(tmp_path / "broken.npz", **{"simulated/body_pos": np.zeros((3, 24, 3))})
    with pytest.raises(KitError, match=r"broken\.npz: not a readable rollout"):
        view.find_motion(str(tmp_path / "broken.npz"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.npz"], "nothing.npz: no such file"),
        (["nothing.rrd"], "nothing.rrd: no such file"),
        (["demo:flying"], "demo:flying: no such demo motion"),
        (["demo"], "choose one, e.g. demo:"),
        (["{tmp}"], "no rollout.rrd or reconstruction.rrd in this folder"),
        (["{tmp}/text.npz"], "text.npz: not an .npz clip but a text file"),
        (["demo:squat", "--save", "{tmp}/x.mp4"], "a recording ends in .rrd"),
        (["demo:squat", "--picture", "{tmp}/x.mp4"], "unknown kind of picture"),
        (["{tmp}/r.rrd", "--picture", "{tmp}/x.png"], "cannot be drawn from a recording"),
        (["demo:squat", "--fast"], "unrecognized arguments: --fast"),
        ([], "arguments are required: what"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(tmp_path, capsys, arguments, words):
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "r.rrd").write_bytes(b"RRF2")
    before = sorted(tmp_path.iterdir())
    assert run(lambda: view.main([a.replace("{tmp}", str(tmp_path)) for a in arguments])) == 2
    line = one_line(capsys)
    assert line.startswith("error: ") and words in line
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_display_the_error_names_the_alternatives(monkeypatch, capsys):
    from physhmr_kit.viewer import serve

    monkeypatch.setattr(serve, "has_display", lambda: False)
    assert run(lambda: view.main(["demo:stand"])) == 2
    line = one_line(capsys)
    assert all(option in line for option in ("--web", "--save", "--picture"))


def test_with_a_display_the_window_gets_the_recording(monkeypatch, tmp_path):
    from physhmr_kit.viewer import serve

    opened = []
    monkeypatch.setattr(serve, "has_display", lambda: True)
    monkeypatch.setattr(serve, "open_window", lambda path: opened.append(path.read_bytes()[:4]) or 0)
    assert view.main(["demo:stand"]) == 0 and opened == [b"RRF2"]
