"""Atomic file writes, and reading of NumPy archives that may be damaged."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import refuse_other_kind


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary file beside `path` to write to; it is renamed to `path` when the block ends.

    If the block fails, the temporary file is removed and `path` stays as it was. Folders are created. The temporary name
    keeps the suffix, by which many writers choose their format.

    Raises:
        KitError: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as fault:
        raise KitError(f"{path}: cannot be written ({fault.strerror or fault})") from fault
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)  # still there if the block failed


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file atomically (UTF-8, line ends unchanged).

    Raises:
        KitError: the file cannot be written.
    """
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def write_arrays(path: str | os.PathLike, **arrays) -> Path:
    """Write a compressed .npz atomically.

    Raises:
        KitError: the file cannot be written.
    """
    with atomic(path) as part, open(part, "wb") as file:  # given a name, NumPy would append .npz
        np.savez_compressed(file, **arrays)
    return Path(path)


def read_arrays(path: str | os.PathLike, kind: str, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz, without pickles.

    Args:
        kind: what the file should be, for messages: 'clip', 'keypoint file'.
        keys: arrays to read if present; all by default.

    Raises:
        KitError: missing or damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such {kind}")
    try:
        refuse_other_kind(path, f"an .npz {kind}", b"PK")
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files if keys is None or key in keys}
    except KitError:
        raise
    except Exception as fault:  # a damaged archive raises almost anything (zlib, zipfile, tokenize)
        if "allow_pickle" in str(fault):  # NumPy's message recommends unsafe loading
            fault = ValueError("it holds Python objects, which are not read")
        raise KitError(f"{path}: not a readable .npz {kind} ({fault})") from fault
