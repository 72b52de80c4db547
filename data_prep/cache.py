"""Where what cost time to make is kept for the next run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where detections and imported clips are kept: PHYSHMR_CACHE, else physhmr_kit in the user's cache folder."""
    named = os.environ.get("PHYSHMR_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "physhmr_kit"
