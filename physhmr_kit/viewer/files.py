"""Loads what the kit can show: a clip, a rollout or a recording."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from physhmr_kit.motion.clip import Clip
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays

if TYPE_CHECKING:
    from physhmr_kit.env.rollout import Rollout


def load_motion(path: str | os.PathLike) -> Rollout | Clip | Path:
    """The `Rollout` or `Clip` in an .npz, depending on its arrays; an .rrd stays a `Path`, for Rerun to read.

    Raises:
        KitError: a missing or damaged file, or one of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    if path.suffix == ".rrd":
        return path
    if not read_arrays(path, "clip", {"simulated/body_pos"}):
        return Clip.load(path)
    from physhmr_kit.env.rollout import Rollout  # which imports the simulators

    return Rollout.load(path)
