"""Caches imported and generated motions in the user's cache folder, keyed by file content and importer version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic, read_arrays

if TYPE_CHECKING:
    from physhmr_kit.motion.clip import Clip

FORGOTTEN = 30 * 24 * 3600
"""s: the cache of another importer version is removed if it was not written to for so long."""


def cache_folder() -> Path:
    """Folder of cached detections and motions: PHYSHMR_CACHE, else physhmr_kit in the user's cache folder."""
    if folder := os.environ.get("PHYSHMR_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physhmr_kit"


@cache
def importer_version() -> str:
    """A hash of the code that imports or generates motions: the packages data_prep, motion and body."""
    from physhmr_kit import body, motion

    rooms = (Path(__file__).parent, Path(motion.__file__).parent, Path(body.__file__).parent)
    digest = hashlib.sha256()
    for file in (file for room in rooms for file in sorted(room.rglob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def kept_path(files: list[Path], *what: object) -> Path:
    """The cache file of a result computed from these files; the key is their content, `what`, and the importer version.

    Raises:
        OSError: a file cannot be read.
    """
    key = hashlib.sha256(repr(what).encode())
    for path in files:
        with open(path, "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return cache_folder() / "clips" / importer_version() / f"{key.hexdigest()[:32]}.npz"


def load_kept(path: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays and the record that `keep` wrote; None if there is nothing readable."""
    with suppress(KitError, KeyError, ValueError):
        arrays = read_arrays(path, "cached motion")
        return arrays, json.loads(str(arrays.pop("record")))
    return None


def keep(path: Path, arrays: dict[str, np.ndarray], record: dict) -> None:
    """Cache arrays and a record (JSON). A folder that cannot be written is silently ignored."""
    fresh = not path.parent.exists()
    with suppress(KitError), atomic(path) as part, open(part, "wb") as file:
        arrays = {**arrays, "record": np.array(json.dumps(record))}
        # uncompressed, as it is read far more often than written
        np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes any keyword for allow_pickle
    if fresh:
        _forget_other_versions(path.parent)


def load_kept_clips(path: Path) -> tuple[list[Clip], dict] | None:
    """The clips (30 fps) and the record that `keep_clips` wrote; None if there is nothing readable."""
    from physhmr_kit.motion.clip import CONTROL_FPS, Clip

    if not (found := load_kept(path)):
        return None
    arrays, record = found
    clips = [
        Clip(arrays[f"poses{n}"], arrays[f"trans{n}"], CONTROL_FPS, name, arrays[f"betas{n}"], gender)
        for n, (name, gender) in enumerate(record.pop("clips"))
    ]
    return clips, record


def keep_clips(path: Path, clips: Sequence[Clip], **record) -> None:
    """Cache clips of 30 fps and a record (JSON)."""
    arrays = {f"{key}{n}": getattr(clip, key) for n, clip in enumerate(clips) for key in ("poses", "trans", "betas")}
    keep(path, arrays, {**record, "clips": [(clip.name, clip.gender) for clip in clips]})


def _forget_other_versions(current: Path) -> None:
    with suppress(OSError):
        for folder in current.parent.iterdir():
            if folder != current and time.time() - folder.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(folder, ignore_errors=True)
