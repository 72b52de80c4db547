"""`python -m physhmr_kit.doctor`: checks the installation, and prints the command that fixes what is missing.

The exit code is 0 if everything essential works, else 1. It also runs on a broken installation: checks are independent of each
other, and it needs only the standard library.

`python -m physhmr_kit.doctor --track T.npz [--video V.mp4] [--picture OUT.png]` checks a visual track instead (reconstruct writes
one): it prints figures of camera, person and keypoints, and warnings about what looks wrong (the exit code is then 1), and draws
keypoints, body, horizon and floor over a few frames (T.png next to the track by default).
"""

from __future__ import annotations

import argparse
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
INSTALL_EXTRA = "python -m pip install -c constraints.txt -e '.[{}]'"
WEIGHTS = Path(__file__).parent / "weights"
ESSENTIAL_WEIGHTS = ("encoder", "expert", "distill", "finetune")

# Name in pip, name of the module. Compatible versions are in constraints.txt.
PACKAGES = (
    ("numpy", "numpy"), ("scipy", "scipy"), ("torch", "torch"), ("pytorch-lightning", "pytorch_lightning"),
    ("torchmetrics", "torchmetrics"), ("gymnasium", "gymnasium"), ("mujoco", "mujoco"), ("roma", "roma"), ("smplx", "smplx"),
    ("av", "av"), ("jsonargparse", "jsonargparse"), ("safetensors", "safetensors"), ("rerun-sdk", "rerun"),
    ("matplotlib", "matplotlib"), ("rich", "rich"),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        name: of the checked part.
        ok: whether it works.
        note: version, place or fault, in one line.
        remedy: the command that fixes it; empty if there is none.
        essential: whether tutorials and tests need it.
    """

    name: str
    ok: bool
    note: str = ""
    remedy: str = ""
    essential: bool = False

    def line(self) -> str:
        """The finding as text for the terminal."""
        sign = "ok" if self.ok else ("FAULT" if self.essential else "-")
        text = f"  {sign:<6}{self.name:<20}{self.note}"
        return text.rstrip() + (f"\n{'':<28}fix: {self.remedy}" if self.remedy and not self.ok else "")


class Missing(Exception):
    """Raised by a check of something that does not work, with a note and, unless it is the usual one, the command that fixes it."""

    def __init__(self, note: str, remedy: str | None = None):
        super().__init__(note)
        self.note, self.remedy = note, remedy


def find(name: str, check: Callable[[], str], remedy: str = "", essential: bool = False) -> Finding:
    """Run a check, which returns a note or raises; a broken package can raise anything when it is imported."""
    try:
        return Finding(name, True, check(), remedy, essential)
    except Missing as fault:
        return Finding(name, False, fault.note, remedy if fault.remedy is None else fault.remedy, essential)
    except Exception as fault:
        why = " ".join(f"{type(fault).__name__}: {fault}".split())
        return Finding(name, False, why[:160], remedy, essential)


def check_python() -> str:
    """The interpreter must be Python 3.11 or newer."""
    version = f"{platform.python_version()}  {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 (an older interpreter may run this module)
        raise Missing(version)
    return version


def check_package(name: str, module: str) -> str:
    """A package must be installed and importable."""
    importlib.import_module(module)
    return importlib.metadata.version(name)


def check_cuda() -> str:
    """A graphics card for torch, which is optional."""
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise Missing("none; everything works on the CPU")
    return torch.cuda.get_device_name(0)


def check_mujoco_cpu() -> str:
    """The default simulator: build the humanoid and let it fall for ten control steps."""
    torch = importlib.import_module("torch")
    make = importlib.import_module("physhmr_kit.simulation").make_simulator
    with make("mujoco_cpu", num_envs=2) as simulator:
        for _ in range(10):
            state = simulator.step(torch.zeros(2, 69))
    if not bool(torch.isfinite(state.body_pos).all()):
        raise Missing("the humanoid's state is not finite after 10 steps")
    return "10 steps of 2 humanoids"


def check_mujoco_gpu() -> str:
    """mujoco_warp, and a CUDA device that both torch and Warp find."""
    for module in ("warp", "mujoco_warp"):
        if importlib.util.find_spec(module) is None:
            raise Missing(f"{module} is not installed")
    cuda = importlib.import_module("torch").cuda  # first, because Warp prints complaints without a driver
    if not cuda.is_available():
        raise Missing("mujoco_warp is installed, but torch finds no CUDA device")
    warp = importlib.import_module("warp")
    warp.config.log_level = 30  # no banner
    if warp.get_cuda_device_count() == 0:
        raise Missing("torch finds a CUDA device and Warp does not: is the driver too old for it?")
    return f"warp {warp.__version__}, {warp.get_cuda_device_count()} CUDA device(s)"


def check_isaac_gym() -> str:
    """Isaac Gym in its own interpreter (Python 3.8), named by PHYSHMR_ISAACGYM_PYTHON."""
    python = os.environ.get("PHYSHMR_ISAACGYM_PYTHON")
    if not python:
        raise Missing("not set up", "export PHYSHMR_ISAACGYM_PYTHON=/path/to/python3.8-with-isaacgym")
    if shutil.which(python) is None:
        raise Missing(f"PHYSHMR_ISAACGYM_PYTHON={python}: no such program", "set it to the interpreter")
    code = "import isaacgym, torch; print('torch', torch.__version__, 'on', 'CUDA' if torch.cuda.is_available() else 'CPU')"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120)
    if run.returncode:
        why = (run.stderr.strip().splitlines() or ["import isaacgym failed"])[-1]
        remedy = f"{python} -m pip install -e <isaacgym>/python   (docs/isaac_gym.md)"
        if "libpython" in why:
            remedy = "export LD_LIBRARY_PATH=<that environment>/lib"
        raise Missing(why[:160], remedy)
    return f"{python}, {run.stdout.strip().splitlines()[-1]}"


def check_weights(name: str) -> str:
    """Bundled weights must exist and be readable to the last tensor."""
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise Missing(f"{path} is missing")
    if path.read_bytes()[:40].startswith(b"version https://git-lfs"):
        raise Missing(f"{path} is a git-lfs pointer", "git lfs pull")
    safetensors = importlib.import_module("safetensors")
    with safetensors.safe_open(path, framework="pt") as file:
        count = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118 (not a dict)
    return f"{count:,} parameters"


def check_smpl() -> str:
    """The SMPL body model, which every user must download; the kit works without it, with a mean-shape humanoid."""
    folder = Path(os.environ.get("PHYSHMR_SMPL") or Path(os.environ.get("PHYSHMR_DATA", "../shared/data")) / "smpl")
    found = [p for p in (folder / f"SMPL_NEUTRAL.{kind}" for kind in ("npz", "pkl")) if p.is_file()]
    if not found:
        raise Missing(
            f"no SMPL_NEUTRAL.pkl or .npz in {folder}; only needed for meshes and body shapes",
            "register at smpl.is.tue.mpg.de, save the neutral model there under this name, or export PHYSHMR_SMPL=<folder>",
        )
    return str(found[0])


def check_notebooks() -> str:
    """Packages to open the lessons and to show scenes in them."""
    lacking = [m for m in ("jupyterlab", "rerun_notebook", "jupytext") if importlib.util.find_spec(m) is None]
    if lacking:
        raise Missing(f"not installed: {', '.join(lacking)}")
    versions = [importlib.metadata.version(p) for p in ("rerun-sdk", "rerun-notebook")]
    if versions[0] != versions[1]:
        raise Missing(f"rerun-sdk {versions[0]} and rerun-notebook {versions[1]} differ")
    return f"jupyterlab {importlib.metadata.version('jupyterlab')}"


def check_uv() -> str:
    """uv, which runs the script of a 2-D detector in its own environment."""
    program = shutil.which("uv")
    if program is None:
        raise Missing("only needed to run a 2-D detector on a video")
    return program


def check_display() -> str:
    """A display for Rerun's window."""
    if not importlib.import_module("physhmr_kit.viewer.serve").has_display():
        raise Missing("none; view recordings with: python -m physhmr_kit.view X --web")
    return ""


def examine() -> dict[str, list[Finding]]:
    """All findings, by section."""
    return {
        f"physhmr_kit {__version__} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores": [
            find("python", check_python, "make PYTHON=python3.11 install", True),
            *(find(name, partial(check_package, name, module), INSTALL, True) for name, module in PACKAGES),
            find("cuda", check_cuda),
        ],
        "simulators": [
            find("mujoco_cpu", check_mujoco_cpu, INSTALL, True),
            find("mujoco_gpu", check_mujoco_gpu, INSTALL_EXTRA.format("gpu")),
            find("isaac_gym", check_isaac_gym),
        ],
        "weights": [
            find(
                f"weights {n}", partial(check_weights, n), f"git checkout -- physhmr_kit/weights/{n}.safetensors", True
            )
            for n in ESSENTIAL_WEIGHTS
        ],
        "optional": [
            find("SMPL", check_smpl),
            find("notebooks", check_notebooks, INSTALL_EXTRA.format("notebooks")),
            find("uv", check_uv, "python -m pip install uv"),
            find("display", check_display),
        ],
    }


def examine_track(track_file: str, video: str | None = None, picture: str | None = None) -> int:
    """Print figures and warnings of a visual track and draw it; returns the exit code.

    Raises:
        KitError: files that cannot be read or written.
    """
    from physhmr_kit.reconstruction.track_check import check_track
    from physhmr_kit.utils.errors import KitError
    from physhmr_kit.viewer.track_picture import track_picture
    from physhmr_kit.vision.track import VisualTrack

    track = VisualTrack.load(track_file)
    if len(track) < 2:
        raise KitError(f"{track_file}: 1 frame; at least two are needed")
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


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        "python -m physhmr_kit.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--track", help="check this visual track instead of the installation")
    parser.add_argument("--video", help="video of the track, drawn behind the picture")
    parser.add_argument("--picture", help="file of the picture; T.png next to the track by default")
    options = parser.parse_args(argv)
    if options.track:
        from physhmr_kit import cli

        return cli.run(lambda: examine_track(options.track, options.video, options.picture))
    if options.video or options.picture:
        parser.error("--video and --picture need --track")
    sections = examine()
    for title, findings in sections.items():
        print(title, *(finding.line() for finding in findings), "", sep="\n")
    faults = [f.name for findings in sections.values() for f in findings if f.essential and not f.ok]
    print(f"not working: {', '.join(faults)}" if faults else "everything essential works")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
