"""Which clips are kept out of training: decided by name, so that it is the same on every machine and for every stage."""

from __future__ import annotations

import hashlib


def is_held_out(name: str, every: int, fold: int = 0) -> bool:
    """Whether a clip belongs to the held-out part `fold` of `every`, by the SHA-256 of its name.

    The parts are about equal, do not overlap, and do not change when clips are added. `every` 0 holds nothing out.
    """
    return every > 0 and int(hashlib.sha256(name.encode()).hexdigest(), 16) % every == fold
