"""Which of the kit's files is this: a clip, a rollout, a recording?"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from physhmr_kit.utils.errors import KitError


def load_motion(path: str | os.PathLike):
    """The `Rollout` or `Clip` in an .npz, by what it holds; an .rrd stays a `Path`, for Rerun to read.

    Raises:
        KitError: missing, unreadable or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    if path.suffix == ".rrd":
        return path
    try:
        with np.load(path, allow_pickle=False) as data:
            names = set(data.files)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, AttributeError) as fault:
        raise KitError(f"{path}: not a readable .npz ({fault})") from fault
    if "simulated/body_pos" in names:
        from physhmr_kit.env.rollout import Rollout

        return Rollout.load(path)
    from physhmr_kit.motion.clip import Clip

    return Clip.load(path)
