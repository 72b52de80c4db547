"""Runs a 2-D detector on a video, in the detector's own environment, and caches the detections.

`python -m data_prep.detect DETECTOR` builds the environment and prints the detector's version. Run it once with a network
connection; detection then works offline.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cache import cache_folder
from data_prep.environments import clean_variables, error_line, uv_commands
from data_prep.importing import Parser
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays

SCRIPTS = Path(__file__).parent / "detectors"
_PREPARING = "preparing its environment (the first time takes a while)"


@dataclass(frozen=True)
class Detector:
    """A program that processes a video in its own environment: a 2-D detector, or GVHMR (`data_prep.gvhmr_run`).

    Attributes:
        name: on the command line.
        script: the file that runs it; its inline metadata lists its dependencies.
        single_person: whether it detects at most one person per frame.
        weights: description of the weights the user must download; empty when they come with the package.
    """

    name: str
    script: Path
    single_person: bool = False
    weights: str = ""


DETECTORS = {
    d.name: d
    for d in (
        Detector("mediapipe", SCRIPTS / "mediapipe_pose.py", single_person=True),
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

GVHMR = Detector(
    "gvhmr",
    SCRIPTS / "gvhmr_motion.py",
    weights="a folder with gvhmr/gvhmr_siga24_release.ckpt, hmr2/epoch=10-step=25000.ckpt, vitpose/vitpose-h-multi-coco.pth and "
    "yolo/yolov8x.pt as GVHMR's authors lay them out (5.6 GB; github.com/zju3dv/GVHMR, docs/INSTALL.md, has the links)",
)
"""GVHMR estimates motion, not only keypoints; `data_prep.gvhmr_run` runs it."""


@dataclass(frozen=True)
class Span:
    """Which frames of a video to process: from `start` to `end` (s, exclusive), at most `max_frames`, every n-th one."""

    start: float = 0.0
    end: float | None = None
    max_frames: int | None = None
    every: int = 1

    def __post_init__(self):
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise KitError(f"--start {self.start:g} --end {self.end}: expected 0 <= start < end (seconds)")
        if self.max_frames is not None and self.max_frames < 1:
            raise KitError(f"--max-frames {self.max_frames}: expected at least 1")

    def arguments(self) -> list[str]:
        """For the script's command line."""
        limits = (("--end", self.end), ("--max-frames", self.max_frames), ("--every", self.every))
        return ["--start", repr(self.start), *(word for k, v in limits if v is not None for word in (k, repr(v)))]


@dataclass(frozen=True)
class Place:
    """Points at a person: a box (left, top, width, height) in pixels of the upright frame, at the time `at` (s)."""

    box: tuple[float, float, float, float]
    at: float = 0.0

    def __post_init__(self):
        if not (self.at >= 0 and min(self.box[2:]) > 0):
            raise KitError(
                f"--box {' '.join(f'{v:g}' for v in self.box)} --at {self.at:g}: expected X Y W H with W, H > 0 and SECONDS >= 0"
            )

    def arguments(self) -> list[str]:
        """For the script's command line."""
        return ["--box", *map(repr, self.box), "--at", repr(self.at)]


@dataclass(frozen=True, eq=False)
class Detections:
    """The K bodies that a detector found in T frames, any number per frame.

    Attributes:
        times: (T,) s since the first frame of the video, from presentation time stamps.
        spread: (T,) brightest minus darkest value of the frame, 0..255.
        frame: (K,) index into `times` of each body.
        keypoints: (K, 17, 3) COCO-17 pixel u, v and confidence 0..1.
        image_size: (width, height) of the upright frame.
        notes: messages for the user, one line each.
        change: (T,) mean absolute difference from the previous frame, 0..255; None without frames.
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
        """Load the file that a detector script wrote.

        Raises:
            KitError: damaged or inconsistent file.
        """
        data = read_arrays(path, "file of detections")
        for key in ("times", "spread", "frame", "keypoints", "image_size", "notes"):
            if key not in data:
                raise KitError(f"{path}: no '{key}' in the file of detections; delete it and detect again")
        frames, count = len(data["times"]), len(data["frame"])
        consistent = (
            data["times"].shape == data["spread"].shape == (frames,)
            and data["keypoints"].shape == (count, 17, 3)
            and data["image_size"].shape == (2,)
            and np.isfinite(data["times"]).all()
            and ((data["frame"] >= 0) & (data["frame"] < frames)).all()
        )
        if not consistent or frames == 0:
            raise KitError(f"{path}: times, frames and keypoints of the detections do not match")
        finite = np.isfinite(data["keypoints"]).all((1, 2))  # a body with NaN was not detected
        width, height = (int(v) for v in data["image_size"])
        notes = tuple(str(n) for n in data["notes"])
        bodies = data["frame"][finite], data["keypoints"][finite]
        return cls(data["times"], data["spread"], *bodies, (width, height), notes, data.get("change"))


def find_detector(name: str, weights: str | os.PathLike | None) -> Detector:
    """The detector with a name, checked against the weights given for it.

    Raises:
        KitError: no such detector; weights missing, not found, or given to a detector that needs none.
    """
    detector = DETECTORS.get(name)
    if detector is None:
        raise KitError(f"no detector '{name}'; available: {', '.join(DETECTORS)}")
    if weights is None and detector.weights:
        raise KitError(f"{name} needs --weights: download {detector.weights}")
    if weights is not None and not detector.weights:
        raise KitError(f"{name} comes with its own weights; omit --weights")
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
    """Detect everyone in a video.

    Detections are cached in `cache`/detections by the content of video, script and weights and by the span, so a second call
    only hashes the video.

    Args:
        cache: folder; `cache_folder()` by default. progress: show a progress bar on a terminal.
        place: the person to look for, for a single-person detector.

    Raises:
        KitError: the detector's environment cannot be built, or it cannot work on this video.
    """
    video, cache = Path(video).absolute(), Path(cache or cache_folder()).absolute()
    weights = None if weights is None else Path(weights).absolute()
    key = content_key((span, place), [video, detector.script, SCRIPTS / "detector_script.py", *_weight_files(weights)])
    cached = cache / "detections" / f"{detector.name}-{key}.npz"
    if cached.is_file():
        with contextlib.suppress(KitError):  # a damaged file is replaced
            return Detections.load(cached)
    with draft_folder(cache, cached) as draft:
        out = draft / "detections.npz"
        arguments = [str(video), str(out), *span.arguments(), *(place.arguments() if place else [])]
        arguments += [] if weights is None else ["--weights", str(weights)]
        with script_bar(detector.name, progress) as show:
            run_script(detector, arguments, draft, show)
        found = Detections.load(out)
        os.replace(out, cached)
    return found


def prepare(detector: Detector) -> str:
    """Build a detector's environment if necessary; returns name and version as its script prints them."""
    with tempfile.TemporaryDirectory(prefix="detect-") as folder:
        lines: list[str] = []
        run_script(detector, ["--version"], Path(folder), lines.append)
        return lines[-1] if lines else detector.name


def _weight_files(weights: Path | None) -> list[Path]:
    if weights is None:
        return []
    kinds = (".onnx", ".safetensors", ".json")
    return sorted(p for p in weights.rglob("*") if p.suffix in kinds) if weights.is_dir() else [weights]


@contextlib.contextmanager
def draft_folder(cache: Path, target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, a path in the cache, from which a finished result is moved there.

    Raises:
        KitError: the cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=target.parent) as folder:
            yield Path(folder)
    except OSError as fault:
        raise KitError(
            f"{cache}: cannot be written ({fault.strerror}); set PHYSHMR_CACHE to a writable folder"
        ) from fault


def content_key(settings: object, files: Iterable[Path]) -> str:
    """A cache key that changes with the settings (their `repr`) and with the content of the files.

    Raises:
        KitError: a file cannot be read.
    """
    key = hashlib.sha256(repr(settings).encode())
    try:
        for path in files:
            with open(path, "rb") as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as fault:
        raise KitError(f"{path}: cannot be read ({fault.strerror})") from fault
    return key.hexdigest()[:32]


def run_script(detector: Detector, arguments: list[str], folder: Path, show: Callable[[str], object]) -> None:
    """Run a detector's script, in the first environment in which it starts.

    Args:
        arguments: of its command line. folder: its working directory. show: called with each line of its stdout.

    Raises:
        KitError: uv is not installed, the environment cannot be built, or the script failed.
    """
    log = folder / "log.txt"
    for command in uv_commands(detector.script):
        started = False
        with open(log, "wb") as stderr, _child_process([*command, *arguments], stderr, folder) as process:
            assert process.stdout is not None  # a pipe
            for line in process.stdout:
                started = started or line.strip() == "ready"
                show(line.strip())
            code = process.wait()
        stderr_text = log.read_text(encoding="utf-8", errors="replace")
        if code == 0:
            return
        if started:
            raise KitError(f"{detector.name}: {_failure(code, stderr_text)}")
    raise KitError(
        f"{detector.name}: its environment could not be built or does not start ({error_line(stderr_text)}); "
        f"with access to the package index, run: python -m data_prep.detect {detector.name}"
    )


def _failure(code: int, stderr: str) -> str:
    errors = [line.removeprefix("error: ") for line in stderr.splitlines() if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if code < 0 or code in (137, 139):
        return f"killed by signal {-code if code < 0 else code - 128}; is there enough memory?"
    return f"failed ({error_line(stderr)})"


@contextlib.contextmanager
def _child_process(command: list[str], stderr, folder: Path) -> Iterator[subprocess.Popen]:
    """A process in its own process group, which is terminated when the block ends, however it ends."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
        errors="replace",
        cwd=folder,  # not ours, where uv would read a pyproject.toml and Python a module
        env=clean_variables(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _terminate(process)


def _terminate(process: subprocess.Popen) -> None:
    """Terminate a process and its children (uv starts the script as a child)."""
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
    """A progress bar on stderr, driven by the script's output: 'ready', then 'progress DONE TOTAL' (TOTAL 0: unknown) or
    'stage WORDS'."""
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
        print(f"{name}: {_PREPARING}", file=sys.stderr)
    with Progress(*columns, console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task(f"{name}: {_PREPARING}", total=None)

        def show(line: str) -> None:
            words = line.split()
            if line == "ready":
                bar.reset(task, total=None, description=f"{name}: processing the video")
            elif len(words) == 3 and words[0] == "progress":
                bar.update(task, completed=int(words[1]), total=int(words[2]) or None)
            elif words[:1] == ["stage"]:
                bar.reset(task, total=None, description=f"{name}: {' '.join(words[1:])}")

        yield show


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.detect`."""
    parser = Parser("detect", __doc__)
    parser.add_argument("detector", choices=[*DETECTORS, GVHMR.name], help="the program whose environment to build")
    options = parser.parse_args(argv)
    print(f"{options.detector}: {_PREPARING}", file=sys.stderr)
    print(f"{prepare((DETECTORS | {GVHMR.name: GVHMR})[options.detector])} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
