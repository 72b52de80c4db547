"""`read_file` reads the motions in a file of any supported kind; `to_clip` retargets one and puts it on the floor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from data_prep import bvh, cmu
from data_prep.named import refuse_other_start
from data_prep.retargeting.compare import compare
from data_prep.retargeting.joint_positions import source_of_positions
from data_prep.retargeting.lean import stand_over_feet
from data_prep.retargeting.retarget import retarget
from data_prep.retargeting.source import SourceMotion
from data_prep.saved_arrays import read_joblib, read_npz, read_object_array
from data_prep.smpl_layouts import clips_of
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.grounding import ground
from physhmr_kit.utils.errors import KitError

HUMANML_FPS = 20.0
"""Hz of HumanML3D's joint positions (`new_joints`); their files hold no rate."""

Found = list[tuple[SourceMotion | Clip, list[str]]]
"""Motions of a file, on their own skeleton or on SMPL's, each with notes on what was detected or assumed."""


def read_file(path: str | Path) -> Found:
    """The motions in a file, before they are cut, retargeted or checked.

    Args:
        path: .bvh, .amc (its .asf beside it), .npz, .npy, .pkl; see `READERS`.

    Raises:
        KitError: the file is missing, damaged, of another kind, or holds no motion; the message begins with the path.
    """
    path = Path(path)
    try:
        return READERS[path.suffix.lower()](path)
    except KitError as fault:
        raise fault if str(fault).startswith(str(path)) else KitError(f"{path}: {fault}") from None


def to_clip(motion: SourceMotion | Clip) -> tuple[Clip, list[str]]:
    """A motion as a clip with the same frames, and a note if it differs from its source.

    Raises:
        KitError: the result is another motion than its source.
    """
    if isinstance(motion, Clip):
        return motion, []
    clip = stand_over_feet(ground(retarget(motion)))
    return clip, compare(clip, motion)


def _read_bvh(path: Path) -> Found:
    motion = bvh.read_motion(path)
    return [(motion, list(motion.notes) if isinstance(motion, SourceMotion) else [])]


def _read_amc(path: Path) -> Found:
    return [(cmu.read_source(path), [f"an .amc holds no frame rate; read at {cmu.CMU_FPS:g} Hz, as the CMU database"])]


def _read_npz(path: Path) -> Found:
    return list(clips_of(read_npz(path, "clip"), path))


def _read_pickle(path: Path) -> Found:
    refuse_other_start(path)
    return list(clips_of(read_joblib(path), path))


def _read_npy(path: Path) -> Found:
    refuse_other_start(path)
    data = read_object_array(path)
    if isinstance(data, dict):
        return list(clips_of(data, path))
    shape: tuple[int, ...] = getattr(data, "shape", ())
    if len(shape) == 2 and shape[1] == 263:
        raise KitError(f"{path}: HumanML3D features (263 columns); use its joint positions, in the folder new_joints")
    if len(shape) != 3:
        raise KitError(f"{path}: an array {shape}; expected joint positions (frames, 22, 3), or a clip as .npz")
    try:
        pos = torch.as_tensor(data, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise KitError(f"{path}: not an array of joint positions") from fault
    if len(pos) == 0 or not torch.isfinite(pos).all():
        raise KitError(f"{path}: joint positions are missing or not finite")
    source = source_of_positions(pos, HUMANML_FPS, path.stem)
    return [(source, [f"joint positions hold no rate: read at {HUMANML_FPS:g} Hz, as HumanML3D", *source.notes])]


READERS: dict[str, Callable[[Path], Found]] = {
    ".npz": _read_npz, ".bvh": _read_bvh, ".amc": _read_amc, ".npy": _read_npy,
    ".pkl": _read_pickle, ".pickle": _read_pickle, ".joblib": _read_pickle,
}  # fmt: skip
"""The reader of each kind of file in `named.STARTS`, by suffix."""
