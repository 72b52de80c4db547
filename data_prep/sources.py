"""`load_clips` and `load_library`: motions at 30 fps from files, folders, packed libraries, "demo" and "generated"."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from data_prep.imported import Imported, import_file, left_out
from data_prep.made import made_clips
from data_prep.named import find_motion_files, is_made
from data_prep.retargeting.support import is_doubted
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.library import MotionLibrary, unique_names
from physhmr_kit.motion.library_files import is_library, read_index
from physhmr_kit.utils.errors import KitError

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """The items, with a progress bar on stderr if that is a terminal and there are at least four."""
    if total < 4 or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, title, total, console=Console(stderr=True), transient=True)


_printed: set[str] = set()


def _warn(lines: list[str]) -> None:
    """Print lines on stderr, each once per process, however often a file is loaded."""
    for line in lines:
        if line not in _printed:
            _printed.add(line)
            print(line, file=sys.stderr)


def summarize(imported: Sequence[Imported]) -> list[str]:
    """Lines for the user: notes, grouped over files with the same one, and the files that were refused, with the reason."""
    by_note: dict[str, list[Path]] = {}
    for one in imported:
        for note in (*one.notes, *one.doubts):
            by_note.setdefault(note, []).append(one.path)
    lines = []
    for note, paths in by_note.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        lines.append(f"{paths[0]}{more}: {note}")
    refused = [one for one in imported if one.refusal]
    if refused:
        lines.append(f"{len(refused)} of {len(imported)} motion files skipped:")
        lines += [f"  {one.path}: {one.refusal}" for one in refused]
    return lines


def load_clips(
    specs: Sequence[str | Path],
    check: bool = True,
    strict: bool = False,
    cached: bool = True,
    skip_unsupported: bool = False,
) -> list[Clip]:
    """Clips at 30 fps from any mixture of sources, each with a name of its own.

    Args:
        specs: "demo" (all demo motions), "demo:<name>", "generated:<count>" or "generated:<count>:<seed>" (see
            `motion.generator`), a .bvh, .npz, .npy, .pkl or .amc file (with its .asf beside it), a library written by
            `data_prep.pack`, or a folder, searched recursively in sorted order: files that are no motions are ignored, and
            a motion that is refused is skipped and listed on stderr. Captured motions are retargeted and put on the floor.
        check: refuse or repair motions that cannot be tracked as they are (`check_clip`), and report repairs on stderr;
            without it motions are returned as they were read, for viewing.
        strict: stop at a folder's first motion that is refused.
        cached: use the cache of imported motions in the user's cache folder (`data_prep.cache`).
        skip_unsupported: leave out clips that lack support (`data_prep.retargeting.support`), and list them on stderr.

    Returns:
        the clips in the order given; a second clip of the same name is called <name>_2, and so on.

    Raises:
        KitError: a source is missing, unreadable or broken, or cannot be tracked; names the file and the fault.
    """
    if isinstance(specs, str | Path):
        specs = [specs]
    clips: list[Clip] = []
    lines: list[str] = []
    skipped: list[str] = []
    for spec in specs:
        if is_made(str(spec)):
            clips += made_clips(str(spec))
        elif is_library(spec):
            library, more = _open(spec, skip_unsupported)
            clips += library.clips() if library else []
            skipped += more
        else:
            paths = find_motion_files(spec)
            shown = with_progress(paths, len(paths), f"reading {len(paths)} motions")
            imported = [import_file(path, check, cached) for path in shown]
            _refuse(spec, imported, strict)
            if skip_unsupported:
                parts = [one.supported() for one in imported]
                imported = [one for one, _ in parts]
                skipped += [line for _, more in parts for line in more]
            clips += [clip for one in imported for clip in one.clips]
            lines += summarize(imported) if check else []
    if not clips:
        raise _nothing_left(skipped) if skipped else KitError("no clips given; name files, folders or 'demo'")
    _warn(lines + _listed(skipped))  # after all were read, so that an error is printed alone
    names = unique_names([clip.name for clip in clips])
    return [c if c.name == name else replace(c, name=name) for c, name in zip(clips, names, strict=True)]


def _refuse(spec: str | Path, imported: list[Imported], strict: bool) -> None:
    refused = [one for one in imported if one.refusal]
    if refused and (strict or not Path(spec).is_dir()):
        raise KitError(f"{refused[0].path}: {refused[0].refusal}")
    if len(refused) == len(imported):
        raise KitError(
            f"{spec}: none of its {len(refused)} motion files can be used; the first: {refused[0].path}: {refused[0].refusal}"
        )


def load_library(specs: Sequence[str | Path], strict: bool = False, skip_unsupported: bool = False) -> MotionLibrary:
    """The motions of `load_clips` as a library, packed ones first; a single packed one is memory-mapped, whatever its size.

    Raises:
        KitError: see `load_clips`.
    """
    specs = [specs] if isinstance(specs, str | Path) else list(specs)
    opened = [_open(spec, skip_unsupported) for spec in specs if is_library(spec)]
    packed = [library for library, _ in opened if library]
    skipped = [line for _, lines in opened for line in lines]
    others = [spec for spec in specs if not is_library(spec)]
    if others or not opened:
        packed.append(MotionLibrary(load_clips(others, strict=strict, skip_unsupported=skip_unsupported)))
    if not packed:
        raise _nothing_left(skipped)
    _warn(_listed(skipped))
    return packed[0] if len(packed) == 1 else MotionLibrary.joined(packed)


def _open(spec: str | Path, skip_unsupported: bool) -> tuple[MotionLibrary | None, list[str]]:
    """A packed library, or None if no clip of it is left, and a line for each clip that was left out."""
    library = MotionLibrary.open(spec)
    if not skip_unsupported:
        return library, []
    shares = [entry.unsupported for entry in read_index(spec).clips]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        raise KitError(f"{spec}: packed by a version that did not check support; pack it again")
    doubted = [is_doubted(share) for share in known]
    lines = [
        f"{spec}: {left_out(n, share)}" for n, share in zip(library.names, known, strict=True) if is_doubted(share)
    ]
    return (None if all(doubted) else library.only([not leaves for leaves in doubted])), lines


def _listed(skipped: list[str]) -> list[str]:
    heading = f"{len(skipped)} clip(s) left out for lack of support:"
    return [heading, *(f"  {line}" for line in skipped)] if skipped else []


def _nothing_left(skipped: list[str]) -> KitError:
    return KitError(f"all {len(skipped)} clips are left out for lack of support; the first: {skipped[0]}")
