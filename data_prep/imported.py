"""Imports one motion file: reads it, cuts it at teleports, checks it, resamples it to 30 fps and caches the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from data_prep.cache import keep_clips, kept_path, load_kept_clips
from data_prep.motion_file import read_file, to_clip
from data_prep.retargeting.own_shape import models_at_hand
from data_prep.retargeting.parts import cut
from data_prep.retargeting.retarget import refuse_teleport
from data_prep.retargeting.source import SourceMotion
from data_prep.retargeting.support import is_doubted, unsupported_share
from physhmr_kit.motion.check import Teleport, check_clip
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.utils.errors import KitError


@dataclass(frozen=True)
class Imported:
    """The result of importing one file.

    Attributes:
        path: the file.
        clips: at 30 fps; usually one, two if the motion was cut, none if it was refused.
        notes: what was assumed, repaired or is doubtful, a line each, without the file's name.
        refusal: why there is no clip, without the file's name.
        kept: whether this comes from the cache.
        unsupported: each clip's share of frames without support (`data_prep.retargeting.support`); empty if clips were not checked.
    """

    path: Path
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    refusal: str = ""
    kept: bool = False
    unsupported: tuple[float, ...] = ()

    @property
    def frames(self) -> int:
        """Frames at 30 fps."""
        return sum(map(len, self.clips))

    @property
    def doubts(self) -> tuple[str, ...]:
        """A line for each clip that lacks support, with the clip's name if the file holds several."""
        line = "kept, but without support in {:.0f} % of its frames: does it need a chair, stairs or a ladder?"
        return tuple(
            (f"{clip.name}: " if len(self.clips) > 1 else "") + line.format(100 * share)
            for clip, share in zip(self.clips, self.unsupported, strict=False)
            if is_doubted(share)
        )

    def supported(self) -> tuple[Imported, list[str]]:
        """This without the clips that lack support, and a line for each of them."""
        pairs = list(zip(self.clips, self.unsupported, strict=False))
        lines = [f"{self.path}: {left_out(clip.name, share)}" for clip, share in pairs if is_doubted(share)]
        if not lines:
            return self, []
        clips, shares = zip(*pairs, strict=True)
        fit = [not is_doubted(share) for share in shares]
        return replace(self, clips=tuple(compress(clips, fit)), unsupported=tuple(compress(shares, fit))), lines


def left_out(name: str, share: float) -> str:
    """The line about a clip that is left out for lack of support."""
    return f"{name}, without support in {100 * share:.0f} % of its frames"


def import_file(path: Path, check: bool = True, cached: bool = True) -> Imported:
    """Import one file, or load the result from the cache. Never raises: a fault of the file is its `refusal`.

    Args:
        path: a file with a suffix of `READERS`.
        check: refuse or repair motions that cannot be tracked as they are (`check_clip`); without it they stay as read.
        cached: read and write the cache.
    """
    try:
        kept = kept_path(_read_together(path), path.stem, path.suffix.lower(), check, models_at_hand())
        if cached and (found := load_kept_clips(kept)):
            clips, record = found
            notes, shares = tuple(record["notes"]), tuple(record["unsupported"])
            return Imported(path, tuple(clips), notes, record["refusal"], True, shares)
        imported = _import(path, check)
    except OSError as fault:
        return Imported(path, (), (), f"cannot be read ({fault.strerror or fault})")
    except KitError as fault:
        imported = Imported(path, (), (), str(fault).removeprefix(f"{path}: ").removeprefix(f"{path.stem}: "))
    except Exception as fault:  # one file in thousands must not stop the others
        return Imported(path, (), (), f"cannot be read ({type(fault).__name__}: {fault}); please report this file")
    if cached:
        shares = imported.unsupported
        keep_clips(kept, imported.clips, notes=imported.notes, refusal=imported.refusal, unsupported=shares)
    return imported


def _import(path: Path, check: bool) -> Imported:
    notes, clips = [], []
    found = read_file(path)
    for motion, said in found:
        parts, more = without_teleports(motion, path) if check else ([motion], [])
        for part in parts:
            clip, doubts = to_clip(part)
            clips.append(clip)
            more += doubts
        which = f"{motion.name}: " if len(found) > 1 else ""
        notes += [which + line for line in [*said, *more]]
    if check:
        clips, lines = _check(clips)
        notes += lines
    at_rate = tuple(clip.resample(CONTROL_FPS) for clip in clips)
    return Imported(path, at_rate, tuple(notes), unsupported=tuple(map(unsupported_share, at_rate)) if check else ())


def without_teleports(motion: Clip | SourceMotion, path: Path) -> tuple[list, list[str]]:
    """A capture in parts whose roots do not teleport, and notes on what was done; clips are cut later, by `_check`.

    Raises:
        Teleport: it teleports too often.
    """
    if isinstance(motion, Clip):
        return [motion], []
    try:
        return [refuse_teleport(motion, path)], []
    except Teleport as fault:
        return cut(fault)


def _check(clips: list[Clip]) -> tuple[list[Clip], list[str]]:
    """The clips that can be tracked, cut where they teleport, and notes; some may be refused, but not all."""
    todo, fit, lines, refused = list(clips), [], [], []
    while todo:
        clip = todo.pop(0)
        try:
            try:
                clip, more = check_clip(clip)
                fit.append(clip)
            except Teleport as fault:
                pieces, more = cut(fault)
                todo = [piece for piece in pieces if isinstance(piece, Clip)] + todo
            lines += more
        except KitError as fault:
            refused.append(fault)
    if not fit:
        raise refused[0]
    return fit, lines + [f"left out: {fault}" for fault in refused]


def _read_together(path: Path) -> list[Path]:
    """The files that the result depends on: an .amc is read with the skeletons beside it."""
    return [path, *(sorted(path.parent.glob("*.asf")) if path.suffix.lower() == ".amc" else ())]
