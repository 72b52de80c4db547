"""`load_clips`: from what a user types (files, folders, "demo") to clips at the control rate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from data_prep.bvh import read_bvh
from data_prep.cmu import CMU_FPS, read_amc
from physhmr_kit.motion.check import check_clip
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.utils.errors import KitError

_READERS: dict[str, Callable[[Path], Clip]] = {".npz": Clip.load, ".amc": read_amc, ".bvh": read_bvh}


def find_motion_files(spec: str | Path) -> list[Path]:
    """The motion files a path names: itself, or all below a folder in sorted order.

    Raises:
        KitError: no such path, a kind of file the kit cannot read, or a folder without motions.
    """
    path = Path(spec)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in _READERS and p.is_file())
        if not found:
            raise KitError(f"{path}: no motion files in this folder; expected {', '.join(_READERS)}")
        return found
    if path.suffix.lower() not in _READERS:
        known = ", ".join(_READERS)
        if path.exists():
            raise KitError(f"{path}: not a motion file of a known kind ({known})")
        raise KitError(f"{path}: no such file or folder; expected {known}, a folder, 'demo' or 'demo:<name>'")
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    return [path]


def _read(path: Path, check: bool) -> tuple[Clip, list[str]]:
    try:
        seen = path.stat()
        return _read_once(path, check, seen.st_mtime_ns, seen.st_size)
    except OSError as fault:
        raise KitError(f"{path}: cannot be read ({fault.strerror})") from fault


@lru_cache(maxsize=256)
def _read_once(path: Path, check: bool, changed: int, size: int) -> tuple[Clip, list[str]]:
    """A file at 30 fps and what the check did to it; kept in memory until it changes, for retargeting costs much."""
    clip = _READERS[path.suffix.lower()](path)
    lines: list[str] = []
    if check:
        try:
            clip, lines = check_clip(clip)
        except KitError as fault:
            raise KitError(f"{path}: {str(fault).removeprefix(f'{clip.name}: ')}") from fault
    return clip.resample(CONTROL_FPS), [f"{path}: {line}" for line in lines]


_said: set[str] = set()


def _say(lines: list[str]) -> None:
    """Tell the user on stderr, each line once in the life of the program, however often a file is asked for."""
    for line in lines:
        if line not in _said:
            _said.add(line)
            print(line, file=sys.stderr)


def _rates_assumed(paths: list[Path]) -> list[str]:
    trials = [path for path in paths if path.suffix.lower() == ".amc"]
    if not trials:
        return []
    which = str(trials[0]) if len(trials) == 1 else f"{trials[0]} and {len(trials) - 1} more"
    return [f"{which}: an .amc holds no frame rate; read at {CMU_FPS:g} Hz, the CMU database's"]


def _demo(spec: str) -> list[Clip]:
    clips = demo_clips()
    _, _, wanted = spec.partition(":")
    if not wanted:
        return clips
    found = [clip for clip in clips if clip.name == wanted]
    if not found:
        raise KitError(f"{spec}: no such demo motion; there are {', '.join(clip.name for clip in clips)}")
    return found


def load_clips(specs: Sequence[str | Path], check: bool = True) -> list[Clip]:
    """Clips at 30 fps from any mixture of sources, each with a name of its own.

    Args:
        specs: "demo" (all demo motions), "demo:<name>", a .npz, .bvh or .amc file (its .asf found beside it), or a
            folder, searched recursively in sorted order. Captured motions arrive retargeted and on the floor.
        check: refuse or repair files that cannot be tracked as they are (`check_clip`), saying on stderr what was
            repaired; without it a motion comes as it was read, to be looked at.

    Returns:
        the clips in the order given; a second clip of the same name is called <name>_2, and so on.

    Raises:
        KitError: what was asked for is missing, unreadable or broken, or cannot be tracked; names the file and the fault.
    """
    if isinstance(specs, str | Path):
        specs = [specs]
    clips: list[Clip] = []
    lines: list[str] = []
    for spec in specs:
        if str(spec) == "demo" or str(spec).startswith("demo:"):
            clips += _demo(str(spec))
        else:
            paths = find_motion_files(spec)
            lines += _rates_assumed(paths) if check else []
            for path in paths:
                clip, more = _read(path, check)
                clips.append(clip)
                lines += more
    if not clips:
        raise KitError("no clips asked for; name files, folders or 'demo'")
    _say(lines)  # after all were read, so that a refusal stands alone
    return _unique([clip.resample(CONTROL_FPS) for clip in clips])


def _unique(clips: list[Clip]) -> list[Clip]:
    taken: set[str] = set()
    named = []
    for clip in clips:
        name, count = clip.name, 2
        while name in taken:
            name, count = f"{clip.name}_{count}", count + 1
        taken.add(name)
        named.append(clip if name == clip.name else replace(clip, name=name))
    return named
