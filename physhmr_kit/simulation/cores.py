"""How many cores this process may use: fewer than the machine has under taskset, Slurm or a container's cpuset."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores in this process's affinity mask, or all of the machine's where the system keeps none (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
