"""Run a 2-D detector on a video, in the detector's own environment, and keep what it saw.

`python -m data_prep.detect DETECTOR` builds the environment and says which version is in it: do it once while there is a
network, and detection needs none later.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cache import cache_folder
from data_prep.environments import last_words, outside_variables, ways_to_run
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays

SCRIPTS = Path(__file__).parent / "detectors"


@dataclass(frozen=True)
class Detector:
    """A program that looks at a video, in an environment of its own: a 2-D detector, or GVHMR (`data_prep.gvhmr_run`).

    Attributes:
        name: how it is asked for.
        script: the file that runs it; its inline metadata says what it needs.
        alone: whether it sees one person only.
        weights: what the user must fetch, in words; empty when it carries its weights.
    """

    name: str
    script: Path
    alone: bool = False
    weights: str = ""


DETECTORS = {
    d.name: d
    for d in (
        Detector("mediapipe", SCRIPTS / "mediapipe_pose.py", alone=True),
        Detector(
            "rtmlib",
            SCRIPTS / "rtmlib_pose.py",
            weights="a folder with two .onnx files of the RTMPose model zoo, for example yolox_m_8xb8-300e_humanart-c2c7a14a "
            "and rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504 (rtmlib's README has the links; unpack them)",
        ),
        Detector(
            "vitpose",
            SCRIPTS / "vitpose.py",
            weights="a folder with two models of the Hugging Face hub: detector/ (PekingU/rtdetr_r50vd_coco_o365) and vitpose/ "
            "(usyd-community/vitpose-base-simple), each with config.json, preprocessor_config.json and model.safetensors",
        ),
    )
}
"""The detectors, by name."""

GVHMR = Detector(
    "gvhmr",
    SCRIPTS / "gvhmr_motion.py",
    weights="a folder with gvhmr/gvhmr_siga24_release.ckpt, hmr2/epoch=10-step=25000.ckpt, vitpose/vitpose-h-multi-coco.pth and "
    "yolo/yolov8x.pt as GVHMR's authors lay them out (5.6 GB; github.com/zju3dv/GVHMR, docs/INSTALL.md, has the links)",
)
"""GVHMR, which says motion and not only keypoints; `data_prep.gvhmr_run` runs it."""


@dataclass(frozen=True)
class Span:
    """Which pictures of a video: seconds since its first frame (end excluded), at most so many, and each n-th only."""

    start: float = 0.0
    end: float | None = None
    max_frames: int | None = None
    every: int = 1

    def __post_init__(self):
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise KitError(f"--start {self.start:g} --end {self.end}: seconds are needed with 0 <= start < end")
        if self.max_frames is not None and self.max_frames < 1:
            raise KitError(f"--max-frames {self.max_frames}: at least one frame is needed")

    def words(self) -> list[str]:
        """For the script's command line."""
        limits = (("--end", self.end), ("--max-frames", self.max_frames), ("--every", self.every))
        return ["--start", repr(self.start), *(w for k, v in limits if v is not None for w in (k, repr(v)))]


@dataclass(frozen=True)
class Place:
    """Where somebody is pointed at: left, top, width and height in the upright picture, pixels, at some second."""

    box: tuple[float, float, float, float]
    at: float = 0.0

    def __post_init__(self):
        if not (self.at >= 0 and min(self.box[2:]) > 0):
            raise KitError(
                f"--box {' '.join(f'{v:g}' for v in self.box)} --at {self.at:g}: X Y W H with W, H > 0 and SECONDS >= 0"
            )

    def words(self) -> list[str]:
        """For the script's command line."""
        return ["--box", *map(repr, self.box), "--at", repr(self.at)]


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector saw in T frames: K bodies, any number in a frame.

    Attributes:
        times: (T,) s since the first frame of the video, by presentation time stamps.
        spread: (T,) brightest minus darkest value of the picture, 0..255.
        frame: (K,) row of `times` of each body.
        keypoints: (K, 17, 3) COCO-17 pixel u, v and confidence 0..1.
        image_size: (width, height) of the upright picture.
        notes: what the user should know, a line each.
        change: (T,) how much the picture differs from the one before, mean over its pixels, 0..255; None where no picture was seen.
    """

    times: np.ndarray
    spread: np.ndarray
    frame: np.ndarray
    keypoints: np.ndarray
    image_size: tuple[int, int]
    notes: tuple[str, ...] = ()
    change: np.ndarray | None = None

    @classmethod
    def load(cls, path: Path) -> Detections:
        """Read the file a detector script wrote.

        Raises:
            KitError: damaged or inconsistent.
        """
        data = read_arrays(path, "file of detections")
        for key in ("times", "spread", "frame", "keypoints", "image_size", "notes"):
            if key not in data:
                raise KitError(f"{path}: no '{key}' in the file of detections; delete it and detect again")
        frames, bodies = len(data["times"]), len(data["frame"])
        whole = (
            data["times"].shape == data["spread"].shape == (frames,)
            and data["keypoints"].shape == (bodies, 17, 3)
            and data["image_size"].shape == (2,)
            and np.isfinite(data["times"]).all()
            and ((data["frame"] >= 0) & (data["frame"] < frames)).all()
        )
        if not whole or frames == 0:
            raise KitError(f"{path}: times, frames and keypoints of the detections do not fit together")
        believed = np.isfinite(data["keypoints"]).all((1, 2))  # a body with NaN in it was not seen
        width, height = (int(v) for v in data["image_size"])
        notes = tuple(str(n) for n in data["notes"])
        seen = data["frame"][believed], data["keypoints"][believed]
        return cls(data["times"], data["spread"], *seen, (width, height), notes, data.get("change"))


def find_detector(name: str, weights: str | os.PathLike | None) -> Detector:
    """The detector of a name.

    Raises:
        KitError: no such detector; weights it needs and does not get, or gets and does not need.
    """
    detector = DETECTORS.get(name)
    if detector is None:
        raise KitError(f"no detector '{name}'; there are {', '.join(DETECTORS)}")
    if weights is None and detector.weights:
        raise KitError(f"{name} needs --weights: fetch {detector.weights}")
    if weights is not None and not detector.weights:
        raise KitError(f"{name} carries its own weights; leave out --weights")
    if weights is not None and not Path(weights).exists():
        raise KitError(f"{weights}: no such file or folder; {name} needs {detector.weights}")
    return detector


def detect(
    video: str | os.PathLike,
    detector: Detector,
    span: Span = Span(),
    weights: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
    place: Place | None = None,
) -> Detections:
    """Everyone a detector sees in a video.

    What it saw is kept in `cache`/detections under the content of video, script and weights and the span, so asking again
    costs a hash of the video.

    Args:
        cache: folder; `cache_folder()` by default. progress: show a bar on a terminal.
        place: of the person to look for, for a detector that sees one person only.

    Raises:
        KitError: the detector's environment cannot be built, or it cannot work on this video.
    """
    video, cache = Path(video).absolute(), Path(cache or cache_folder()).absolute()
    weights = None if weights is None else Path(weights).absolute()
    kept = cache / "detections" / f"{_key(video, detector, (span, place), weights)}.npz"
    if kept.is_file():
        with contextlib.suppress(KitError):  # a damaged one is made anew
            return Detections.load(kept)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".detect-", dir=kept.parent) as draft:
            out = Path(draft) / "detections.npz"
            words = [str(video), str(out), *span.words(), *(place.words() if place else [])]
            words += [] if weights is None else ["--weights", str(weights)]
            with script_bar(detector.name, progress) as show:
                run_script(detector, words, Path(draft), show)
            found = Detections.load(out)
            os.replace(out, kept)
            return found
    except OSError as fault:
        raise KitError(
            f"{cache}: cannot be written ({fault.strerror}); set PHYSHMR_CACHE to a folder that can"
        ) from fault


def prepare(detector: Detector) -> str:
    """Build a detector's environment if need be; returns its name and version, as its script says them."""
    with tempfile.TemporaryDirectory(prefix="detect-") as draft:
        said: list[str] = []
        run_script(detector, ["--version"], Path(draft), said.append)
        return said[-1] if said else detector.name


def _key(video: Path, detector: Detector, asked: tuple, weights: Path | None) -> str:
    """A name for the result that changes with whatever could change the result."""
    key = hashlib.sha256(repr(asked).encode())
    files = [video, detector.script, SCRIPTS / "detector_script.py"]
    if weights is not None:
        kinds = (".onnx", ".safetensors", ".json")
        files += sorted(p for p in weights.rglob("*") if p.suffix in kinds) if weights.is_dir() else [weights]
    try:
        for path in files:
            with open(path, "rb") as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as fault:
        raise KitError(f"{path}: cannot be read ({fault.strerror})") from fault
    return f"{detector.name}-{key.hexdigest()[:32]}"


def run_script(detector: Detector, words: list[str], folder: Path, show: Callable[[str], object]) -> None:
    """Run a detector's script to its end, in the first environment in which it starts.

    Args:
        words: its command line. folder: where it works. show: gets its lines.

    Raises:
        KitError: uv is not installed, the environment cannot be built, or the script failed.
    """
    for command in ways_to_run(detector.script):
        log = folder / "log.txt"
        started = False
        with open(log, "wb") as complaints, _child([*command, *words], complaints, folder) as process:
            assert process.stdout is not None  # a pipe
            for line in process.stdout:
                started = started or line.strip() == "ready"
                show(line.strip())
            code = process.wait()
        said = log.read_text(encoding="utf-8", errors="replace")
        if code == 0:
            return
        if started:
            raise KitError(_why(detector, code, said))
    raise KitError(
        f"{detector.name}: its environment could not be built or does not start ({last_words(said)}); "
        f"with the package index in reach, run: python -m data_prep.detect {detector.name}"
    )


def _why(detector: Detector, code: int, said: str) -> str:
    errors = [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
    if errors:
        return f"{detector.name}: {errors[-1]}"
    if code < 0 or code in (137, 139):
        return f"{detector.name}: was ended by signal {-code if code < 0 else code - 128}; is there enough memory?"
    return f"{detector.name}: failed ({last_words(said)})"


@contextlib.contextmanager
def _child(command: list[str], complaints, folder: Path) -> Iterator[subprocess.Popen]:
    """A process of its own group, whose whole group is gone when the block is left, however it is left."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        encoding="utf-8",
        errors="replace",
        cwd=folder,  # not ours: a pyproject.toml or a module lying there is not the script's business
        env=outside_variables(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """End a process and what it started (uv starts the script as a child)."""
    group = hasattr(os, "killpg")
    for name in ("SIGTERM", "SIGKILL"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(process.pid, getattr(signal, name))
            elif process.poll() is None:
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def script_bar(name: str, progress: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, fed with the script's lines: 'ready', then 'progress DONE TOTAL' (TOTAL 0: unknown) or 'stage WORDS'."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task):
            return Text(f"{task.speed:.0f} frames/s" if task.speed else "")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    shown = progress and console.is_terminal
    if progress and not shown:
        print(f"{name}: preparing its environment (the first time takes a while)", file=sys.stderr)
    with Progress(*columns, console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task(f"{name}: preparing its environment (the first time takes a while)", total=None)

        def show(line: str) -> None:
            words = line.split()
            if line == "ready":
                bar.reset(task, total=None, description=f"{name}: looking at the video")
            elif len(words) == 3 and words[0] == "progress":
                bar.update(task, completed=int(words[1]), total=int(words[2]) or None)
            elif words[:1] == ["stage"]:
                bar.reset(task, total=None, description=f"{name}: {' '.join(words[1:])}")

        yield show


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise KitError(f"{message} (see python -m data_prep.detect --help)")


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.detect`."""
    opening, _, rest = __doc__.partition("\n\n")
    parser = _Parser(prog="python -m data_prep.detect", description=opening, epilog=rest)
    parser.add_argument("detector", choices=[*DETECTORS, GVHMR.name], help="whose environment to build")
    options = parser.parse_args(argv)
    print(f"{options.detector}: preparing its environment (the first time takes a while)", file=sys.stderr)
    print(f"{prepare((DETECTORS | {GVHMR.name: GVHMR})[options.detector])} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
