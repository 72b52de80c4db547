"""What a user names as motions: files, folders, libraries, motions that the kit makes. Free of torch, so that a missing file, a
Git-LFS pointer or an empty folder is refused at once.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from physhmr_kit.motion.library_files import is_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import refuse_no_text, refuse_other_kind

_PICKLE = ("a pickle", (b"\x80", b"\x78", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"\x5d\x00", b"(", b"c"))

STARTS: dict[str, tuple[str, tuple[bytes, ...]] | None] = {
    ".npz": ("an .npz clip", (b"PK",)), ".bvh": None, ".amc": None, ".npy": ("an .npy array", (b"\x93NUMPY",)),
    ".pkl": _PICKLE, ".pickle": _PICKLE, ".joblib": _PICKLE,
}  # fmt: skip
"""The kinds of files the kit reads, by suffix: what they are called and how they begin; nothing for text."""

MADE = ("demo", "generated")
"""What the kit makes itself: demo, demo:NAME, generated:COUNT, generated:COUNT:SEED."""

_NO_MOTIONS = ("shape.npz", "*_stagei.npz", "track.npz", "rollout.npz", ".*")
_POSES = ("pose", "trans", "joints", "positions", "results")


def check_named(specs: Sequence[str | Path]) -> None:
    """Refuse what can be refused without reading a motion.

    Raises:
        KitError: no such file or folder, a kind of file the kit does not read or that is not what its suffix says, a folder
            without motions, or a word that is not understood.
    """
    for spec in specs:
        if is_made(str(spec)):
            if str(spec).startswith("generated"):
                count_and_seed(str(spec))
        elif Path(spec).is_dir():
            if not is_library(spec) and next(_motions_in(_files_in(Path(spec))), None) is None:
                find_motion_files(spec)  # which says why
        else:
            refuse_other_start(*find_motion_files(spec))


def refuse_other_start(path: Path) -> None:
    """Refuse a file that does not begin as its suffix says, calling it what it is.

    Raises:
        KitError: such a file, or none at all.
    """
    words = STARTS[path.suffix.lower()]
    if words:
        wanted, magic = words
        refuse_other_kind(path, wanted, *magic)
    else:
        refuse_no_text(path)


def find_motion_files(spec: str | Path) -> list[Path]:
    """The motion files a path names: itself, or all below a folder in sorted order, without what is no motion.

    Raises:
        KitError: no such path, a kind of file the kit cannot read, or a folder without motions.
    """
    path = Path(spec)
    if path.is_dir():
        found = list(_files_in(path))
        motions = list(_motions_in(found))
        if not motions:
            passed = f"; {len(found)} file(s) passed over hold none ({found[0].name} ...)" if found else ""
            raise KitError(f"{path}: no motion files in this folder; expected {', '.join(STARTS)}{passed}")
        return motions
    if path.suffix.lower() not in STARTS:
        known = ", ".join(STARTS)
        if path.exists():
            raise KitError(f"{path}: not a motion file of a known kind ({known})")
        raise KitError(
            f"{path}: no such file or folder; expected {known}, a folder, 'demo', 'demo:<name>' or 'generated:<count>'"
        )
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    return [path]


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in STARTS and path.is_file())


def _motions_in(files: Iterable[Path]) -> Iterator[Path]:
    return (path for path in files if not _is_no_motion(path))


def _is_no_motion(path: Path) -> bool:
    """Whether a file in a folder is what lies beside motions: body shapes, calibrations, the kit's own tracks and
    rollouts, hidden files.

    Known by name, or an archive in which no array is named as poses or positions are. A damaged one is not passed over.
    """
    if any(fnmatch(path.name.lower(), pattern) for pattern in _NO_MOTIONS):
        return True
    if path.suffix.lower() != ".npz":
        return False
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = [name.lower() for name in archive.namelist()]
        return bool(names) and not any(word in name for name in names for word in _POSES)
    return False


def is_made(spec: str) -> bool:
    """Whether the kit makes what is asked for; see `MADE`."""
    return spec.partition(":")[0] in MADE


def count_and_seed(spec: str) -> tuple[int, int]:
    """What 'generated:COUNT' or 'generated:COUNT:SEED' asks for; the seed is 0 where none is given.

    Raises:
        KitError: written otherwise.
    """
    try:
        count, seed = (int(word) for word in (*spec.split(":")[1:], "0")[:2])
        if spec.count(":") > 2 or count < 1 or seed < 0:
            raise ValueError
    except ValueError:
        raise KitError(f"{spec}: expected generated:COUNT or generated:COUNT:SEED, e.g. generated:200") from None
    return count, seed
