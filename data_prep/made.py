"""Demo and generated motions by their source name (demo, demo:NAME, generated:COUNT), cached."""

from __future__ import annotations

from collections.abc import Callable

from data_prep.cache import keep_clips, kept_path, load_kept_clips
from data_prep.named import count_and_seed
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.motion.generator import generated_clips
from physhmr_kit.utils.errors import KitError


def made_clips(spec: str) -> list[Clip]:
    """The motions at 30 fps.

    Raises:
        KitError: no such demo motion, or an invalid count of generated ones.
    """
    kind, _, wanted = spec.partition(":")
    if kind == "generated":
        count, seed = count_and_seed(spec)
        return _cached(f"generated:{count}:{seed}", lambda: generated_clips(count, seed))
    clips = _cached("demo", demo_clips)
    found = [clip for clip in clips if wanted in ("", clip.name)]
    if not found:
        raise KitError(f"{spec}: no such demo motion; there are {', '.join(clip.name for clip in clips)}")
    return found


def _cached(what: str, make: Callable[[], list[Clip]]) -> list[Clip]:
    path = kept_path([], what)
    if found := load_kept_clips(path):
        return found[0]
    clips = make()
    keep_clips(path, clips)
    return clips
