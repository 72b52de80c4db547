"""A `MotionLibrary` on disk: a folder with an index (JSON) and arrays that are mapped into memory, so that it opens at once.

    index.json            format, frames per second, array files, clips (name, source, licence, frames ...), refused files
    states-XXXX.npy       (F, 450) float32, `BodyState.pack` of every frame, clip after clip
    torques-XXXX.npy      (F, 69) float32 N m, what the motions need (`motion.inverse_dynamics`); may be missing

The index is written last and names its arrays, so a library is whole at every instant, also while it is packed anew.
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
    """What the index says of a clip.

    Attributes:
        name: unique in the library. source: the file it came from. licence: what the packer was told of it.
        frames: at 30 fps. betas, gender: of the body whose legs it still needs, see `Clip`.
        unsupported: share of its frames without support (`data_prep.support`); None in libraries packed before it was noted.
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
    """What lies in a library. `states` and `torques` are file names; `refused` maps files to the reason."""

    clips: list[ClipEntry]
    states: str
    torques: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    importer: str = ""

    @property
    def frames(self) -> int:
        """Frames of all clips."""
        return sum(clip.frames for clip in self.clips)


def is_library(path: str | Path) -> bool:
    """Whether a path is a folder that holds a library."""
    index = Path(path) / INDEX
    if not index.is_file():
        return False
    with open(index, encoding="utf-8", errors="replace") as file:
        return FORMAT[:-2] in file.read(200)


def read_index(folder: str | os.PathLike) -> LibraryIndex:
    """The index of a library.

    Raises:
        KitError: missing, damaged, or of another version.
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
    """Write the index, whole or not at all: from then on the library is what it says."""
    write_text(Path(folder) / INDEX, json.dumps({"format": FORMAT, **asdict(index)}, indent=1))


def map_array(folder: str | os.PathLike, name: str, shape: tuple[int, int]) -> np.ndarray:
    """An array of a library, mapped into memory: nothing is read until it is looked at, and writing changes no file.

    Raises:
        KitError: missing, damaged, or not of this shape.
    """
    path = Path(folder) / name
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as fault:
        raise KitError(f"{path}: not a readable array of the library ({fault}); pack it again") from fault
    if array.shape != shape or array.dtype != np.float32:
        raise KitError(f"{path}: {array.dtype} {array.shape} where the index promises float32 {shape}; pack it again")
    return array
