"""The report: every clip a row, Markdown and CSV, and the promises it makes about the shared captures."""

import csv
import math

import pytest

from data_prep.report import COLUMNS, describe_clip, main, make_table, read_source
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError


def test_it_prints_a_row_for_each_clip_and_the_medians(toy, capsys, tmp_path):
    path = toy(40)
    path.with_name("toy_02.amc").write_text(path.read_text())
    table = tmp_path / "out" / "report.csv"
    assert main([str(path.parent), "--csv", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("|") == len(COLUMNS) + 1
    assert lines[2].startswith("| toy_01 | 40 |") and lines[3].startswith("| toy_02 |")
    assert lines[4].startswith("| **median of 2** |")
    assert any(line.startswith("| thigh |") for line in lines)
    with open(table, newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["clip"] for row in rows] == ["toy_01", "toy_02"]
    assert float(rows[0]["limb error"]) < 5
    assert not list(table.parent.glob("*.part*"))


def test_medians_leave_out_clips_without_a_stance():
    rows = [dict.fromkeys(COLUMNS, 1.0) | {"clip": "a", "note": "", "roll": v} for v in (2.0, 4.0, float("nan"))]
    table = make_table(rows)
    assert "nan" not in table.lower()
    assert table.splitlines()[-1].split("|")[1 + list(COLUMNS).index("roll")].strip() == "3.00"


@pytest.mark.parametrize("argv", [["nowhere"], [], ["--csv"]])
def test_bad_input_is_one_line_and_exit_code_2(argv, capsys):
    assert run(lambda: main(argv)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and said.out == ""


def test_a_folder_without_captures_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(KitError, match=r"no \.amc or \.bvh files there"):
        main([str(tmp_path)])


@pytest.mark.parametrize(
    "name", ["asfamc/02/02_01.amc", "asfamc/02/02_03.amc", "bvh/07_04.bvh", "bvh/08_01.bvh", "bvh/10_01.bvh"]
)
def test_captures_arrive_on_their_feet(cmu_folder, name):
    if not (cmu_folder / name).is_file():
        pytest.skip(f"{cmu_folder / name} is absent")
    row, errors = describe_clip(read_source(cmu_folder / name))
    assert row["penetration after"] < 1.0  # mm
    assert row["sliding after"] < 0.5 * row["sliding before"]
    assert row["limb error"] < 5.0
    assert row["roll"] < 6.0 and row["pitch"] < 6.0
    assert row["limits after"] < 0.5
    for limb in ("thigh", "shank", "upper arm", "forearm", "trunk"):
        assert math.degrees(errors[limb].median()) < 5.0, limb
