"""The benchmark of adaptation: only what is lost is adapted to, a finished clip is not run again, totals follow from the rows."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import adaptation


@pytest.fixture
def asked(monkeypatch):
    """Frames and minutes of what was adapted to; the policy stays as it is."""
    tracks = []

    def adapt(policy, track, minutes):
        tracks.append((len(track), minutes))
        return SimpleNamespace(policy=policy, samples=100)

    monkeypatch.setattr(adaptation, "adapt", adapt)
    return tracks


def test_only_what_is_lost_is_adapted_to_unless_all_is_asked_for(asked, tmp_path, capsys):
    adaptation.main(["--clips", "demo:squat", "--out", str(tmp_path / "a")])
    assert not asked and "| before | 1/1 | 100 %" in capsys.readouterr().out
    adaptation.main(["--clips", "demo:squat", "--all", "--minutes", "3", "--out", str(tmp_path / "b")])
    said = capsys.readouterr().out
    assert asked == [(196, 3.0)] and "1 clips adapted, 100 control steps each" in said and "after, 3 min each" in said
    for minutes, runs in (("3", 1), ("4", 2)):
        adaptation.main(["--clips", "demo:squat", "--all", "--minutes", minutes, "--out", str(tmp_path / "b")])
        assert len(asked) == runs, "a finished clip is run again with other options only"


def test_totals_are_pooled_over_frames():
    row = {name: {"followed": 10, "success": True, "mm": 20.0} for name in adaptation.ROWS}
    lost = {name: {"followed": 30, "success": False, "mm": 60.0} for name in adaptation.ROWS}
    said = adaptation.report([{"clip": "a", "frames": 10} | row, {"clip": "b", "frames": 90} | lost], 2)
    assert "| before | 1/2 | 40 % | 50.0 |" in said and "| b | 33 %, 60 mm |" in said
