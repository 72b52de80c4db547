"""pyproject.toml, constraints.txt, environment.yml, Makefile and .ci/run speak of the same kit."""

import importlib.metadata
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MALICIOUS = ("2.6.2", "2.6.3")  # uploads of 30 April 2026 that stole credentials


def declared() -> list[Requirement]:
    return [Requirement(line) for line in (*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra))]


def pins() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines if line]
    assert all(pairs), "constraints.txt holds name==version lines only: no hashes, hosts, options or build tags"
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs}


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_every_requirement_is_pinned_inside_its_range(requirement):
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement} does not admit the pinned {version}"


def test_what_the_requirements_need_is_pinned_too():
    """Walk the installed metadata from the kit's own requirements down; extras that are not installed end a branch."""
    known, seen = pins(), set()
    todo = [(r.name, tuple(r.extras)) for r in declared()]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        assert canonicalize_name(name) in known, f"{name} is needed but not pinned; run `make constraints`"
        for need in map(Requirement, needs):
            chosen = extras or ("",)
            if not need.marker or any(need.marker.evaluate({**default_environment(), "extra": e}) for e in chosen):
                todo.append((need.name, tuple(sorted(need.extras))))
    assert len(seen) > 60


def test_the_malicious_lightning_uploads_are_shut_out():
    lightning = [r for r in declared() if canonicalize_name(r.name) in ("lightning", "pytorch-lightning")]
    assert lightning
    for requirement in lightning:
        for version in MALICIOUS:
            assert not requirement.specifier.contains(version)
            assert f"!={version}" in str(requirement.specifier), "shut out by name, whatever the floor becomes"
    assert pins()["pytorch-lightning"] not in MALICIOUS
    assert "lightning" not in pins(), "the kit uses pytorch-lightning; the other name is one more thing to watch"


def test_torch_is_pinned_without_a_build_tag():
    assert Version(pins()["torch"]).local is None


def test_rerun_and_its_notebook_widget_have_one_version():
    assert pins()["rerun-sdk"] == pins()["rerun-notebook"]


def test_the_conda_environment_installs_what_make_installs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    python = next(d.split("=")[1] for d in plain if d.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{python}.0")
    assert {d.split("=")[0] for d in plain} == {"python", "pip"}, "everything else is pip's, pinned in constraints.txt"
    assert pip[0] == "-c constraints.txt"
    (kit,) = pip[1:]
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", kit)[1].split(",")
    assert "notebooks" in extras and set(extras) <= set(EXTRAS)


def test_files_that_are_not_python_are_part_of_the_package():
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "physhmr_kit").rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts and path.suffix != ".part":
            package = ".".join(path.parent.relative_to(ROOT).parts)
            patterns = globs.get(package, [])
            assert any(fnmatch(path.name, p) for p in patterns), f"{path}: not in [tool.setuptools.package-data]"


def test_every_room_has_its_place_in_the_one_import_contract_and_none_is_excused():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = set(re.findall(r"[\w.]+", " ".join(contract["layers"])))
    modules = (p for p in (ROOT / "physhmr_kit").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file())
    packages = {f"physhmr_kit.{p.stem}" for p in modules if p.stem[0] != "_"} | {"data_prep"}
    assert packages <= listed and "ignore_imports" not in contract


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("fit", "-m physhmr_kit.fit --stage distill --short"),
        ("test", "-m pytest"),
        ("lint", "lint-imports"),
        ("lint", "bin/mypy"),
        ("notebooks-run", "-m pytest --numprocesses auto notebooks"),
    ],
)
def test_make_runs_what_it_promises(target, words):
    run = subprocess.run(["make", "-n", target, "FIT_ARGS=--short"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert words in run.stdout


def test_make_installs_from_the_pins_and_only_once(tmp_path):
    fresh = subprocess.run(["make", "-n", "fit", f"VENV={tmp_path}/v"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "pip install" in fresh and "--constraint constraints.txt --editable '.'" in fresh
    assert "[dev]" not in fresh and "[notebooks]" not in fresh, "the first command installs no more than it needs"
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / ".installed").touch()
    again = subprocess.run(["make", "-n", "fit", f"VENV={tmp_path}/v"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "pip install" not in again and "physhmr_kit.fit" in again


def test_make_refuses_an_old_python_in_one_line(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\necho "error: Python 3.9" >&2\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "install", f"PYTHON={old}", f"VENV={tmp_path}/v"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "pip" not in run.stdout and not (tmp_path / "v").exists()


def test_ci_is_a_strict_script_that_calls_make():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text
    for target in ("lint", "notebooks-check", "test", "notebooks-run", "site-test", "fit"):
        assert f"make {target}" in text
