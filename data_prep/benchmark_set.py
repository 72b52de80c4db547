"""A benchmark's files, prepared once: what its reader writes and `physhmr evaluate --benchmark` runs on.

    manifest.json        benchmark, licence, and of each sequence its files, splits, frames, invalid frames and notes
    clips/NAME.npz       the true motion (AMASS convention, real lengths), where the set has one
    joints/NAME.npz      the set's own true joints, where it has them
    keypoints/NAME.npz   COCO-17 of the person
    cameras/NAME.json    a fixed camera; NAME.npz of a moving one

All at 30 fps, z-up, metres, the floor at 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_prep.filmed import JOINT_SETS, Filmed
from data_prep.importing import Parser
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.soles import runs
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays, write_text
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BenchmarkSet:
    """A data set as the kit reads it.

    Attributes:
        name: of its module in `data_prep`. title: what people call it.
        home: where it is asked for. licence: in a line.
        up: the axis of its files that is said to be up.
        world: whether its truth keeps its place in the world; where it drifts, only camera-frame figures mean something.
        keypoints: whose keypoints its files hold.
        read: (folder, split) -> its sequences as they are in the files; split '' for all.
    """

    name: str
    title: str
    home: str
    licence: str
    up: str
    world: bool
    keypoints: str
    read: Callable[[Path, str], Iterator[Filmed]]

    def missing(self, path: Path, what: str) -> KitError:
        """The fault that a piece of the set is not there."""
        return KitError(f"{path}: no {what}; {self.title} is asked for at {self.home}")

    def prepare(
        self, folder: Path, out: Path, split: str = "", keypoints: Path | None = None, limit: int | None = None
    ) -> Path:
        """Write a prepared set.

        Args:
            folder: as it was downloaded and unpacked. split: only this list of the set; all when empty.
            keypoints: folder of NAME.npz, or of another tool's NAME.json or NAME/, to take in place of the set's own.
            limit: only this many sequences.

        Returns:
            the manifest's path; it appears last.

        Raises:
            KitError: a missing, damaged or inconsistent file.
        """
        if not folder.is_dir():
            raise self.missing(folder, "such folder")
        entries = []
        for filmed in _some(self.read(folder, split), limit):
            if keypoints is not None:
                filmed = with_keypoints(filmed, keypoints)
            entries.append(_write(filmed.prepared(self.up), out))
        if not entries:
            raise self.missing(folder, f"sequence of split '{split}'" if split else "sequence")
        manifest = {
            "benchmark": self.name, "title": self.title, "licence": self.licence, "home": self.home, "fps": CONTROL_FPS,
            "world": self.world, "keypoints": keypoints_label(keypoints) if keypoints else self.keypoints, "sequences": entries,
        }  # fmt: skip
        return write_text(out / MANIFEST, json.dumps(manifest, indent=1))

    def main(self, argv: list[str] | None, description: str, default_split: str = "") -> int:
        """The command `python -m data_prep.<name> FOLDER OUT`; returns its exit code."""
        parser = Parser(self.name, description)
        parser.add_argument("source", type=Path, metavar="FOLDER", help=f"{self.title} as downloaded and unpacked")
        parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
        parser.add_argument("--split", default=default_split, help=f"'{default_split}' by default; '' for everything")
        parser.add_argument(
            "--keypoints", type=Path, metavar="FOLDER", help="a detector's keypoints, NAME.npz for each"
        )
        parser.add_argument("--limit", type=int, metavar="N", help="only the first N sequences")
        options: argparse.Namespace = parser.parse_args(argv)
        path = self.prepare(options.source, options.out, options.split, options.keypoints, options.limit)
        prepared = Prepared.open(path.parent)
        frames = sum(entry["frames"] for entry in prepared.entries)
        print(f"{path}: {len(prepared.entries)} sequences, {frames / CONTROL_FPS / 60:.1f} min; {self.licence}")
        print(f"keypoints: {prepared.keypoints}")
        for note in sorted({note for entry in prepared.entries for note in entry["notes"]}):
            print(note)
        return 0


@dataclass(frozen=True)
class Prepared:
    """A folder that `BenchmarkSet.prepare` wrote.

    Attributes:
        folder: it. benchmark, title, licence, keypoints, world: see `BenchmarkSet`.
        entries: of the manifest, one for each sequence.
    """

    folder: Path
    benchmark: str
    title: str
    licence: str
    keypoints: str
    world: bool
    entries: tuple[dict, ...]

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Read the manifest.

        Raises:
            KitError: none there, or damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise KitError(f"{path}: no such file; write it with python -m data_prep.<set> FOLDER {folder}")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            words = {key: str(data[key]) for key in ("benchmark", "title", "licence", "keypoints")}
            return cls(folder, **words, world=bool(data["world"]), entries=tuple(data["sequences"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise KitError(f"{path}: not a readable manifest ({fault}); prepare the set again") from fault

    def of_split(self, split: str) -> Prepared:
        """The sequences of one list.

        Raises:
            KitError: there is none.
        """
        chosen = tuple(entry for entry in self.entries if not split or split in entry["splits"])
        if not chosen:
            known = ", ".join(sorted({s for entry in self.entries for s in entry["splits"]})) or "none"
            raise KitError(f"{self.folder}: no sequence of split '{split}'; there are {known}")
        return replace(self, entries=chosen)

    def load(self, entry: dict) -> Filmed:
        """One sequence.

        Raises:
            KitError: a file is missing or damaged.
        """
        at = {kind: self.folder / entry[kind] for kind in ("keypoints", "camera", "clip", "joints") if entry.get(kind)}
        valid = torch.ones(entry["frames"], dtype=torch.bool)
        for start, stop in entry["invalid"]:
            valid[start:stop] = False
        joints = None
        if "joints" in at:
            joints = torch.from_numpy(read_arrays(at["joints"], "joints file")["joints"]).float()
        return Filmed(
            entry["name"], tuple(entry["splits"]), KeypointTrack.load(at["keypoints"]), Camera.load(at["camera"]), valid,
            Clip.load(at["clip"]) if "clip" in at else None, joints, entry["joint_set"], entry["scale"], tuple(entry["notes"]),
        )  # fmt: skip


def keypoints_label(folder: Path) -> str:
    """What a manifest says of keypoints from elsewhere."""
    return f"of {folder.name}"


def with_keypoints(filmed: Filmed, folder: Path) -> Filmed:
    """A sequence seen by a detector instead of by what its set holds.

    Raises:
        KitError: no file for it, or one of another video.
    """
    from data_prep.keypoint_files import read_keypoints

    found = sorted([*folder.glob(f"{filmed.name}.*"), *(p for p in [folder / filmed.name] if p.is_dir())])
    if not found:
        raise KitError(f"{folder}: no keypoints of {filmed.name}; expected {filmed.name}.npz, .json, .csv or a folder")
    own = filmed.keypoints
    track = read_keypoints(found[0], fps=own.fps, image_size=own.image_size)
    if track.image_size != own.image_size or len(track) != len(own) or abs(track.fps - own.fps) > 0.02 * own.fps:
        raise KitError(
            f"{found[0]}: {len(track)} frames at {track.fps:g} fps of a {track.image_size[0]}x{track.image_size[1]} image; "
            f"the set has {len(own)} at {own.fps:g} of {own.image_size[0]}x{own.image_size[1]}"
        )
    return replace(filmed, keypoints=replace(track, fps=own.fps))


def _some(filmed: Iterable[Filmed], limit: int | None) -> Iterator[Filmed]:
    for number, one in enumerate(filmed):
        if limit is not None and number >= limit:
            return
        yield one


def _write(filmed: Filmed, out: Path) -> dict:
    assert filmed.joint_set in JOINT_SETS
    name, moving = filmed.name, bool(filmed.camera.batch_shape)
    files = {"keypoints": f"keypoints/{name}.npz", "camera": f"cameras/{name}.{'npz' if moving else 'json'}"}
    filmed.keypoints.save(out / files["keypoints"])
    (out / "cameras").mkdir(parents=True, exist_ok=True)
    filmed.camera.save(out / files["camera"])
    if filmed.clip is not None:
        files["clip"] = f"clips/{name}.npz"
        filmed.clip.save(out / files["clip"])
    if filmed.joints is not None:
        files["joints"] = f"joints/{name}.npz"
        write_arrays(out / files["joints"], joints=filmed.joints.float().numpy())
    return {
        "name": name, "splits": filmed.splits, "frames": len(filmed.valid), "invalid": runs(filmed.valid, False),
        "scale": filmed.scale, "joint_set": filmed.joint_set, "notes": filmed.notes, **files,
    }  # fmt: skip
