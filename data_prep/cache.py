"""What cost time to make is kept for the next run: imported motions by content and importer, in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic, read_arrays

FORGOTTEN = 30 * 24 * 3600
"""s: what another version of the importers made and nobody wrote to for so long is removed."""


def cache_folder() -> Path:
    """Where detections and imported motions are kept: PHYSHMR_CACHE, else physhmr_kit in the user's cache folder."""
    named = os.environ.get("PHYSHMR_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physhmr_kit"


@cache
def importer_version() -> str:
    """Changes with every line of the code that imports or makes motions: the rooms data_prep, motion and body."""
    from physhmr_kit import body, motion

    rooms = (Path(__file__).parent, Path(motion.__file__).parent, Path(body.__file__).parent)
    seen = hashlib.sha256()
    for file in (file for room in rooms for file in sorted(room.rglob("*.py"))):
        seen.update(file.read_bytes())
    return seen.hexdigest()[:16]


def kept_path(files: list[Path], *what: object) -> Path:
    """Where what is made of these files is kept: named by their content, `what` else matters, and the importer's version.

    Raises:
        OSError: a file cannot be read.
    """
    key = hashlib.sha256(repr(what).encode())
    for path in files:
        with open(path, "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return cache_folder() / "clips" / importer_version() / f"{key.hexdigest()[:32]}.npz"


def load_kept(path: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays and the record that `keep` wrote; None when there is nothing readable."""
    with suppress(KitError, KeyError, ValueError):
        arrays = read_arrays(path, "cached motion")
        return arrays, json.loads(str(arrays.pop("record")))
    return None


def keep(path: Path, arrays: dict[str, np.ndarray], record: dict) -> None:
    """Keep arrays and a record (JSON) for the next run. A folder that cannot be written keeps nothing, and nothing is said."""
    fresh = not path.parent.exists()
    with suppress(KitError), atomic(path) as part, open(part, "wb") as file:
        arrays = {**arrays, "record": np.array(json.dumps(record))}
        # uncompressed: read far more often than written; NumPy's stub holds any keyword to be `allow_pickle`
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take a name for allow_pickle
    if fresh:
        _forget_other_versions(path.parent)


def _forget_other_versions(current: Path) -> None:
    with suppress(OSError):
        for folder in current.parent.iterdir():
            if folder != current and time.time() - folder.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(folder, ignore_errors=True)
