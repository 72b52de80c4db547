"""Restricted unpickler that only builds arrays and containers.

SMPL and several datasets are distributed as pickles, and a pickle can run arbitrary code. This reader allows only the classes
in a short list, so an untrusted file can at worst fail to load.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from physhmr_kit.utils.errors import KitError

ARRAY_CLASSES = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"), ("builtins", "bytearray"),
    ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "complex"), ("_codecs", "encode"),
}  # fmt: skip
"""(module, name) of everything that pickled arrays and containers need."""


class _Chumpy:
    """Stand-in for `chumpy.ch.Ch` of SMPL 1.0: keeps the underlying array, so chumpy is not needed."""

    def __setstate__(self, state):
        self.x = state.get("x") if isinstance(state, dict) else state

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.x, dtype)


class _Sparse:
    """Stand-in for SciPy's compressed sparse column matrix; converts to a dense array."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    def __setstate__(self, state):
        self.__dict__.update(state)

    def __array__(self, dtype=None, copy=None):
        from scipy.sparse import csc_matrix

        shape = self.__dict__.get("_shape") or self.__dict__["shape"]
        return csc_matrix((self.data, self.indices, self.indptr), shape=tuple(shape)).toarray().astype(dtype or float)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in ARRAY_CLASSES:
            module = module.replace("numpy.core", "numpy._core")
            return super().find_class(module, name)
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if module.startswith("scipy.sparse") and name == "csc_matrix":
            return _Sparse
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _reconstruct
        if (module, name) in (("__builtin__", "object"), ("builtins", "object")):
            return object
        raise KitError(f"the file contains {module}.{name}, which is neither an array nor a container; it was not run")


def _reconstruct(cls, base, state):
    if cls not in (_Chumpy, _Sparse, object):
        raise KitError("the file rebuilds a class that is neither an array nor a container; it was not run")
    return cls.__new__(cls)


def load_pickle(path: str | os.PathLike) -> Any:
    """Read a third-party pickle (Python 2 strings as latin-1).

    Raises:
        KitError: the file is missing or damaged, or contains anything but arrays and containers.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except KitError as fault:
        raise KitError(f"{path}: {fault}") from None
    except Exception as fault:  # a damaged pickle raises almost anything
        raise KitError(f"{path}: not a readable pickle ({fault})") from fault
