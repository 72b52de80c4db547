"""Ways to run a script with inline metadata (PEP 723) in an environment of its own: uv, pipx, or a venv we make."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from physhmr_kit.utils.errors import KitError

_BLOCK = re.compile(r"^# /// script\s*$\n(?P<lines>(?:^#(?:| .*)$\n)+)^# ///\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Needs:
    """What a script's metadata asks for.

    Attributes:
        python: bounds as written, e.g. '>=3.10,<3.13'; empty for any.
        packages: requirements as pip reads them.
    """

    python: str
    packages: tuple[str, ...]

    def admits(self, version: tuple[int, int]) -> bool:
        """Whether an interpreter of this (major, minor) will do; only >= and < are understood."""
        for sign, major, minor in re.findall(r"(>=|<)\s*(\d+)\.(\d+)", self.python):
            bound = (int(major), int(minor))
            if (sign == ">=" and version < bound) or (sign == "<" and version >= bound):
                return False
        return True


def cache_folder() -> Path:
    """Where environments and detections are kept: PHYSHMR_CACHE, else physhmr_kit in the user's cache folder."""
    named = os.environ.get("PHYSHMR_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physhmr_kit"


def read_needs(script: Path) -> Needs:
    """The inline metadata of a script.

    Raises:
        KitError: the script has none.
    """
    block = _BLOCK.search(script.read_text(encoding="utf-8"))
    if block is None:
        raise KitError(f"{script}: no inline metadata; a detector script opens with '# /// script' (PEP 723)")
    data = tomllib.loads("\n".join(line[1:].removeprefix(" ") for line in block["lines"].splitlines()))
    return Needs(data.get("requires-python", ""), tuple(data.get("dependencies", ())))


def outside_variables() -> dict[str, str]:
    """Our environment variables without those that would lead another interpreter back into ours."""
    private = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in private} | {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}


def ways_to_run(script: Path, cache: Path, name: str) -> Iterator[list[str]]:
    """Command lines that run a script in its own environment, the one to try first at the front.

    A script without requirements runs in this interpreter. uv is asked twice: without the network first, because an
    environment that it has built once needs none. A venv is only built when it is asked for, in `cache`/envs. `name` is the
    detector's, for messages.

    Raises:
        KitError: the venv cannot be built.
    """
    needs = read_needs(script)
    if not needs.packages and needs.admits(sys.version_info[:2]):
        yield [sys.executable, str(script)]
    elif shutil.which("uv"):
        yield ["uv", "run", "--offline", "--no-progress", "--script", str(script)]
        yield ["uv", "run", "--no-progress", "--script", str(script)]
    elif shutil.which("pipx"):
        yield ["pipx", "run", str(script)]
    else:
        yield [str(make_venv(needs, cache, name)), str(script)]


def make_venv(needs: Needs, cache: Path, name: str) -> Path:
    """The interpreter of a venv with the packages in it, built if it is not in `cache`/envs yet.

    It is built under another name and gets its own when it is complete, so one that is there is whole.

    Raises:
        KitError: no interpreter in the bounds, or pip cannot install the packages.
    """
    python = find_python(needs)
    if python is None:
        raise KitError(
            f"{name} needs Python {needs.python}, and none is on the PATH; run: python -m pip install uv (it brings its own)"
        )
    key = hashlib.sha256(json.dumps([needs.packages, python[1]]).encode()).hexdigest()[:16]
    home = cache / "envs" / f"{name}-{key}"
    inside = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (home / inside).exists():
        return home / inside
    draft = home.with_name(f"{home.name}.part{os.getpid()}")
    try:
        shutil.rmtree(home, ignore_errors=True)  # what is there has lost its interpreter
        home.parent.mkdir(parents=True, exist_ok=True)
        _quietly([python[0], "-m", "venv", str(draft)], name)
        if needs.packages:
            _quietly(
                [str(draft / inside), "-m", "pip", "install", "--disable-pip-version-check", *needs.packages], name
            )
        if not home.exists():  # another run may have been quicker
            os.rename(draft, home)
    except OSError as fault:
        raise KitError(
            f"{home}: cannot be written ({fault.strerror}); set PHYSHMR_CACHE to a folder that can"
        ) from fault
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return home / inside


def find_python(needs: Needs) -> tuple[str, list[int]] | None:
    """An interpreter that the bounds admit, with its version: this one if it will do, else the newest on the PATH."""
    if needs.admits(sys.version_info[:2]):
        return sys.executable, list(sys.version_info[:2])
    for minor in range(20, 7, -1):
        program = shutil.which(f"python3.{minor}")
        if program and needs.admits((3, minor)):
            works = subprocess.run([program, "-c", ""], capture_output=True, env=outside_variables())
            if works.returncode == 0:  # a version manager's stand-in may have nothing behind it
                return program, [3, minor]
    return None


def _quietly(command: list[str], name: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", env=outside_variables())
    if run.returncode:
        raise KitError(
            f"{name}: its environment could not be built ({last_words(run.stderr)}); "
            f"with the package index in reach, run: python -m data_prep.detect {name}"
        )


def last_words(text: str) -> str:
    """The line of a program's complaint that says most: the last one with 'error' in it, else the last one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|×", line, re.IGNORECASE)] or lines
    return telling[-1][:300] if telling else "no message"
