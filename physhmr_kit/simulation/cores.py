"""Number of cores available to this process, which taskset, Slurm or a container's cpuset may limit."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores in the affinity mask of this process, or all cores on systems without affinity masks (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
