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
for name, *words in json.loads(sys.argv[1]):
    known, said = set(sys.modules), io.StringIO()
    main = import_module(name).main
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            left = cli.run(lambda: main(words))
        except SystemExit as done:
            left = done.code or 0
    print(json.dumps({"left": left, "said": said.getvalue(), "modules": sorted(sys.modules), "new": sorted({*sys.modules} - known)}))
"""


COMMANDS = [
    ("fit", "--help"), ("fit", "--stage", "expert", "--help"), ("fit", "--stage", "distill", "--help"),
    ("fit", "--stage", "finetune", "--help"), ("fit", "--stage", "encoder", "--help"), ("fit", "--stage", "expert", "--print_config"),
    ("view", "--help"), ("evaluate", "--help"), ("reconstruct", "--help"),
]  # fmt: skip


def asked(commands: list[tuple[str, ...]]) -> list[dict]:
    """Commands in a process of their own, one after the other: exit code, what was said, and what is imported."""
    done = subprocess.run([sys.executable, "-c", ASK, json.dumps(commands)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def helped():
    seen = asked([(f"physhmr_kit.{name}", *words) for name, *words in COMMANDS])
    return dict(zip(COMMANDS, seen, strict=True))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(command, helped):
    seen = helped[command]
    expected = "num_envs:" if "--print_config" in command else f"python -m physhmr_kit.{command[0]}"
    assert seen["left"] == 0 and expected in seen["said"]
    assert "jsonargparse" in seen["modules"]  # it was the real parser that answered
    assert [m for m in HEAVY if m in seen["new"]] == []


REFUSED = {
    "missing.bvh": "no such file",
    "pointer.npz": "a Git-LFS pointer",
    "text.npz": "a text file",
    "empty.npz": "an empty archive",
    "walk.fbx": "not a supported motion file",
    "folder": "no motion files in this folder",
    "generated:none": "expected generated:COUNT",
}
TAKE_CLIPS = {
    "evaluate": ("physhmr_kit.evaluate", "--stage", "expert", "--clips"),
    "fit": ("physhmr_kit.fit", "--stage", "expert", "--clips"),
    "view": ("physhmr_kit.view",),
    "pack": ("data_prep.pack", "--out", "library"),
}


REFUSALS = [*(("evaluate", name) for name in REFUSED), *((c, "pointer.npz") for c in TAKE_CLIPS if c != "evaluate")]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    (folder / "pointer.npz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (folder / "text.npz").write_text("hello")
    (folder / "empty.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "walk.fbx").write_bytes(b"Kaydara FBX Binary")
    (folder / "folder").mkdir()
    (folder / "folder" / "shape.npz").write_bytes(b"")
    seen = asked([(*TAKE_CLIPS[c], name if ":" in name else str(folder / name)) for c, name in REFUSALS])
    return dict(zip(REFUSALS, seen, strict=True))


@pytest.mark.parametrize("case", REFUSALS, ids="-".join)
def test_cheap_refusals_import_nothing_heavy(case, refused):
    seen = refused[case]
    assert seen["left"] == 2 and REFUSED[case[1]] in seen["said"] and seen["said"].count("\n") == 1
    assert [m for m in HEAVY if m in seen["new"]] == []
