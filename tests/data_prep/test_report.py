"""The report: a row for each clip, as Markdown and CSV, and the quality of the shared captures."""

import csv
import math

import numpy as np
import pytest

from data_prep.report import COLUMNS, describe_clip, describe_file, main, make_table, read_source
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError


def test_it_prints_medians_of_each_folder_and_writes_a_row_for_each_clip(toy, capsys, tmp_path):
    path = toy(40)
    other = path.parent / "zoo"
    other.mkdir()
    for file in path.parent.glob("*.asf"):
        (other / file.name).write_text(file.read_text())
    (other / "toy_02.amc").write_text(path.read_text())
    (other / "toy_03.amc").write_text("no motion")
    table = tmp_path / "out" / "report.csv"
    assert main([str(path.parent), "--csv", str(table)]) == 0
    said = capsys.readouterr()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.out.splitlines()]
    here = path.parent.name
    assert lines[0] == ["median over clips", here, f"{here}/zoo", "all"]
    assert lines[2] == ["clips", "1", "1", "2"]
    assert ["frames", "40.0", "40.0", "40.0"] in lines
    assert any(line and line[0] == "thigh" for line in lines)
    assert said.err.count("skipped: ") == 1 and "toy_03" in said.err
    with open(table, newline="") as f:
        rows = list(csv.DictReader(f))
    assert [(row["folder"], row["clip"]) for row in rows] == [(here, "toy_01"), (f"{here}/zoo", "toy_02")]
    assert float(rows[0]["limb error"]) < 5 and float(rows[0]["heading"]) < 5 and float(rows[0]["path"]) < 30
    assert not list(table.parent.glob("*.part*"))


def test_a_capture_that_teleports_is_reported_in_the_imported_parts(toy):
    root = np.zeros((100, 6))
    root[:, 1], root[60:, 2] = 16.5, 10.0
    path = toy(100, root=root)
    rows = [row for row, _ in describe_file(path, "captures")]
    assert [row["clip"] for row in rows] == ["toy_01_part1", "toy_01_part2"]
    assert [row["frames"] for row in rows] == [60, 40]


def test_medians_ignore_clips_without_a_stance():
    rows = [
        dict.fromkeys(COLUMNS, 1.0) | {"folder": "here", "clip": "a", "note": "", "roll": v}
        for v in (2.0, 4.0, float("nan"))
    ]
    table = make_table(rows)
    assert "nan" not in table.lower()
    assert [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("| roll (deg)")] == ["3.00"]


@pytest.mark.parametrize("argv", [["nowhere"], [], ["--csv"]])
def test_bad_input_is_one_line_and_exit_code_2(argv, capsys):
    assert run(lambda: main(argv)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and said.out == ""


def test_a_folder_without_captures_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(KitError, match=r"no \.amc or \.bvh files there"):
        main([str(tmp_path)])


@pytest.mark.parametrize("name", ["asfamc/02/02_03.amc", "bvh/07_04.bvh", "bvh/10_01.bvh"])
def test_captures_stand_on_their_feet(cmu, name):
    row, errors = describe_clip(read_source(cmu(name)))
    assert row["penetration after"] < 1.0  # mm
    assert row["sliding after"] < 0.5 * row["sliding before"]
    assert row["limb error"] < 5.0
    assert row["roll"] < 6.0 and row["pitch"] < 6.0
    assert row["limits after"] < 0.5
    for limb in ("thigh", "shank", "upper arm", "forearm", "trunk"):
        assert math.degrees(errors[limb].median()) < 5.0, limb
