"""Evaluates every method on every sequence of a prepared set; results are saved, so that an interrupted run can resume.

A sequence is encoded once: keypoints and the set's own camera become a `VisualTrack` whose world is divided by the estimated size
of the person. A method returns a body in that world; it is scaled back and scored in the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from data_prep import aistpp, emdb, human36m, threedpw
from data_prep.benchmark_sequence import BenchmarkSequence
from data_prep.benchmark_set import MANIFEST, BenchmarkSet, Prepared, keypoints_label
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
    """A data set and the split and metrics that papers report.

    Attributes:
        source: its reader. split: of the set. protocol: the default one. world: whether world metrics are reported.
        lsp: whether metrics use 3DPW's 14 joints.
    """

    source: BenchmarkSet
    split: str
    protocol: str = "wham"
    world: bool = True
    lsp: bool = False

    def open(self, data: Path, out: Path, keypoints: Path | None = None) -> Prepared:
        """The prepared set: `data` itself if it has a manifest, otherwise prepared from it in out/data, once.

        Raises:
            KitError: another data set, other keypoints, or unreadable.
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
                f"{data}: prepared with keypoints {prepared.keypoints}; prepare it again for those of {keypoints}"
            )
        return prepared.select_split(self.split)


BENCHMARKS = {
    "3dpw": Benchmark(threedpw.SET, "test", world=False, lsp=True),
    "emdb1": Benchmark(emdb.SET, "emdb1", world=False),
    "emdb2": Benchmark(emdb.SET, "emdb2"),
    "human36m": Benchmark(human36m.SET, "test"),
    "aistpp": Benchmark(aistpp.SET, "pose_test", "physhmr"),
}
"""Choices of `--benchmark`."""

Method = Callable[[VisualTrack], Reconstruction]


@dataclass(frozen=True, eq=False)
class Run:
    """The configuration of an evaluation.

    Attributes:
        prepared, protocol, bodies, encoder: see their classes.
        methods: name -> function from a track to a reconstruction; all get the same track of a sequence.
        out: folder for results. settings: recorded there; results with other settings are refused.
        picture: called with (file, rollout with the ground truth, or the clip if that has no body); None for no pictures.
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
"""Method -> sequence -> its clips; a single clip if the protocol scores whole sequences."""


def evaluate_set(run: Run, progress: Callable[[int, int], None] | None = None) -> Results:
    """Evaluate every method on every sequence; existing results are loaded.

    Raises:
        KitError: the folder holds results of other settings, or a sequence cannot be read.
    """
    _check_settings(run)
    results: Results = {method: {} for method in run.methods}
    for number, entry in enumerate(run.prepared.entries):
        name = entry["name"]
        missing = []
        for method in run.methods:
            saved = _read(_file(run, method, name))
            if saved is None:
                missing.append(method)
            else:
                results[method][name] = saved
        if missing:
            sequence = run.prepared.load(entry)
            truth = run.bodies.truth(sequence)
            track = track_from_keypoints(sequence.keypoints, sequence.camera, run.encoder, scale=None)
            for method in missing:
                results[method][name] = _evaluate(run, method, sequence, truth, track)
        if progress:
            progress(number + 1, len(run.prepared.entries))
    return results


def clips_of(frames: int, length: int | None) -> list[slice]:
    """Split a sequence into clips of `length` frames, dropping the rest; a shorter sequence, or length None, is one clip."""
    if length is None or frames < length:
        return [slice(0, frames)]
    return [slice(start, start + length) for start in range(0, frames - length + 1, length)]


def _evaluate(
    run: Run, method: str, sequence: BenchmarkSequence, truth: Points, track: VisualTrack
) -> list[ClipFigures]:
    figures = []
    for rows in clips_of(len(track), run.protocol.clip_frames):
        result = run.methods[method](track[rows])
        state = result.rollout.simulated
        name = sequence.name if run.protocol.clip_frames is None else f"{sequence.name}_{rows.start:05d}"
        pred = run.bodies.predicted(state, track.scale, sequence.joint_set)
        figures.append(score(run.protocol, name, sequence, rows, pred, truth[rows], not result.restarts))
        folder = run.out / method / run.protocol.name
        clip = Clip.from_joints(track.scale * state.root_pos, local_rotations(state.body_rot), track.fps, name)
        clip.save(folder / f"{name}.npz")
        if run.picture:
            pictured: object = clip
            if sequence.clip is not None:
                truth_state = _true_state(sequence.clip.cut(rows.start, rows.stop), track.scale)
                pictured = replace(result.rollout, name=f"{name}, {method}", reference=truth_state)
            run.picture(folder / f"{name}.png", pictured)
    # written last: it marks the sequence as complete
    write_text(_file(run, method, sequence.name), json.dumps([asdict(f) for f in figures]))
    return figures


def score(
    protocol: Protocol, name: str, sequence: BenchmarkSequence, rows: slice, pred: Points, truth: Points, unaided: bool
) -> ClipFigures:
    """Score one clip over its valid frames.

    Args:
        rows: of the clip within the sequence. pred, truth: of these rows. unaided: the body was never reset to the estimate.
    """
    valid, frames = sequence.valid[rows], rows.stop - rows.start
    pred, truth = pred[valid], truth[valid]
    count = int(valid.sum())
    if count < MIN_FRAMES:
        return ClipFigures(name, frames, 0, False)
    moving = bool(sequence.camera.batch_shape)
    camera_rot = sequence.camera.R[rows][valid] if moving else sequence.camera.R.expand(count, 3, 3)
    values = protocol.values(pred, truth, camera_rot)
    return ClipFigures.of(name, frames, count, unaided and not is_lost(pred.joints, truth.joints), values)


def is_lost(pred: torch.Tensor, target: torch.Tensor) -> bool:
    """PHC's failure criterion; over all joints if the set does not have SMPL's 24."""
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
        raise KitError(f"{path}: not a readable result ({fault}); delete it and run again") from fault


def _check_settings(run: Run) -> None:
    """Refuse to mix results of different sets, bodies or weights in one folder."""
    path = run.out / "settings.json"
    before: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for key, value in run.settings.items():
        if before.get(key, value) != value:
            raise KitError(
                f"{run.out}: contains results with {key} '{before[key]}', not '{value}'; choose another folder with --out"
            )
    if before | run.settings != before:
        write_text(path, json.dumps(before | run.settings, indent=1))
