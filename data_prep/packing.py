"""Packs motion files into a library, in parallel; the command is `data_prep.pack`."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from data_prep.cache import importer_version, keep, kept_path, load_kept
from data_prep.imported import Imported, import_file
from data_prep.named import find_motion_files
from data_prep.sources import summarize, with_progress
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
    """The result of packing.

    Attributes:
        index: of the library. bytes: of its arrays.
        fresh: frames that were imported now, not taken from the cache. seconds: CPU time of their import, all cores together.
        lines: notes and refusals, for the user.
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
        out: folder of the library; an existing library is replaced.
        licence: of these motions, in words; by default the first line of a LICENSE file in the given folder.
        strict: stop at the first file that is refused.
        workers: number of processes; one per core by default.

    Raises:
        KitError: nothing to pack, `out` is another folder, or the library cannot be written.
    """
    out = Path(out)
    if out.exists() and not is_library(out) and (not out.is_dir() or any(out.iterdir())):
        raise KitError(f"{out}: exists and is no library; --out takes a new folder or a library to be replaced")
    licences = {path: licence or _licence_of(Path(spec)) for spec in specs for path in find_motion_files(spec)}
    paths = list(licences)
    with _workers(workers or os.cpu_count() or 1, len(paths)) as work:
        done = []
        for one in with_progress(work(_import_one, paths), len(paths), "importing"):
            if strict and one.refusal:
                raise KitError(f"{one.path}: {one.refusal}")
            done.append(one)
        fit = [one for one in done if one.clips]
        if not fit:
            raise KitError(f"none of {len(paths)} motion files can be used; the first: {paths[0]}: {done[0].refusal}")
        clips = [replace(clip, licence=licences[one.path]) for one in fit for clip in one.clips]
        names = unique_names([clip.name for clip in clips])
        entries = [replace(clip, name=name) for clip, name in zip(clips, names, strict=True)]
        refused = {str(one.path): one.refusal for one in done if one.refusal}
        key = hashlib.sha256("".join(one.digest for one in fit).encode()).hexdigest()[:12]
        index = LibraryIndex(entries, f"states-{key}.npy", f"torques-{key}.npy", refused, importer_version())
        arrays = [out / index.states, out / index.torques]
        if not all(array.is_file() for array in arrays):
            _write_arrays(arrays[0], arrays[1], fit, index.frames, work)
    write_index(out, index)
    _remove_others(out, {array.name for array in arrays})
    fresh = [one for one in fit if one.seconds]
    return Packed(
        read_index(out),
        sum(array.stat().st_size for array in arrays),
        sum(one.frames for one in fresh),
        sum(one.seconds for one in fresh),
        summarize([Imported(one.path, (), one.notes, one.refusal) for one in done]),
    )


@dataclass(frozen=True)
class _Done:
    """A worker's report on a file; its clips have no licence yet, and `seconds` is 0 if it was cached."""

    path: Path
    clips: list[ClipEntry]
    notes: tuple[str, ...]
    refusal: str
    digest: str
    seconds: float

    @property
    def frames(self) -> int:
        return sum(clip.frames for clip in self.clips)


def _import_one(path: Path) -> _Done:
    began = time.process_time()
    imported = import_file(path)
    seconds = 0.0 if imported.kept else time.process_time() - began
    digest = hashlib.sha256()
    clips = []
    for clip, share in zip(imported.clips, imported.unsupported, strict=True):
        for array in (clip.poses, clip.trans):
            digest.update(array.tobytes())
        betas = clip.betas.tolist() if clip.betas.any() else []
        clips.append(ClipEntry(clip.name, str(path), "", len(clip), betas, clip.gender, share))
    if clips:
        _torques(imported, digest.hexdigest())  # computed now, in parallel, and cached for `_write_one`
    notes = (*imported.notes, *imported.doubts)
    return _Done(path, clips, notes, imported.refusal, digest.hexdigest(), seconds)


def _torques(imported: Imported, digest: str) -> np.ndarray:
    """The torques of a file's clips by inverse dynamics, concatenated: (F, 69) N m; cached."""
    kept = kept_path([], "torques", digest)
    if found := load_kept(kept):
        return found[0]["torques"]
    states = (states_of(clip, mean_offsets()) for clip in imported.clips)
    torques = torch.cat([reference_torques(s, Humanoid.mean()) for s in states]).numpy()
    keep(kept, {"torques": torques}, {})
    return torques


def _write_arrays(states: Path, torques: Path, files: list[_Done], frames: int, work: Callable) -> None:
    """Every worker writes the rows of its files into the same two arrays on disk."""
    with atomic(states) as part, atomic(torques) as second:
        for path, width in ((part, STATE_WIDTH), (second, NUM_DOFS)):
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(frames, width)).flush()
        starts = np.cumsum([0, *(one.frames for one in files)])[:-1].tolist()
        tasks = [(one, part, second, start) for one, start in zip(files, starts, strict=True)]
        for _ in with_progress(work(_write_one, tasks), len(tasks), "writing"):
            pass


def _write_one(task: tuple[_Done, Path, Path, int]) -> None:
    one, states, torques, start = task
    imported = import_file(one.path)
    if imported.frames != one.frames:
        raise KitError(f"{one.path}: changed during packing; pack again")
    rows = torch.cat([states_of(clip, mean_offsets()).pack() for clip in imported.clips]).numpy()
    for file, values in ((states, rows), (torques, _torques(imported, one.digest))):
        array = np.lib.format.open_memmap(file, mode="r+")
        array[start : start + len(values)] = values
        array.flush()


@contextmanager
def _workers(count: int, files: int) -> Iterator[Callable[[Callable, list], Iterable]]:
    """A `map` over processes, in order; plain `map` for one process or few files."""
    if count == 1 or files < 4:
        yield map
        return
    # a server that imported torch once is forked on Linux; elsewhere every worker imports it
    context = get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(min(count, files), context, _begin_worker, (dict(os.environ),))
    try:
        yield pool.map
    except BrokenProcessPool as fault:
        raise KitError("a worker process was killed; is there enough memory? Try --workers 1") from fault
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(environment: dict[str, str]) -> None:
    os.environ.clear()  # as it was when the server was started
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the main process, which lets workers finish
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
            with suppress(OSError):  # on Windows it cannot be removed while another process has it mapped
                path.unlink()
