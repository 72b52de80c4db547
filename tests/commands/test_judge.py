"""Plausibility of files: motions are judged as they are, whoever made them."""

import csv

import numpy as np
import pytest
import torch
from material import run as command
from motions import rest_clip

from data_prep.as_read import read_motions
from physhmr_kit import evaluate
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.export import write_bvh


def raised(clip: Clip, height: float) -> Clip:
    return Clip.from_joints(clip.root_pos + torch.tensor([0.0, 0.0, height]), clip.joint_rot, clip.fps, clip.name)


def test_a_folder_gives_a_row_for_each_motion_and_lists_unreadable_files(tmp_path, capsys):
    rest_clip(30).save(tmp_path / "set" / "stands.npz")
    raised(rest_clip(30), 0.2).save(tmp_path / "set" / "hangs.npz")
    write_bvh(rest_clip(30), tmp_path / "set" / "stands_too.bvh")
    np.savez(tmp_path / "set" / "broken.npz", poses=np.zeros((5, 7)), trans=np.zeros((5, 3)), mocap_framerate=30.0)
    files = ["--csv", tmp_path / "t.csv", "--markdown", tmp_path / "t.md"]
    assert command(evaluate.main, "--plausibility", tmp_path / "set", *files) == 0
    told = capsys.readouterr().out
    assert (tmp_path / "t.md").read_text() in told
    assert "not read:" in told and "broken.npz" in told
    rows = {row["motion"]: row for row in csv.DictReader((tmp_path / "t.csv").open())}
    assert set(rows) == {"stands", "hangs", "stands_too", "all motions"}
    assert float(rows["hangs"]["floating"]) == pytest.approx(200, abs=1) and float(
        rows["hangs"]["floor"]
    ) == pytest.approx(20, abs=0.2)
    assert float(rows["hangs"]["unphysical_flight"]) == 100 and float(rows["stands"]["floating"]) == 0
    assert float(rows["all motions"]["frames"]) == 90

    assert command(evaluate.main, "--plausibility", tmp_path / "set", "--floor", "found", *files) == 0
    rows = {row["motion"]: row for row in csv.DictReader((tmp_path / "t.csv").open())}
    assert float(rows["hangs"]["floating"]) < 1 and "floor found" in capsys.readouterr().out


def test_a_motion_is_scored_without_corrections(tmp_path):
    way = torch.zeros(30, 3)
    way[:, 0] = 0.3 * torch.arange(30) / 30
    clip = rest_clip(30)
    slid = Clip.from_joints(clip.root_pos + way - torch.tensor([0.0, 0.0, 0.03]), clip.joint_rot, 30.0, "slid")
    slid.save(tmp_path / "slid.npz")
    (found,) = read_motions(tmp_path / "slid.npz")
    assert np.array_equal(found.clip.trans, slid.trans) and found.floor == pytest.approx(-0.03, abs=1e-3)


def test_the_error_says_why_nothing_could_be_read(tmp_path, capsys):
    assert command(evaluate.main, "--plausibility", tmp_path) == 2
    assert "no motion files" in capsys.readouterr().err
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 nothing")
    assert command(evaluate.main, "--plausibility", tmp_path) == 2
    assert "none of its 1 motions" in capsys.readouterr().err
