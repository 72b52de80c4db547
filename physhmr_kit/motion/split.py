"""Held-out clips, chosen by name so that the split is the same on every machine and in every stage."""

from __future__ import annotations

import hashlib


def is_held_out(name: str, every: int, fold: int = 0) -> bool:
    """Whether a clip belongs to the held-out part `fold` of `every`, by the SHA-256 of its name.

    The parts are about equal, do not overlap, and do not change when clips are added. `every` 0 holds out nothing.
    """
    return every > 0 and int(hashlib.sha256(name.encode()).hexdigest(), 16) % every == fold
