"""`--help` answers at once: what takes seconds to import is imported when there is work for it."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "mujoco", "pytorch_lightning", "torchmetrics", "roma", "smplx", "scipy", "rerun", "av")

ASK = """
import contextlib, io, json, sys
from importlib import import_module
from physhmr_kit import cli
main = import_module(sys.argv[1]).main
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    try:
        left = cli.run(lambda: main(sys.argv[2:]))
    except SystemExit as done:
        left = done.code or 0
print(json.dumps({"left": left, "said": said.getvalue(), "modules": sorted(sys.modules)}))
"""


COMMANDS = [
    ("fit", "--help"), ("fit", "--stage", "expert", "--help"), ("fit", "--stage", "distill", "--help"),
    ("fit", "--stage", "finetune", "--help"), ("fit", "--stage", "encoder", "--help"), ("fit", "--stage", "expert", "--print_config"),
    ("view", "--help"), ("evaluate", "--help"), ("reconstruct", "--help"),
]  # fmt: skip


def asked(command: str, *words: str) -> dict:
    """Exit code, what was said, and the modules imported by a command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", ASK, command, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command):
    name, *words = command
    seen = asked(f"physhmr_kit.{name}", *words)
    expected = "num_envs:" if "--print_config" in command else f"python -m physhmr_kit.{name}"
    assert seen["left"] == 0 and expected in seen["said"]
    assert "jsonargparse" in seen["modules"]  # it was the real parser that answered
    assert [m for m in HEAVY if m in seen["modules"]] == []


REFUSED = {
    "missing.bvh": "no such file",
    "pointer.npz": "a Git-LFS pointer",
    "text.npz": "a text file",
    "empty.npz": "an empty archive",
    "walk.fbx": "not a motion file of a known kind",
    "folder": "no motion files in this folder",
    "generated:none": "expected generated:COUNT",
}
TAKE_CLIPS = {
    "evaluate": ("physhmr_kit.evaluate", "--stage", "expert", "--clips"),
    "fit": ("physhmr_kit.fit", "--stage", "expert", "--clips"),
    "view": ("physhmr_kit.view",),
    "pack": ("data_prep.pack", "--out", "library"),
}


@pytest.mark.parametrize(
    ("command", "name"), [*(("evaluate", name) for name in REFUSED), *((c, "pointer.npz") for c in TAKE_CLIPS)]
)
def test_cheap_refusals_import_nothing_heavy(command, name, tmp_path):
    (tmp_path / "pointer.npz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "walk.fbx").write_bytes(b"Kaydara FBX Binary")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "shape.npz").write_bytes(b"")
    seen = asked(*TAKE_CLIPS[command], name if ":" in name else str(tmp_path / name))
    assert seen["left"] == 2 and REFUSED[name] in seen["said"] and seen["said"].count("\n") == 1
    assert [m for m in HEAVY if m in seen["modules"]] == []
