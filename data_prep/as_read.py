"""Reads motions for evaluation: converted to the kit's frame, but neither grounded, repaired nor cut.

A motion that is scored must not be repaired first. Files on SMPL's skeleton are turned upright and converted to metres; captures
on another skeleton are retargeted and their floor is levelled, but feet keep sliding as they do. Output folders of GVHMR, WHAM
and TRAM are recognised by their files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.gvhmr import read_gvhmr
from data_prep.motion_file import read_file
from data_prep.named import find_motion_files
from data_prep.retargeting.retarget import retarget
from data_prep.retargeting.source import SourceMotion
from data_prep.tram import read_tram
from data_prep.wham import read_wham
from data_prep.worlds import SeenBody
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.check import floor_height, outline
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.grounding import level
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError

_ANY_SIZE = (1920, 1080)  # WHAM's motion does not depend on the image size
_TOOLS = ("hmr4d_results.pt", "wham_output.pkl", "camera.npy")


@dataclass(frozen=True)
class AsRead:
    """One motion of a file.

    Attributes:
        name: of the motion. path: its file or folder.
        clip: at 30 fps, z-up; None if it cannot be read.
        floor: m, estimated height of the floor (`motion.check.floor_height`); the clip is not moved.
        known_floor: whether z = 0 is meant to be the floor in the file; in the output of video tools it is not.
        refusal: why there is no clip.
    """

    name: str
    path: Path
    clip: Clip | None
    floor: float = 0.0
    known_floor: bool = True
    refusal: str = ""

    def on_floor(self) -> Clip:
        """The clip moved so that the estimated floor is at z = 0."""
        assert self.clip is not None
        return replace(self.clip, trans=self.clip.trans - np.array([0, 0, self.floor], np.float32))


def read_motions(spec: Path) -> Iterator[AsRead]:
    """The motions of a file, a tool's output folder, or all of these below a folder, in sorted order.

    A motion that cannot be read is yielded with its `refusal`.

    Raises:
        KitError: no such path, or no motions below it.
    """
    folders = _tool_folders(spec) if spec.is_dir() else []
    try:
        files = find_motion_files(spec)
    except KitError:
        if not folders:
            raise
        files = []
    files = [path for path in files if not any(folder in path.parents for folder in folders)]
    for path in [*folders, *files]:
        try:
            yield from _of_tool(path) if path.is_dir() else _of_file(path)
        except KitError as fault:
            yield AsRead(path.stem, path, None, refusal=str(fault).removeprefix(f"{path}: "))


def _tool_folders(folder: Path) -> list[Path]:
    found = {path.parent for name in _TOOLS for path in folder.rglob(name)}
    return sorted(path for path in found if not (path / "camera.npy").is_file() or (path / "hps").is_dir())


def _of_tool(folder: Path) -> Iterator[AsRead]:
    if (folder / "hmr4d_results.pt").is_file():
        body: SeenBody = read_gvhmr(folder)
    elif (folder / "wham_output.pkl").is_file():
        body = read_wham(folder / "wham_output.pkl", _ANY_SIZE)
    else:
        body = read_tram(folder)
    yield _judged(folder.name, folder, body.clip(), known_floor=False)


def _of_file(path: Path) -> Iterator[AsRead]:
    found = read_file(path)
    for motion, _ in found:
        clip = level(retarget(motion)) if isinstance(motion, SourceMotion) else motion
        yield _judged(motion.name if len(found) > 1 else path.stem, path, clip, known_floor=True)


def _judged(name: str, path: Path, clip: Clip, known_floor: bool) -> AsRead:
    clip = clip.resample(CONTROL_FPS)
    if len(clip) < 2:
        raise KitError(f"{path}: {len(clip)} frame(s) at {CONTROL_FPS:g} fps; a motion needs at least two")
    lowest = outline(*forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets()))[..., 2].amin(1)
    return AsRead(name, path, clip, floor_height(lowest, CONTROL_FPS), known_floor)
