"""What other tools saved with PyTorch, NumPy or joblib, read without running what a file may hold.

All three formats are pickles at heart, and a pickle can run any code. Here only arrays, tensors and containers are
built; a file that asks for anything else is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from physhmr_kit.body.safe_pickle import _ALLOWED
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import refuse_other_kind

_COMPRESSION: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x78": zlib.decompress, b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress, b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00": lzma.decompress,
}  # fmt: skip


def read_torch(path: str | os.PathLike) -> Any:
    """What `torch.save` wrote: tensors, NumPy arrays and containers, on the CPU.

    Raises:
        KitError: missing or damaged file, or one that asks for anything else.
    """
    path = _existing(path)
    rebuild = np.zeros(0).__reduce__()[0]
    numpy_only: list[Any] = [
        *((rebuild, f"{home}.multiarray._reconstruct") for home in ("numpy.core", "numpy._core")), np.ndarray, np.dtype,
        *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "bool")),
    ]  # fmt: skip
    try:
        with torch.serialization.safe_globals(numpy_only):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        if "GLOBAL" in str(fault) or "global" in str(fault):
            raise KitError(
                f"{path}: asks for {_asked(fault)}, which is neither a tensor nor a container; not run"
            ) from None
        raise KitError(f"{path}: not a readable PyTorch file ({str(fault).splitlines()[0]})") from fault
    except Exception as fault:  # a damaged archive raises almost anything (zipfile, RuntimeError, struct)
        raise KitError(f"{path}: not a readable PyTorch file ({str(fault).splitlines()[0]})") from fault


def read_object_array(path: str | os.PathLike) -> object:
    """What `np.save` wrote; of a single Python object (a dictionary, say) the object itself.

    Raises:
        KitError: missing or damaged file, or one that asks for anything but arrays, tensors and containers.
    """
    path = _existing(path)
    try:
        return _from_npy(path.read_bytes())
    except KitError as fault:
        raise KitError(f"{path}: {fault}") from None
    except Exception as fault:
        raise KitError(f"{path}: not a readable .npy ({type(fault).__name__}: {fault})") from fault


def read_npz(path: str | os.PathLike, kind: str = "archive") -> dict[str, object]:
    """What `np.savez` wrote, Python objects in it included, as far as they are arrays, tensors and containers.

    Members that ask for anything else are left out, for a motion needs only some of a file.

    Raises:
        KitError: missing, damaged or empty file, or one of another kind.
    """
    path = _existing(path)
    refuse_other_kind(path, f"an .npz {kind}", b"PK")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            if not names:
                held = ", ".join(archive.namelist()[:5])
                raise KitError(f"not an .npz {kind} but a zip archive of {held}" if held else "an empty archive")
            found = {}
            for name in names:
                with suppress(KitError):
                    found[name.removesuffix(".npy")] = _from_npy(archive.read(name))
            return found
    except KitError as fault:
        raise KitError(f"{path}: {fault}") from None
    except Exception as fault:  # a damaged archive raises almost anything (zlib, zipfile, tokenize)
        raise KitError(f"{path}: not a readable .npz {kind} ({fault})") from fault


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
    """What `joblib.dump` wrote, plain or compressed (zlib, gzip, bz2, xz).

    Raises:
        KitError: missing or damaged file, another compression, or a file that asks for anything but arrays, tensors
            and containers.
    """
    path = _existing(path)
    data = path.read_bytes()
    try:
        unpack = next((f for start, f in _COMPRESSION.items() if data.startswith(start)), None)
        return _Reader(io.BytesIO(unpack(data) if unpack else data)).load()
    except KitError as fault:
        raise KitError(f"{path}: {fault}") from None
    except Exception as fault:
        raise KitError(f"{path}: not a readable joblib file ({type(fault).__name__}: {fault})") from fault


_BUILD: Callable[..., None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class _Reader(pickle._Unpickler):
    """Python's own unpickler (the one joblib builds on), which finds only what is listed."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, file: io.BytesIO):
        super().__init__(file, encoding="latin1")
        self.file = file

    def find_class(self, module, name):
        if (module, name) in _ALLOWED:
            return getattr(import_module(module.replace("numpy.core", "numpy._core")), name)
        if (module, name) in _BUILDERS:
            return _BUILDERS[module, name]
        if module.split(".")[0] == "joblib" and name == "NumpyArrayWrapper":
            return _JoblibArray
        raise KitError(f"asks for {module}.{name}, which is neither an array nor a container; not run")

    def load_build(self):
        _BUILD(self)
        if isinstance(self.stack[-1], _JoblibArray):
            self.stack[-1] = self.stack[-1].read(self.file)

    dispatch[pickle.BUILD[0]] = load_build


class _JoblibArray:
    """Stand-in for joblib's `NumpyArrayWrapper`: a description in the pickle, the array's bytes right behind it."""

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
    """One array of what a file holds, as float32 with the shape it must have.

    Args:
        data: what a reader above returned. path: its file, for messages.
        keys: the way down through dictionaries; none for an array that is the whole file.
        shape: expected sizes, None for any. Axes of length one in excess, at the front or before the last, are dropped.

    Raises:
        KitError: missing key, something that is no array, another shape, no rows, or values that are not finite.
    """
    label = ".".join(str(k) for k in keys) or "the array"
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            held = ", ".join(str(k) for k in data) if isinstance(data, dict) else type(data).__name__
            raise KitError(f"{path}: no '{label}' in the file, which holds {held}")
        data = data[key]
    try:
        value = (
            data.detach().double() if isinstance(data, torch.Tensor) else torch.as_tensor(np.asarray(data, np.float64))
        )
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


def _existing(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    return path


def _asked(fault: Exception) -> str:
    words = str(fault).replace(",", " ").split()
    return next((words[i + 1] for i, w in enumerate(words[:-1]) if w == "GLOBAL"), "something")
