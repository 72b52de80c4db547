"""A `MotionLibrary` on disk: a folder with a JSON index and memory-mapped arrays, so that opening it is instant.

    index.json            format, array files, clips (name, source, licence, frames ...), refused files
    states-XXXX.npy       (F, 450) float32, `BodyState.pack` of every frame, clip after clip
    torques-XXXX.npy      (F, 69) float32 N m, `motion.inverse_dynamics.reference_torques`; optional

The index names its arrays and is written last, so a library is consistent at any time, even while it is being repacked.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import write_text

INDEX = "index.json"
FORMAT = "physhmr_kit motion library 1"
STATE_WIDTH = 450


@dataclass(frozen=True)
class ClipEntry:
    """Index entry of a clip.

    Attributes:
        name: unique in the library. source: the file it came from. licence: as given to the packer.
        frames: at 30 fps. betas, gender: the SMPL shape of its body; no betas for the mean shape.
        unsupported: share of its frames without support (`data_prep.retargeting.support`); None in older libraries.
    """

    name: str
    source: str
    licence: str
    frames: int
    betas: list[float] = field(default_factory=list)
    gender: str = "neutral"
    unsupported: float | None = None


@dataclass(frozen=True)
class LibraryIndex:
    """Contents of a library. `states` and `torques` are file names; `refused` maps files to the reason."""

    clips: list[ClipEntry]
    states: str
    torques: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    importer: str = ""

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(clip.frames for clip in self.clips)


def is_library(path: str | Path) -> bool:
    """Whether a path is the folder of a library."""
    index = Path(path) / INDEX
    if not index.is_file():
        return False
    with open(index, encoding="utf-8", errors="replace") as file:
        return FORMAT[:-2] in file.read(200)


def read_index(folder: str | os.PathLike) -> LibraryIndex:
    """Read the index of a library.

    Raises:
        KitError: the index is missing, damaged, or of another version.
    """
    path = Path(folder) / INDEX
    again = "pack it again: python -m data_prep.pack FOLDER --out LIBRARY"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise KitError(f"{path}: a library of another version of the kit; {again}")
        clips = [ClipEntry(**clip) for clip in content.pop("clips")]
        index = LibraryIndex(clips, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise KitError(f"{path}: not a readable index of a motion library ({fault}); {again}") from fault
    if not index.clips or min(clip.frames for clip in index.clips) < 2:
        raise KitError(f"{path}: the library holds no clips; {again}")
    return index


def write_index(folder: str | Path, index: LibraryIndex) -> None:
    """Write the index atomically; this makes its arrays the contents of the library."""
    write_text(Path(folder) / INDEX, json.dumps({"format": FORMAT, **asdict(index)}, indent=1))


def map_array(folder: str | os.PathLike, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Memory-map an array of a library (copy-on-write).

    Raises:
        KitError: the array is missing, damaged, or of another shape.
    """
    path = Path(folder) / name
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise KitError(f"{path}: not a readable array of the library ({fault}); pack it again") from fault
    if array.shape != shape or array.dtype != np.float32:
        raise KitError(f"{path}: {array.dtype} {array.shape} where the index promises float32 {shape}; pack it again")
    return array
