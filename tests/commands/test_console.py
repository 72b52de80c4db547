"""`physhmr COMMAND` and `physhmr data COMMAND` are the modules' own commands under one name."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from physhmr_kit import cli
from physhmr_kit.cli import spelled_as_known

ROOT = Path(__file__).resolve().parents[2]


def commands_in(package: str) -> set[str]:
    """The modules right in a package's folder that can be run with `python -m`."""
    return {p.stem for p in (ROOT / package).glob("*.py") if '\nif __name__ == "__main__":' in p.read_text()}


def test_the_console_script_lists_every_command_and_no_other():
    assert set(cli.COMMANDS) == commands_in("physhmr_kit")
    assert set(cli.DATA_COMMANDS) == commands_in("data_prep")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "physhmr": "physhmr_kit.cli:main"
    }


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["data"], ["data", "--help"]], ids=" ".join)
def test_without_a_command_it_prints_one_line_for_each(argv, capsys):
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, line in [*cli.COMMANDS.items(), *((f"data {n}", text) for n, text in cli.DATA_COMMANDS.items())]:
        assert [x for x in lines if x.startswith(f"  {name} ") and x.endswith(f" {line}")], name


def test_the_list_is_printed_without_importing_anything_heavy():
    code = "import sys; from physhmr_kit import cli; cli.main([]); sys.exit('torch' in sys.modules or 'mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("argv", "module"),
    [(["fit", "--short", "--seed=3"], "physhmr_kit.fit"), (["data", "pack", "a b", "--out", "x"], "data_prep.pack")],
    ids=["fit", "data pack"],
)
def test_a_command_gets_the_rest_of_the_line_and_gives_its_exit_code(argv, module, monkeypatch):
    seen = []
    monkeypatch.setattr(importlib.import_module(module), "main", lambda rest: seen.append(rest) or 7)
    assert cli.main(argv) == 7
    assert seen == [argv[1 + (argv[0] == "data") :]]


def test_without_arguments_it_reads_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["physhmr", "fitt"])
    assert cli.main() == 2
    assert "'physhmr fitt'" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["fti"], ["pack"], ["data", "fit"], ["--version"], ["data", "../x"]], ids=" ".join)
def test_an_unknown_command_is_one_line_and_exit_code_2(argv, capsys):
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: 'physhmr {' '.join(argv)}' is not a command (see physhmr --help)\n"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(cli.KitError("no such clip\nhere"), 2), (KeyboardInterrupt(), 130)],
    ids=["bad input", "Ctrl-C"],
)
def test_bad_input_and_ctrl_c_end_a_command_as_they_do_with_python_m(fault, code, monkeypatch, capsys):
    def main(rest):
        raise fault

    monkeypatch.setattr(importlib.import_module("physhmr_kit.doctor"), "main", main)
    assert cli.main(["doctor"]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_fault_of_the_kit_keeps_its_traceback(monkeypatch):
    def main(rest):
        raise RuntimeError("ours")

    monkeypatch.setattr(importlib.import_module("physhmr_kit.doctor"), "main", main)
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["doctor"])


def test_dashes_and_underscores_are_the_same_in_every_option():
    from physhmr_kit import evaluate

    args = evaluate._parser().parse_args(["--stage", "expert", "--held-out=5", "--push-seconds", "0.2"])
    assert args.held_out == 5 and args.push_seconds == 0.2
    assert spelled_as_known("--detector_weights", {"--detector-weights"}) == "--detector-weights"
    assert spelled_as_known("--colour-red", {"--held_out"}) == "--colour-red"
    assert spelled_as_known("walk-1.bvh", {"--walk_1.bvh"}) == "walk-1.bvh"
