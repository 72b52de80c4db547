"""`python -m physhmr_kit.doctor`: what works here, what is missing, and the command that fixes it.

Leaves with 0 when everything essential works, else with 1. Written to run on a broken installation: every check is on
its own, and only the standard library is needed to run them.

`python -m physhmr_kit.doctor --track T.npz [--video V.mp4] [--picture OUT.png]` examines a visual track instead (reconstruct
writes one): camera, person and keypoints in figures, warnings about what looks wrong (it then leaves with 1), and a
picture with keypoints, body, horizon and floor over a few frames (T.png beside the track by default).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from physhmr_kit import __version__

INSTALL = "python -m pip install -c constraints.txt -e ."
WEIGHTS = Path(__file__).parent / "weights"
ESSENTIAL_WEIGHTS = ("encoder", "expert", "distill", "finetune")

# What pip calls it, how it is imported. The versions that go together are in constraints.txt.
PACKAGES = (
    ("numpy", "numpy"), ("scipy", "scipy"), ("torch", "torch"), ("pytorch-lightning", "pytorch_lightning"),
    ("torchmetrics", "torchmetrics"), ("gymnasium", "gymnasium"), ("mujoco", "mujoco"), ("roma", "roma"), ("smplx", "smplx"),
    ("av", "av"), ("jsonargparse", "jsonargparse"), ("safetensors", "safetensors"), ("rerun-sdk", "rerun"),
    ("matplotlib", "matplotlib"), ("rich", "rich"),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: what was looked at.
        ok: whether it works.
        note: version, place or fault, in one line.
        remedy: the command that fixes it; empty when there is nothing to do.
        essential: whether the kit's own tutorials and tests need it.
    """

    name: str
    ok: bool
    note: str = ""
    remedy: str = ""
    essential: bool = False

    def line(self) -> str:
        """For the terminal."""
        sign = "ok" if self.ok else ("FAULT" if self.essential else "-")
        text = f"  {sign:<6}{self.name:<20}{self.note}"
        return text.rstrip() + (f"\n{'':<28}fix: {self.remedy}" if self.remedy and not self.ok else "")


def guarded(name: str, check: Callable[[], Finding], remedy: str, essential: bool) -> Finding:
    """The finding of a check, whatever it raises: a broken package can raise anything when it is imported."""
    try:
        return check()
    except Exception as fault:
        why = " ".join(f"{type(fault).__name__}: {fault}".split())
        return Finding(name, False, why[:160], remedy, essential)


def check_python() -> Finding:
    """The interpreter; the kit is written for 3.11 and newer."""
    ok = sys.version_info >= (3, 11)
    return Finding(
        "python", ok, f"{platform.python_version()}  {sys.executable}", "make PYTHON=python3.11 install", True
    )


def check_package(name: str, module: str) -> Finding:
    """Whether a package is installed and can be imported."""
    importlib.import_module(module)
    return Finding(name, True, importlib.metadata.version(name), INSTALL, True)


def check_cuda() -> Finding:
    """A graphics card for torch; nothing needs it."""
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return Finding("cuda", True, torch.cuda.get_device_name(0))
    return Finding("cuda", False, "none; everything works on the CPU")


def check_mujoco_cpu() -> Finding:
    """The default simulator: build the humanoid and let it fall for ten control steps."""
    torch = importlib.import_module("torch")
    make = importlib.import_module("physhmr_kit.simulation").make_simulator
    with make("mujoco_cpu", num_envs=2) as simulator:
        for _ in range(10):
            state = simulator.step(torch.zeros(2, 69))
    if not bool(torch.isfinite(state.body_pos).all()):
        return Finding("mujoco_cpu", False, "the humanoid's state is not finite after 10 steps", INSTALL, True)
    return Finding("mujoco_cpu", True, "10 steps of 2 humanoids", INSTALL, True)


def check_mujoco_gpu() -> Finding:
    """mujoco_warp, and a CUDA device that torch and Warp both find."""
    remedy = "python -m pip install -c constraints.txt -e '.[gpu]'"
    for module in ("warp", "mujoco_warp"):
        if importlib.util.find_spec(module) is None:
            return Finding("mujoco_gpu", False, f"{module} is not installed", remedy)
    cuda = importlib.import_module("torch").cuda  # asked first: Warp complains on the terminal where there is no driver
    if not cuda.is_available():
        return Finding("mujoco_gpu", False, "mujoco_warp is installed, but torch finds no CUDA device")
    warp = importlib.import_module("warp")
    warp.config.log_level = 30  # no banner
    if warp.get_cuda_device_count() == 0:
        return Finding(
            "mujoco_gpu", False, "torch finds a CUDA device and Warp does not: is the driver too old for it?"
        )
    return Finding("mujoco_gpu", True, f"warp {warp.__version__}, {warp.get_cuda_device_count()} CUDA device(s)")


def check_isaac_gym() -> Finding:
    """Isaac Gym in an interpreter of its own (Python 3.8), named by PHYSHMR_ISAACGYM_PYTHON."""
    python = os.environ.get("PHYSHMR_ISAACGYM_PYTHON")
    if not python:
        return Finding(
            "isaac_gym", False, "not set up", "export PHYSHMR_ISAACGYM_PYTHON=/path/to/python3.8-with-isaacgym"
        )
    if shutil.which(python) is None:
        return Finding(
            "isaac_gym", False, f"PHYSHMR_ISAACGYM_PYTHON={python}: no such program", "point it to the interpreter"
        )
    code = "import isaacgym, torch; print('torch', torch.__version__, 'on', 'CUDA' if torch.cuda.is_available() else 'CPU')"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120)
    if run.returncode:
        why = (run.stderr.strip().splitlines() or ["import isaacgym failed"])[-1]
        remedy = f"{python} -m pip install -e <isaacgym>/python   (docs/isaac_gym.md)"
        if "libpython" in why:
            remedy = "export LD_LIBRARY_PATH=<that environment>/lib"
        return Finding("isaac_gym", False, why[:160], remedy)
    return Finding("isaac_gym", True, f"{python}, {run.stdout.strip().splitlines()[-1]}")


def check_weights(name: str) -> Finding:
    """Bundled weights: there, and readable to the last tensor."""
    path = WEIGHTS / f"{name}.safetensors"
    remedy = f"git checkout -- physhmr_kit/weights/{path.name}"
    if not path.is_file():
        return Finding(f"weights {name}", False, f"{path} is missing", remedy, True)
    if path.read_bytes()[:40].startswith(b"version https://git-lfs"):
        return Finding(f"weights {name}", False, f"{path} is a git-lfs pointer", "git lfs pull", True)
    safetensors = importlib.import_module("safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        count = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 (not a dict)
    return Finding(f"weights {name}", True, f"{count:,} parameters", remedy, True)


def check_smpl() -> Finding:
    """The SMPL body model, which everyone must fetch for themselves; the kit has a mean-shape humanoid without it."""
    folder = Path(os.environ.get("PHYSHMR_SMPL") or Path(os.environ.get("PHYSHMR_DATA", "../shared/data")) / "smpl")
    found = [p for p in (folder / f"SMPL_NEUTRAL.{kind}" for kind in ("npz", "pkl")) if p.is_file()]
    if found:
        return Finding("SMPL", True, str(found[0]))
    return Finding(
        "SMPL",
        False,
        f"no SMPL_NEUTRAL.pkl or .npz in {folder}; only needed for meshes and body shapes",
        "register at smpl.is.tue.mpg.de, save the neutral model there under this name, or export PHYSHMR_SMPL=<folder>",
    )


def check_notebooks() -> Finding:
    """What the lessons need to be opened and to show scenes."""
    lacking = [m for m in ("jupyterlab", "rerun_notebook", "jupytext") if importlib.util.find_spec(m) is None]
    remedy = "python -m pip install -c constraints.txt -e '.[notebooks]'"
    if lacking:
        return Finding("notebooks", False, f"not installed: {', '.join(lacking)}", remedy)
    versions = [importlib.metadata.version(p) for p in ("rerun-sdk", "rerun-notebook")]
    if versions[0] != versions[1]:
        return Finding("notebooks", False, f"rerun-sdk {versions[0]} and rerun-notebook {versions[1]} differ", remedy)
    return Finding("notebooks", True, f"jupyterlab {importlib.metadata.version('jupyterlab')}")


def check_uv() -> Finding:
    """uv runs a 2-D detector's script in an environment of its own."""
    program = shutil.which("uv")
    if program:
        return Finding("uv", True, program)
    return Finding("uv", False, "only needed to run a 2-D detector on a video", "python -m pip install uv")


def check_display() -> Finding:
    """A screen for Rerun's window."""
    if importlib.import_module("physhmr_kit.viewer.serve").has_display():
        return Finding("display", True)
    return Finding("display", False, "none; look at recordings with: python -m physhmr_kit.view X --web")


def examine() -> dict[str, list[Finding]]:
    """All findings, by chapter."""
    optional = ((check_smpl, "SMPL"), (check_notebooks, "notebooks"), (check_uv, "uv"), (check_display, "display"))
    return {
        f"physhmr_kit {__version__} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores": [
            check_python(),
            *(guarded(name, partial(check_package, name, module), INSTALL, True) for name, module in PACKAGES),
            guarded("cuda", check_cuda, "", False),
        ],
        "simulators": [
            guarded("mujoco_cpu", check_mujoco_cpu, INSTALL, True),
            guarded("mujoco_gpu", check_mujoco_gpu, "python -m pip install -c constraints.txt -e '.[gpu]'", False),
            guarded("isaac_gym", check_isaac_gym, "", False),
        ],
        "weights": [
            guarded(
                f"weights {n}",
                partial(check_weights, n),
                f"git checkout -- physhmr_kit/weights/{n}.safetensors",
                True,
            )
            for n in ESSENTIAL_WEIGHTS
        ],
        "optional": [guarded(name, check, "", False) for check, name in optional],
    }


def examine_track(track_file: str, video: str | None = None, picture: str | None = None) -> int:
    """Print what is known of a visual track, draw it, and warn; returns the exit code.

    Raises:
        KitError: files that cannot be read or written.
    """
    from physhmr_kit.reconstruction.track_check import check_track
    from physhmr_kit.utils.errors import KitError
    from physhmr_kit.viewer.track_picture import track_picture
    from physhmr_kit.vision.track import VisualTrack

    track = VisualTrack.load(track_file)
    if len(track) < 2:
        raise KitError(f"{track_file}: 1 frame; there is nothing to examine")
    found = check_track(track)
    out = Path(picture) if picture else Path(track_file).with_suffix(".png")
    try:
        track_picture(track, found.body, video, out)
    except (OSError, ValueError) as fault:
        raise KitError(f"{out}: the picture cannot be written ({fault})") from fault
    print(track.name)
    for name, value in found.figures.items():
        print(f"  {name:<22}{value}")
    for warning in found.warnings:
        print(f"  WARNING  {warning}")
    print(f"{len(found.warnings) or 'no'} warning(s); drew {out}")
    return 1 if found.warnings else 0


def _track_options(arguments: list[str]) -> dict[str, str] | None:
    """--track, --video and --picture with their values; None for anything else."""
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=False))
    known = {"--track", "--video", "--picture"}
    if len(arguments) % 2 or len(pairs) * 2 != len(arguments) or not set(pairs) <= known or "--track" not in pairs:
        return None
    return {name.removeprefix("--"): value for name, value in pairs.items()}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = [str(a) for a in (sys.argv[1:] if argv is None else argv)]
    if arguments:
        options = _track_options(arguments)
        if options:
            from physhmr_kit import cli

            return cli.run(lambda: examine_track(options["track"], options.get("video"), options.get("picture")))
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    chapters = examine()
    for title, findings in chapters.items():
        print(title)
        for finding in findings:
            print(finding.line())
        print()
    faults = [f.name for findings in chapters.values() for f in findings if f.essential and not f.ok]
    print(f"not working: {', '.join(faults)}" if faults else "everything essential works")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
