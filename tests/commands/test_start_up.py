"""`--help` answers at once: what takes seconds to import is imported when there is work for it."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "mujoco", "pytorch_lightning", "torchmetrics", "roma", "smplx", "scipy", "rerun", "av")

ASK = """
import contextlib, io, json, sys
from importlib import import_module
main = import_module("physhmr_kit." + sys.argv[1]).main
said = io.StringIO()
with contextlib.redirect_stdout(said):
    try:
        main(sys.argv[2:])
        left = 0
    except SystemExit as done:
        left = done.code or 0
print(json.dumps({"left": left, "said": said.getvalue(), "modules": sorted(sys.modules)}))
"""


COMMANDS = [
    ("fit", "--help"), ("fit", "--stage", "expert", "--help"), ("fit", "--stage", "distill", "--help"),
    ("fit", "--stage", "finetune", "--help"), ("fit", "--stage", "encoder", "--help"), ("fit", "--stage", "expert", "--print_config"),
    ("view", "--help"), ("evaluate", "--help"), ("reconstruct", "--help"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command):
    done = subprocess.run([sys.executable, "-c", ASK, *command], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    words = "num_envs:" if "--print_config" in command else f"python -m physhmr_kit.{command[0]}"
    assert seen["left"] == 0 and words in seen["said"]
    assert "jsonargparse" in seen["modules"]  # it was the real parser that answered
    assert [m for m in HEAVY if m in seen["modules"]] == []
