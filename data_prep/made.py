"""Motions that the kit makes itself, by what a user types for them: made once, and found in the cache by the next run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_prep.cache import keep, kept_path, load_kept
from data_prep.named import count_and_seed
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.motion.generator import generated_clips
from physhmr_kit.utils.errors import KitError


def made_clips(spec: str) -> list[Clip]:
    """The motions at 30 fps.

    Raises:
        KitError: no such demo motion, or no count of generated ones.
    """
    kind, _, wanted = spec.partition(":")
    if kind == "generated":
        count, seed = count_and_seed(spec)
        return _kept(f"generated:{count}:{seed}", lambda: generated_clips(count, seed))
    clips = _kept("demo", demo_clips)
    found = [clip for clip in clips if wanted in ("", clip.name)]
    if not found:
        raise KitError(f"{spec}: no such demo motion; there are {', '.join(clip.name for clip in clips)}")
    return found


def _kept(what: str, make: Callable[[], list[Clip]]) -> list[Clip]:
    kept = kept_path([], what)
    found = load_kept(kept)
    if found is None:
        clips = make()
        arrays = {"poses": np.concatenate([c.poses for c in clips]), "trans": np.concatenate([c.trans for c in clips])}
        keep(kept, arrays, {"names": [c.name for c in clips], "frames": [len(c) for c in clips]})
        return clips
    arrays, record = found
    ends = np.cumsum(record["frames"])[:-1]
    parts = zip(record["names"], np.split(arrays["poses"], ends), np.split(arrays["trans"], ends), strict=True)
    return [Clip(poses, trans, CONTROL_FPS, name) for name, poses, trans in parts]
