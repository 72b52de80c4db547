"""One motion file in: read, cut at teleports, checked, brought to 30 fps, and kept in the cache for the next run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.cache import keep, kept_path, load_kept
from data_prep.motion_file import read_file, to_clip
from data_prep.own_shape import models_at_hand
from data_prep.parts import cut
from data_prep.retarget import refuse_teleport
from data_prep.source import SourceMotion
from data_prep.support import doubt_support, is_doubted, unsupported_share
from physhmr_kit.motion.check import Teleport, check_clip
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.utils.errors import KitError


@dataclass(frozen=True)
class Imported:
    """What came of one file.

    Attributes:
        path: the file.
        clips: at 30 fps; one as a rule, two where the motion was cut, none where it was refused.
        notes: what was assumed, repaired or is doubtful, a line each, without the name of the file.
        refusal: why there is no clip, without the name of the file.
        kept: whether this was found in the cache.
        unsupported: of each clip, the share of frames without support (`data_prep.support`); empty where nothing was checked.
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
        """A line for each clip whose support is doubted, with the clip's name where the file holds several."""
        pairs = zip(self.clips, self.unsupported, strict=False)
        several = len(self.clips) > 1
        return tuple(
            f"{clip.name}: {line}" if several else line for clip, share in pairs for line in doubt_support(share)
        )

    def supported(self) -> tuple[Imported, list[str]]:
        """This without the clips whose support is doubted, and a line for each of them."""
        pairs = list(zip(self.clips, self.unsupported, strict=False))
        fit = [(clip, share) for clip, share in pairs if not is_doubted(share)]
        if len(fit) == len(pairs):
            return self, []
        lines = [f"{self.path}: {left_out(clip.name, share)}" for clip, share in pairs if is_doubted(share)]
        clips, shares = tuple(clip for clip, _ in fit), tuple(share for _, share in fit)
        return replace(self, clips=clips, unsupported=shares), lines


def left_out(name: str, share: float) -> str:
    """What is said of a clip that is left out because its support is doubted."""
    return f"{name}, without support in {100 * share:.0f} % of its frames"


def import_file(path: Path, check: bool = True, cached: bool = True) -> Imported:
    """Import one file, or find what came of it the last time. Never raises: what is wrong with a file is its `refusal`.

    Args:
        path: a file with a suffix of `READERS`.
        check: refuse or repair what cannot be tracked as it is (`check_clip`); without it a motion comes as it was read.
        cached: look into the cache first, and keep there what was read.
    """
    try:
        kept = kept_path(_read_together(path), path.stem, path.suffix.lower(), check, models_at_hand())
        before = load_kept(kept) if cached else None
        if before is not None:
            return _restore(path, *before)
        imported = _import(path, check)
    except OSError as fault:
        return Imported(path, (), (), f"cannot be read ({fault.strerror or fault})")
    except KitError as fault:
        imported = Imported(path, (), (), str(fault).removeprefix(f"{path}: ").removeprefix(f"{path.stem}: "))
    except Exception as fault:  # one file in thousands must not stop the others, whatever is wrong with it or with us
        return Imported(path, (), (), f"cannot be read ({type(fault).__name__}: {fault}); please report this file")
    if cached:
        keep(kept, *_record(imported))
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
    """A capture in parts whose roots do not teleport, and what was done, in a line each; a clip is left to `_check`.

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
    """The clips fit to be tracked, cut in two where one teleports; of two parts one may be refused."""
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
    """The files that decide what comes of one: an .amc is read with the skeletons beside it."""
    return [path, *(sorted(path.parent.glob("*.asf")) if path.suffix.lower() == ".amc" else ())]


def _record(imported: Imported) -> tuple[dict[str, np.ndarray], dict]:
    arrays, clips = dict[str, np.ndarray](), []
    for n, clip in enumerate(imported.clips):
        arrays |= {f"poses{n}": clip.poses, f"trans{n}": clip.trans, f"betas{n}": clip.betas}
        clips.append({"name": clip.name, "gender": clip.gender})
    record = {"clips": clips, "notes": imported.notes, "refusal": imported.refusal}
    return arrays, record | {"unsupported": imported.unsupported}


def _restore(path: Path, arrays: dict[str, np.ndarray], record: dict) -> Imported:
    clips = [
        Clip(arrays[f"poses{n}"], arrays[f"trans{n}"], CONTROL_FPS, c["name"], arrays[f"betas{n}"], c["gender"])
        for n, c in enumerate(record["clips"])
    ]
    notes, shares = tuple(record["notes"]), tuple(record["unsupported"])
    return Imported(path, tuple(clips), notes, record["refusal"], True, shares)
