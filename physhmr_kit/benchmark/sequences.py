"""A prepared set under a protocol: every sequence by every method, each result kept, so that a killed run goes on where it was.

A sequence is seen once: keypoints and the set's own camera become a `VisualTrack` whose world is divided by the estimated size of the
person. A method returns a body in that world; it is multiplied back and scored in the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from data_prep import aistpp, emdb, human36m, threedpw
from data_prep.benchmark_set import MANIFEST, BenchmarkSet, Prepared, keypoints_label
from data_prep.filmed import Filmed
from physhmr_kit.benchmark.bodies import Bodies
from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics.protocols import ClipFigures, Points, Protocol
from physhmr_kit.motion.check import MIN_FRAMES
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.following import LOST_DISTANCE
from physhmr_kit.motion.kinematics import local_rotations
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.reconstruction.simulate import Reconstruction
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import write_text
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.track import VisualTrack


@dataclass(frozen=True)
class Benchmark:
    """A set, the list of it that papers report, and what is usually printed.

    Attributes:
        source: its reader. split: the list. protocol: by default. world: whether its world figures are reported.
        lsp: whether 3DPW's 14 joints count.
    """

    source: BenchmarkSet
    split: str
    protocol: str = "wham"
    world: bool = True
    lsp: bool = False

    def open(self, data: Path, out: Path, keypoints: Path | None = None) -> Prepared:
        """The prepared set: `data` itself where it has a manifest, else made of it in out/data, once.

        Raises:
            KitError: a set of another kind, or one that cannot be read.
        """
        if not (data / MANIFEST).is_file():
            if not (out / "data" / MANIFEST).is_file():
                self.source.prepare(data, out / "data", self.split, keypoints)
            data = out / "data"
        prepared = Prepared.open(data)
        if prepared.benchmark != self.source.name:
            raise KitError(f"{data}: a prepared {prepared.title}, not {self.source.title}")
        if keypoints is not None and prepared.keypoints != keypoints_label(keypoints):
            raise KitError(
                f"{data}: prepared with keypoints {prepared.keypoints}; prepare it anew for those of {keypoints}"
            )
        return prepared.of_split(self.split)


BENCHMARKS = {
    "3dpw": Benchmark(threedpw.SET, "test", world=False, lsp=True),
    "emdb1": Benchmark(emdb.SET, "emdb1", world=False),
    "emdb2": Benchmark(emdb.SET, "emdb2"),
    "human36m": Benchmark(human36m.SET, "test"),
    "aistpp": Benchmark(aistpp.SET, "pose_test", "physhmr"),
}
"""What --benchmark names."""

Method = Callable[[VisualTrack], Reconstruction]


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same over a set.

    Attributes:
        prepared, protocol, bodies, encoder: see there.
        methods: name -> what makes a motion of a track; all share the track of a sequence.
        out: folder of the results. settings: words that decide the results; another run's results are not mixed in.
        picture: called with (file, rollout beside the truth, or the clip where the truth has no body) where pictures are wanted.
    """

    prepared: Prepared
    protocol: Protocol
    bodies: Bodies
    encoder: VisionEncoder
    methods: dict[str, Method]
    out: Path
    settings: dict[str, str]
    picture: Callable[[Path, object], object] | None = None


Results = dict[str, dict[str, list[ClipFigures]]]
"""Method -> sequence -> its clips; one clip where the protocol takes sequences whole."""


def evaluate_set(run: Run, progress: Callable[[int, int], None] | None = None) -> Results:
    """Every sequence by every method; what is in the folder already is read.

    Raises:
        KitError: the folder holds results of other settings, or a sequence cannot be read.
    """
    _check_settings(run)
    results: Results = {method: {} for method in run.methods}
    for number, entry in enumerate(run.prepared.entries):
        name = entry["name"]
        todo = []
        for method in run.methods:
            kept = _read(_file(run, method, name))
            if kept is None:
                todo.append(method)
            else:
                results[method][name] = kept
        if todo:
            filmed = run.prepared.load(entry)
            truth = run.bodies.truth(filmed)
            track = track_from_keypoints(filmed.keypoints, filmed.camera, run.encoder, scale=None)
            for method in todo:
                results[method][name] = _by_method(run, method, filmed, truth, track)
        if progress:
            progress(number + 1, len(run.prepared.entries))
    return results


def clips_of(frames: int, length: int | None) -> list[slice]:
    """Whole clips of a sequence: all of it, or as many of `length` frames as it has (all of a shorter one)."""
    if length is None or frames < length:
        return [slice(0, frames)]
    return [slice(start, start + length) for start in range(0, frames - length + 1, length)]


def _by_method(run: Run, method: str, filmed: Filmed, truth: Points, track: VisualTrack) -> list[ClipFigures]:
    figures = []
    for rows in clips_of(len(track), run.protocol.clip_frames):
        result = run.methods[method](track[rows])
        state = result.rollout.simulated
        name = filmed.name if run.protocol.clip_frames is None else f"{filmed.name}_{rows.start:05d}"
        pred = run.bodies.predicted(state, track.scale, filmed.joint_set)
        figures.append(score(run.protocol, name, filmed, rows, pred, truth[rows], not result.restarts))
        folder = run.out / method / run.protocol.name
        clip = Clip.from_joints(track.scale * state.root_pos, local_rotations(state.body_rot), track.fps, name)
        clip.save(folder / f"{name}.npz")
        if run.picture and filmed.clip is None:
            run.picture(folder / f"{name}.png", clip)
        elif run.picture and filmed.clip is not None:
            true = _true_state(filmed.clip.cut(rows.start, rows.stop), track.scale)
            run.picture(folder / f"{name}.png", replace(result.rollout, name=f"{name}, {method}", reference=true))
    # last, for this file says that the others are there
    write_text(_file(run, method, filmed.name), json.dumps([asdict(f) for f in figures]))
    return figures


def score(
    protocol: Protocol, name: str, filmed: Filmed, rows: slice, pred: Points, truth: Points, unaided: bool
) -> ClipFigures:
    """The figures of one clip over its valid frames.

    Args:
        rows: of the sequence that the clip is. pred, truth: of these rows. unaided: the body was never put back onto an estimate.
    """
    valid, frames = filmed.valid[rows], rows.stop - rows.start
    pred, truth = pred[valid], truth[valid]
    count = int(valid.sum())
    if count < MIN_FRAMES:
        return ClipFigures(name, frames, 0, False)
    moving = bool(filmed.camera.batch_shape)
    camera_rot = filmed.camera.R[rows][valid] if moving else filmed.camera.R.expand(count, 3, 3)
    values = protocol.values(pred, truth, camera_rot)
    return ClipFigures.of(name, frames, count, unaided and not is_lost(pred.joints, truth.joints), values)


def is_lost(pred: torch.Tensor, target: torch.Tensor) -> bool:
    """PHC's rule of evaluation; over all joints of a set that has not SMPL's 24."""
    if pred.shape[1] == 24:
        return F.fail_frame(pred, target) is not None
    return bool(((pred - target).norm(dim=-1).mean(1) > LOST_DISTANCE).any())


def _true_state(clip: Clip, scale: float) -> BodyState:
    rooted = Clip.from_joints(clip.root_pos / scale, clip.joint_rot, clip.fps, clip.name)
    return MotionLibrary([rooted]).clip(0)


def _file(run: Run, method: str, name: str) -> Path:
    return run.out / method / run.protocol.name / f"{name}.json"


def _read(path: Path) -> list[ClipFigures] | None:
    if not path.is_file():
        return None
    try:
        return [ClipFigures(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as fault:
        raise KitError(f"{path}: not a readable result ({fault}); delete it, and it is made again") from fault


def _check_settings(run: Run) -> None:
    """Results of one folder are of one set, one body and one set of weights for each method."""
    path = run.out / "settings.json"
    before: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    changed = [key for key in run.settings if key in before and before[key] != run.settings[key]]
    if changed:
        key = changed[0]
        raise KitError(
            f"{run.out}: holds results with {key} '{before[key]}', not '{run.settings[key]}'; name another folder with --out"
        )
    if before | run.settings != before:
        write_text(path, json.dumps(before | run.settings, indent=1))
