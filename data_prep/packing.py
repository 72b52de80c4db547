"""Many motion files become one library: what `data_prep.pack` does, on all cores."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from data_prep.cache import importer_version, keep, kept_path, load_kept
from data_prep.imported import Imported, import_file
from data_prep.named import find_motion_files
from data_prep.sources import bar, told
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS, mean_offsets
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import states_of, unique_names
from physhmr_kit.motion.library_files import (
    STATE_WIDTH,
    ClipEntry,
    LibraryIndex,
    is_library,
    read_index,
    write_index,
)
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic


@dataclass(frozen=True)
class Packed:
    """What a packing did.

    Attributes:
        index: of the library. bytes: of its arrays.
        fresh: frames that were imported now, the others were kept from before. seconds: of work they took, all cores together.
        lines: what the user should know of the files.
    """

    index: LibraryIndex
    bytes: int
    fresh: int
    seconds: float
    lines: list[str]


def pack(
    specs: Sequence[str | Path], out: str | Path, licence: str = "", strict: bool = False, workers: int | None = None
) -> Packed:
    """Import files and write them as a library, whole or not at all.

    Args:
        specs: motion files and folders.
        out: folder of the library; one that is there already is replaced.
        licence: of these motions, in words; by default the first line of a LICENSE file in the given folder.
        strict: stop at the first file that is refused.
        workers: processes; as many as there are cores by default.

    Raises:
        KitError: nothing to pack, a folder in the way, or a library that cannot be written.
    """
    out = Path(out)
    if out.exists() and not is_library(out) and (not out.is_dir() or any(out.iterdir())):
        raise KitError(f"{out}: exists and is no library; --out names a new folder or a library to be replaced")
    licences = {path: licence or _licence_of(Path(spec)) for spec in specs for path in find_motion_files(spec)}
    paths = list(licences)
    with _workers(workers or os.cpu_count() or 1, len(paths)) as work, bar(2 * len(paths), "packing") as show:
        done = _collect(work(_import_one, paths), strict, show, 2 * len(paths))
        fit = [one for one in done if one.clips]
        if not fit:
            raise KitError(f"none of {len(paths)} motion files can be used; the first: {paths[0]}: {done[0].refusal}")
        names = iter(unique_names([name for one in fit for name, *_ in one.clips]))
        entries = [
            ClipEntry(next(names), str(one.path), licences[one.path], frames, betas, gender, share)
            for one in fit
            for _, frames, betas, gender, share in one.clips
        ]
        refused = {str(one.path): one.refusal for one in done if one.refusal}
        key = hashlib.sha256("".join(one.digest for one in fit).encode()).hexdigest()[:12]
        index = LibraryIndex(entries, f"states-{key}.npy", f"torques-{key}.npy", refused, importer_version())
        arrays = [out / index.states, out / index.torques]
        if not all(array.is_file() for array in arrays):
            _write_arrays(arrays[0], arrays[1], fit, index.frames, work, lambda n: show(len(paths) + n, 2 * len(paths)))
    write_index(out, index)
    _remove_others(out, {array.name for array in arrays})
    fresh = [one for one in fit if one.seconds]
    return Packed(
        read_index(out),
        sum(array.stat().st_size for array in arrays),
        sum(one.frames for one in fresh),
        sum(one.seconds for one in fresh),
        told([Imported(one.path, (), one.notes, one.refusal) for one in done]),
    )


@dataclass(frozen=True)
class _Done:
    """What a worker says of a file: (name, frames, betas, gender, share without support) of each clip; seconds are 0 if it
    was kept from before."""

    path: Path
    clips: list[tuple[str, int, list[float], str, float]]
    notes: tuple[str, ...]
    refusal: str
    digest: str
    seconds: float

    @property
    def frames(self) -> int:
        return sum(frames for _, frames, *_ in self.clips)


def _import_one(path: Path) -> _Done:
    began = time.process_time()
    imported = import_file(path)
    seconds = 0.0 if imported.kept else time.process_time() - began
    digest = hashlib.sha256()
    clips = []
    for clip, share in zip(imported.clips, imported.unsupported, strict=True):
        for array in (clip.poses, clip.trans):
            digest.update(array.tobytes())
        clips.append((clip.name, len(clip), clip.betas.tolist() if clip.betas.any() else [], clip.gender, share))
    if clips:
        _torques(imported, digest.hexdigest())  # kept, for the writing
    notes = (*imported.notes, *imported.doubts)
    return _Done(path, clips, notes, imported.refusal, digest.hexdigest(), seconds)


def _torques(imported: Imported, digest: str) -> np.ndarray:
    """The torques that carry the clips of a file, one after the other: (F, 69) N m, from the cache if they are there."""
    kept = kept_path([], "torques", digest)
    found = load_kept(kept)
    if found is not None:
        return found[0]["torques"]
    states = (states_of(clip, mean_offsets()) for clip in imported.clips)
    torques = torch.cat([reference_torques(s, Humanoid.mean()) for s in states]).numpy()
    keep(kept, {"torques": torques}, {})
    return torques


def _collect(results: Iterable[_Done], strict: bool, show: Callable[[int, int], None], total: int) -> list[_Done]:
    done = []
    for one in results:
        if strict and one.refusal:
            raise KitError(f"{one.path}: {one.refusal}")
        done.append(one)
        show(len(done), total)
    return done


def _write_arrays(
    states: Path, torques: Path, files: list[_Done], frames: int, work, show: Callable[[int], None]
) -> None:
    """Every worker writes the rows of its files into the same two arrays on disk."""
    with atomic(states) as part, atomic(torques) as second:
        for path, width in ((part, STATE_WIDTH), (second, NUM_DOFS)):
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(frames, width)).flush()
        starts = np.cumsum([0, *(one.frames for one in files)])[:-1].tolist()
        tasks = [(one, part, second, start) for one, start in zip(files, starts, strict=True)]
        for n, _ in enumerate(work(_write_one, tasks), start=1):
            show(n)


def _write_one(task: tuple[_Done, Path, Path, int]) -> None:
    one, states, torques, start = task
    imported = import_file(one.path)
    if imported.frames != one.frames:
        raise KitError(f"{one.path}: changed while it was packed; pack again")
    rows = torch.cat([states_of(clip, mean_offsets()).pack() for clip in imported.clips]).numpy()
    for file, values in ((states, rows), (torques, _torques(imported, one.digest))):
        array = np.lib.format.open_memmap(file, mode="r+")
        array[start : start + len(values)] = values
        array.flush()


@contextmanager
def _workers(count: int, files: int) -> Iterator[Callable[[Callable, list], Iterable]]:
    """A `map` over processes, in order; in this process where that is as quick."""
    if count == 1 or files < 4:
        yield map
        return
    pool = ProcessPoolExecutor(min(count, files), mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool.map
    except BrokenProcessPool as fault:
        raise KitError("a worker was ended from outside; is there enough memory? Try --workers 1") from fault
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which then lets us finish
    torch.set_num_threads(1)


def _licence_of(spec: Path) -> str:
    for path in sorted(spec.glob("LICEN[CS]E*")) if spec.is_dir() else ():
        with suppress(OSError):
            lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
            return next((line for line in lines if line), "not stated")
    return "not stated"


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in folder.glob("*-*.npy"):
        if path.name not in kept:
            with suppress(OSError):  # another process may have it mapped, where that is a hindrance
                path.unlink()
