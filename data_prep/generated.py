"""`generated:200`: motions of the kit's generator by a word on the command line, drawn once and kept in the cache."""

from __future__ import annotations

import re

from data_prep.cache import keep, kept_path, load_kept
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.utils.errors import KitError


def generated(word: str, cached: bool = True) -> list[Clip]:
    """The motions a word asks for.

    Args:
        word: 'generated:<count>' or 'generated:<count>:<seed>'.
        cached: look into the user's cache first, and keep there what was drawn: drawing takes about 0.1 s each.

    Raises:
        KitError: another word, or no motions at all.
    """
    asked = re.fullmatch(r"generated:0*([1-9]\d*)(?::(\d+))?", word)
    if not asked:
        raise KitError(f"{word}: write generated:<count> or generated:<count>:<seed>, e.g. generated:200")
    count, seed = int(asked[1]), int(asked[2] or 0)
    return [_one(index, seed, cached) for index in range(count)]


def _one(index: int, seed: int, cached: bool) -> Clip:
    kept = kept_path([], "generated", index, seed)
    found = load_kept(kept) if cached else None
    if found is not None:
        arrays, record = found
        return Clip(arrays["poses"], arrays["trans"], CONTROL_FPS, record["name"])
    from physhmr_kit.motion.generator import generated_clip  # imports MuJoCo, which a cached motion does without

    clip = generated_clip(index, seed)
    if cached:
        keep(kept, {"poses": clip.poses, "trans": clip.trans}, {"name": clip.name})
    return clip
