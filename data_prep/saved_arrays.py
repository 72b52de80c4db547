"""Reads files saved with PyTorch, NumPy or joblib without running code in them.

All three formats contain pickles, and a pickle can run any code. Here only arrays, tensors and containers are built; a file
that needs any other class is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from physhmr_kit.body.safe_pickle import ARRAY_CLASSES
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import refuse_other_kind

_COMPRESSION: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x78": zlib.decompress, b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress, b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00": lzma.decompress,
}  # fmt: skip


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a `KitError` that names the file and what it should be."""
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    try:
        yield
    except KitError as fault:
        raise KitError(f"{path}: {fault}") from None
    except Exception as fault:  # a damaged file raises almost anything (zlib, zipfile, struct, tokenize)
        message = (str(fault) or type(fault).__name__).splitlines()[0]
        raise KitError(f"{path}: not a readable {what} ({message})") from fault


def read_torch(path: str | os.PathLike) -> Any:
    """Read what `torch.save` wrote, if it holds only tensors, NumPy arrays and containers; tensors are on the CPU.

    Raises:
        KitError: missing or damaged file, or one that needs any other class.
    """
    rebuild = np.zeros(0).__reduce__()[0]
    numpy_only: list[Any] = [
        *((rebuild, f"{home}.multiarray._reconstruct") for home in ("numpy.core", "numpy._core")), np.ndarray, np.dtype,
        *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "bool")),
    ]  # fmt: skip
    with _reading(Path(path), "PyTorch file"), torch.serialization.safe_globals(numpy_only):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as fault:
            if "global" in str(fault).lower():
                name = re.search(r"GLOBAL\W+(\S+)", str(fault))
                raise _refused(name[1] if name else "something") from None
            raise


def read_object_array(path: str | os.PathLike) -> object:
    """Read what `np.save` wrote; a single Python object (a dictionary, say) is returned itself.

    Raises:
        KitError: missing or damaged file, or one that needs any class but arrays, tensors and containers.
    """
    path = Path(path)
    with _reading(path, ".npy"):
        return _from_npy(path.read_bytes())


def read_npz(path: str | os.PathLike, kind: str = "archive") -> dict[str, object]:
    """Read what `np.savez` wrote, including Python objects made of arrays, tensors and containers.

    Members that need any other class are left out: a motion needs only some of a file.

    Raises:
        KitError: missing, damaged or empty file, or one of another kind.
    """
    path = Path(path)
    refuse_other_kind(path, f"an .npz {kind}", b"PK")
    with _reading(path, f".npz {kind}"), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if not names:
            held = ", ".join(archive.namelist()[:5])
            raise KitError(f"not an .npz {kind} but a zip archive of {held}" if held else "an empty archive")
        found = {}
        for name in names:
            with suppress(KitError):
                found[name.removesuffix(".npy")] = _from_npy(archive.read(name))
        return found


def _from_npy(data: bytes) -> object:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if not dtype.hasobject:
        return np.load(io.BytesIO(data), allow_pickle=False)
    found = np.asarray(_Reader(file).load(), dtype=object)
    return found.item() if shape == () else found


def read_joblib(path: str | os.PathLike) -> object:
    """Read what `joblib.dump` wrote, plain or compressed (zlib, gzip, bz2, xz).

    Raises:
        KitError: missing or damaged file, another compression, or a file that needs any class but arrays, tensors and
            containers.
    """
    path = Path(path)
    with _reading(path, "joblib file"):
        data = path.read_bytes()
        unpack = next((f for start, f in _COMPRESSION.items() if data.startswith(start)), None)
        return _Reader(io.BytesIO(unpack(data) if unpack else data)).load()


_BUILD: Callable[..., None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class _Reader(pickle._Unpickler):
    """Python's own unpickler (the one joblib builds on), restricted to the listed classes."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, file: io.BytesIO):
        super().__init__(file, encoding="latin1")
        self.file = file

    def find_class(self, module, name):
        if (module, name) in ARRAY_CLASSES:
            return getattr(import_module(module.replace("numpy.core", "numpy._core")), name)
        if (module, name) in _BUILDERS:
            return _BUILDERS[module, name]
        if module.split(".")[0] == "joblib" and name == "NumpyArrayWrapper":
            return _JoblibArray
        raise _refused(f"{module}.{name}")

    def load_build(self):
        _BUILD(self)
        if isinstance(self.stack[-1], _JoblibArray):
            self.stack[-1] = self.stack[-1].read(self.file)

    dispatch[pickle.BUILD[0]] = load_build


class _JoblibArray:
    """Stand-in for joblib's `NumpyArrayWrapper`: a description in the pickle, followed by the array's bytes."""

    dtype: Any
    shape: tuple[int, ...]
    order: str

    def read(self, file: io.BytesIO) -> np.ndarray:
        dtype = np.dtype(self.dtype)
        if dtype.hasobject:
            raise KitError("holds an array of Python objects, which is not read")
        if getattr(self, "numpy_array_alignment_bytes", None) is not None:
            file.read(file.read(1)[0])  # joblib >= 1.2 pads; the first byte says by how much
        size = int(np.prod(self.shape, dtype=np.int64)) * dtype.itemsize
        data = file.read(size)
        if len(data) < size:
            raise KitError("the file is cut short")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.order == "F" else "C").copy()


def _storage(data: bytes):
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_BUILDERS = {
    ("collections", "OrderedDict"): OrderedDict, ("collections", "defaultdict"): defaultdict,
    ("builtins", "dict"): dict, ("builtins", "list"): list, ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
}  # fmt: skip


def take(data: object, path: str | os.PathLike, *keys, shape: tuple) -> torch.Tensor:
    """One array of a file's contents as float32, with its shape checked.

    Args:
        data: returned by a reader above. path: its file, for messages.
        keys: keys of nested dictionaries; none if the array is the whole file.
        shape: expected sizes, None for any. An extra axis of length one, the first or the last but one, is dropped.

    Raises:
        KitError: missing key, not an array of numbers, another shape, no rows, or values that are not finite.
    """
    label = ".".join(str(k) for k in keys) or "the array"
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            held = ", ".join(str(k) for k in data) if isinstance(data, dict) else type(data).__name__
            raise KitError(f"{path}: no '{label}' in the file, which holds {held}")
        data = data[key]
    try:
        array = data.detach() if isinstance(data, torch.Tensor) else np.asarray(data, np.float64)
        value = torch.as_tensor(array, dtype=torch.float64)
    except (TypeError, ValueError) as fault:
        raise KitError(f"{path}: '{label}' is not an array of numbers") from fault
    found = tuple(value.shape)
    for axis in (0, -2):
        if value.ndim == len(shape) + 1 and value.ndim >= 2 and value.shape[axis] == 1:
            value = value.squeeze(axis)
    if value.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, value.shape, strict=True)):
        wanted = ", ".join("frames" if n is None else str(n) for n in shape)
        raise KitError(f"{path}: '{label}' has shape {found}; expected ({wanted})")
    if 0 in value.shape:
        raise KitError(f"{path}: '{label}' is empty")
    if not torch.isfinite(value).all():
        raise KitError(f"{path}: '{label}' holds values that are not finite")
    return value.float()


def _refused(name: str) -> KitError:
    return KitError(f"needs {name}, which is neither an array nor a container; not run")
