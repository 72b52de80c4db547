"""The adaptation benchmark adapts only where the policy fails, does not repeat finished clips, and pools its totals over frames."""

import sys
from pathlib import Path
from types import SimpleNamespace

from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import adaptation


def test_only_failures_are_adapted_to_unless_all_are_requested(monkeypatch, tmp_path, capsys):
    adapted = []

    def adapt(policy, track, minutes):
        adapted.append((len(track), minutes))
        return SimpleNamespace(policy=policy, samples=100)

    def run(out: str, *options: str) -> str:
        adaptation.main(["--clips", "demo:squat", "--out", str(tmp_path / out), *options])
        return capsys.readouterr().out

    library = MotionLibrary([demo_clip("squat").cut(0, 12)])
    filmed = adaptation.film_library(library, adaptation.load_encoder(), 1, 0)
    monkeypatch.setattr(adaptation, "load_library", lambda specs: library)
    monkeypatch.setattr(adaptation, "film_library", lambda *_: filmed)
    monkeypatch.setattr(adaptation, "adapt", adapt)
    assert "| before | 1/1 | 100 %" in run("a") and not adapted
    report = run("b", "--all", "--minutes", "3")
    assert adapted == [(12, 3.0)] and "1 clips adapted, 100 control steps each" in report
    assert "after, 3 min each" in report
    for minutes, runs in (("3", 1), ("4", 2)):
        run("b", "--all", "--minutes", minutes)
        assert len(adapted) == runs, "a finished clip is run again only with other options"


def test_totals_are_pooled_over_frames():
    row = {name: {"followed": 10, "success": True, "mm": 20.0} for name in adaptation.ROWS}
    lost = {name: {"followed": 30, "success": False, "mm": 60.0} for name in adaptation.ROWS}
    text = adaptation.report([{"clip": "a", "frames": 10} | row, {"clip": "b", "frames": 90} | lost], 2)
    assert "| before | 1/2 | 40 % | 50.0 |" in text and "| b | 33 %, 60 mm |" in text
