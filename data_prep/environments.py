"""Running a script with inline metadata (PEP 723) in its own environment, which uv builds once and caches."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from physhmr_kit.utils.errors import KitError


def find_uv() -> str:
    """The path of uv: beside this interpreter, where pip installs it, or on the PATH.

    Raises:
        KitError: it is not installed.
    """
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise KitError(
            "uv is not installed; it builds the environments of detectors and GVHMR; run: python -m pip install uv"
        )
    return found


def uv_commands(script: Path) -> list[list[str]]:
    """Command lines that run a script in its own environment, in the order to try them.

    Offline first: an environment that uv has built before needs no network.

    Raises:
        KitError: uv is not installed.
    """
    options = ("--no-progress", "--script", str(script))
    return [[find_uv(), "run", *network, *options] for network in (("--offline",), ())]


def clean_variables() -> dict[str, str]:
    """Our environment variables without those that would make another interpreter import from our environment.

    PYTHONSAFEPATH is removed too, so that a script can import the module beside it.
    """
    private = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in private} | {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}


def error_line(stderr: str) -> str:
    """The most informative line of a program's stderr: the last one that contains 'error', or the last one."""
    lines = [" ".join(line.split()) for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|×", line, re.IGNORECASE)] or lines
    return errors[-1][:300] if errors else "no message"
