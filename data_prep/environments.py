"""How a script with inline metadata (PEP 723) is run in an environment of its own: by uv, which builds it once and keeps it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from physhmr_kit.utils.errors import KitError


def find_uv() -> str:
    """The path of uv: beside this interpreter, where pip puts it, else on the PATH.

    Raises:
        KitError: it is not installed.
    """
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise KitError(
            "uv is not installed, and environments of detectors and GVHMR are built by it; run: python -m pip install uv"
        )
    return found


def ways_to_run(script: Path) -> list[list[str]]:
    """Command lines that run a script in its own environment, the one to try first at the front.

    uv is asked without the network first, because an environment that it has built once needs none.

    Raises:
        KitError: uv is not installed.
    """
    options = ("--no-progress", "--script", str(script))
    return [[find_uv(), "run", *network, *options] for network in (("--offline",), ())]


def outside_variables() -> dict[str, str]:
    """Our environment variables without those that would lead another interpreter back into ours.

    PYTHONSAFEPATH goes too: a script finds the module it shares with others in its own folder.
    """
    private = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONSAFEPATH", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in private} | {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}


def last_words(text: str) -> str:
    """The line of a program's complaint that says most: the last one with 'error' in it, else the last one."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|×", line, re.IGNORECASE)] or lines
    return telling[-1][:300] if telling else "no message"
