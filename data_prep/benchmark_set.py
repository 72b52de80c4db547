"""Converts a benchmark once to the files that `physhmr evaluate --benchmark` runs on.

    manifest.json        benchmark, licence, and for each sequence its files, splits, frames, invalid frames and notes
    clips/NAME.npz       true motion (AMASS convention, real lengths), if the set has it
    joints/NAME.npz      the set's own true joints, if it has them
    keypoints/NAME.npz   the person's COCO-17 keypoints
    cameras/NAME.json    a fixed camera; NAME.npz a moving one

All at 30 fps, z-up, metres, the floor at 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from data_prep.benchmark_sequence import BenchmarkSequence
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
    """A benchmark data set and its reader.

    Attributes:
        name: of its module in `data_prep`. title: its usual name.
        home: where to get it. licence: in one line.
        up: the documented up axis of its files.
        world: whether the ground truth is reliable in the world frame; if it drifts, only camera-frame metrics are meaningful.
        keypoints: the source of the keypoints in its files.
        read: (folder, split) -> its sequences as they are in the files; split '' for all.
    """

    name: str
    title: str
    home: str
    licence: str
    up: str
    world: bool
    keypoints: str
    read: Callable[[Path, str], Iterator[BenchmarkSequence]]

    def missing(self, path: Path, what: str) -> KitError:
        """The error for a missing part of the set."""
        return KitError(f"{path}: no {what}; get {self.title} from {self.home}")

    def prepare(
        self, folder: Path, out: Path, split: str = "", keypoints: Path | None = None, limit: int | None = None
    ) -> Path:
        """Write a prepared set.

        Args:
            folder: as downloaded and unpacked. split: only this split; all if empty.
            keypoints: folder with NAME.npz, or another tool's NAME.json or NAME/, to use in place of the set's own.
            limit: only this many sequences.

        Returns:
            the path of the manifest, which is written last.

        Raises:
            KitError: a missing, damaged or inconsistent file.
        """
        if not folder.is_dir():
            raise self.missing(folder, "such folder")
        if limit is not None and limit < 1:
            raise KitError(f"--limit {limit}: must be at least 1")
        entries = []
        for sequence in islice(self.read(folder, split), limit):
            if keypoints is not None:
                sequence = with_keypoints(sequence, keypoints)
            entries.append(_write(sequence.prepared(self.up), out))
        if not entries:
            raise self.missing(folder, f"sequence of split '{split}'" if split else "sequence")
        manifest = {
            "benchmark": self.name, "title": self.title, "licence": self.licence, "home": self.home, "fps": CONTROL_FPS,
            "world": self.world, "keypoints": keypoints_label(keypoints) if keypoints else self.keypoints, "sequences": entries,
        }  # fmt: skip
        return write_text(out / MANIFEST, json.dumps(manifest, indent=1))

    def main(self, argv: list[str] | None, description: str, default_split: str) -> int:
        """The command `python -m data_prep.<name> FOLDER OUT`; returns its exit code."""
        parser = Parser(self.name, description)
        parser.add_argument("source", type=Path, metavar="FOLDER", help=f"{self.title} as downloaded and unpacked")
        parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
        parser.add_argument("--split", default=default_split, help=f"'{default_split}' by default; '' for all")
        parser.add_argument(
            "--keypoints", type=Path, metavar="FOLDER", help="a detector's keypoints, NAME.npz for each sequence"
        )
        parser.add_argument("--limit", type=int, metavar="N", help="only the first N sequences")
        options = parser.parse_args(argv)
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
        folder: its path. benchmark, title, licence, keypoints, world: see `BenchmarkSet`.
        entries: of the manifest, one per sequence.
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
            KitError: missing or damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise KitError(f"{path}: no such file; create it with python -m data_prep.<set> FOLDER {folder}")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            words = {key: str(data[key]) for key in ("benchmark", "title", "licence", "keypoints")}
            return cls(folder, **words, world=bool(data["world"]), entries=tuple(data["sequences"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise KitError(f"{path}: not a readable manifest ({fault}); prepare the set again") from fault

    def select_split(self, split: str) -> Prepared:
        """The sequences of one split.

        Raises:
            KitError: there are none.
        """
        chosen = tuple(entry for entry in self.entries if not split or split in entry["splits"])
        if not chosen:
            known = ", ".join(sorted({s for entry in self.entries for s in entry["splits"]})) or "none"
            raise KitError(f"{self.folder}: no sequence of split '{split}'; available: {known}")
        return replace(self, entries=chosen)

    def load(self, entry: dict) -> BenchmarkSequence:
        """Load one sequence.

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
        return BenchmarkSequence(
            entry["name"], tuple(entry["splits"]), KeypointTrack.load(at["keypoints"]), Camera.load(at["camera"]), valid,
            Clip.load(at["clip"]) if "clip" in at else None, joints, entry["joint_set"], entry["scale"], tuple(entry["notes"]),
        )  # fmt: skip


def keypoints_label(folder: Path) -> str:
    """How a manifest names keypoints from another folder."""
    return f"of {folder.name}"


def with_keypoints(sequence: BenchmarkSequence, folder: Path) -> BenchmarkSequence:
    """A sequence with a detector's keypoints in place of its set's.

    Raises:
        KitError: no file for it, or one of another video.
    """
    from data_prep.keypoints.files import read_keypoints

    name, own = sequence.name, sequence.keypoints
    found = sorted([*folder.glob(f"{name}.*"), *(p for p in [folder / name] if p.is_dir())])
    if not found:
        raise KitError(f"{folder}: no keypoints of {name}; expected {name}.npz, .json, .csv or a folder")
    track = read_keypoints(found[0], fps=own.fps, image_size=own.image_size)
    if track.image_size != own.image_size or len(track) != len(own) or abs(track.fps - own.fps) > 0.02 * own.fps:
        raise KitError(
            f"{found[0]}: {len(track)} frames at {track.fps:g} fps of a {track.image_size[0]}x{track.image_size[1]} image; "
            f"the set has {len(own)} at {own.fps:g} of {own.image_size[0]}x{own.image_size[1]}"
        )
    return replace(sequence, keypoints=replace(track, fps=own.fps))


def _write(sequence: BenchmarkSequence, out: Path) -> dict:
    """Write the files of a sequence; returns its manifest entry."""
    name, moving = sequence.name, bool(sequence.camera.batch_shape)
    files = {"keypoints": f"keypoints/{name}.npz", "camera": f"cameras/{name}.{'npz' if moving else 'json'}"}
    sequence.keypoints.save(out / files["keypoints"])
    sequence.camera.save(out / files["camera"])
    if sequence.clip is not None:
        files["clip"] = f"clips/{name}.npz"
        sequence.clip.save(out / files["clip"])
    if sequence.joints is not None:
        files["joints"] = f"joints/{name}.npz"
        write_arrays(out / files["joints"], joints=sequence.joints.float().numpy())
    return {
        "name": name, "splits": sequence.splits, "frames": len(sequence.valid), "invalid": runs(sequence.valid, False),
        "scale": sequence.scale, "joint_set": sequence.joint_set, "notes": sequence.notes, **files,
    }  # fmt: skip
