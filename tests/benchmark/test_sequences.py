"""Evaluation of a set: scores, saved results, resuming, and tables."""

import csv
from dataclasses import replace

import benchmark_layouts as layouts
import pytest
import torch

from data_prep import emdb
from data_prep.benchmark_set import Prepared
from physhmr_kit import benchmark
from physhmr_kit.benchmark.bodies import KitBody
from physhmr_kit.benchmark.sequences import BENCHMARKS, Run, clips_of, evaluate_set, is_lost, score
from physhmr_kit.benchmark.tables import write_tables
from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env import Rollout
from physhmr_kit.metrics.protocols import PHC, PROTOCOLS, WHAM
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.reconstruction import Reconstruction
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import VisionEncoder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("emdb")
    folder = layouts.write_emdb(root / "raw", layouts.scene())
    layouts.write_emdb(folder, layouts.scene(), "P2_20_outdoor_walk")
    emdb.SET.prepare(folder, root / "set")
    return Prepared.open(root / "set")


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VisionEncoder(width=24, layers=1, heads=2).eval()


class Oracle:
    """A method that returns the ground truth, shifted by `offset` (m) along each axis, and records its calls."""

    def __init__(self, prepared, offset=0.0):
        self.clips = [prepared.load(entry).clip for entry in prepared.entries]
        self.calls, self.offset = [], offset

    def __call__(self, track) -> Reconstruction:
        self.calls.append(track.name)
        clip = next(c for c in self.clips if c.name == track.name).cut(track.first, track.first + len(track))
        small = type(clip).from_joints((clip.root_pos + self.offset) / track.scale, clip.joint_rot, 30.0, clip.name)
        state, count = MotionLibrary([small]).clip(0), len(track)
        forces = torch.zeros(count, 24, 3), torch.zeros(count, NUM_DOFS)
        rollout = Rollout(track.name, state, state, *forces, {}, count, True, None, track.fps)
        return Reconstruction(track, rollout, [], "oracle")


class OneSize(KitBody):
    """Scores every prediction on a body of the true size, so that the oracle has no error."""

    def predicted(self, state, scale, joint_set):
        points = super().predicted(state, scale, joint_set)
        pelvis = scale * state.root_pos[:, None]
        return replace(points, joints=(points.joints - pelvis) / scale + pelvis, feet=points.feet)


def make(prepared, encoder, out, protocol=WHAM, bodies=None, **methods):
    return Run(prepared, protocol, bodies or OneSize(), encoder, methods, out, {"benchmark": "emdb1"})


def test_ground_truth_has_no_error_in_any_protocol(prepared, encoder, tmp_path):
    for protocol in (WHAM, PHC):
        found = evaluate_set(make(prepared, encoder, tmp_path, protocol, truth=Oracle(prepared)))
        for clips in found["truth"].values():
            (one,) = clips
            assert one.success and (one.frames, one.scored) == (40, 37)
            for measure in set(one.counts) - {"jitter", "foot_sliding"}:
                assert abs(one.mean(measure)) < 0.2, measure


def test_second_run_only_adds_missing_results(prepared, encoder, tmp_path):
    method = Oracle(prepared)
    first = evaluate_set(make(prepared, encoder, tmp_path, truth=method))
    assert len(method.calls) == 2
    (tmp_path / "truth" / "wham" / "P2_20_outdoor_walk.json").unlink()
    again = evaluate_set(make(prepared, encoder, tmp_path, truth=method))
    assert method.calls[2:] == ["P2_20_outdoor_walk"] and again == first
    assert (tmp_path / "truth" / "wham" / "P1_14_outdoor_climb.npz").is_file(), "the motion is saved too"


def test_results_of_other_settings_are_refused(prepared, encoder, tmp_path):
    evaluate_set(make(prepared, encoder, tmp_path, truth=Oracle(prepared)))
    other = replace(make(prepared, encoder, tmp_path, truth=Oracle(prepared)), settings={"benchmark": "emdb2"})
    with pytest.raises(KitError, match="choose another folder with --out"):
        evaluate_set(other)
    (tmp_path / "truth" / "wham" / "P1_14_outdoor_climb.json").write_text("[{")
    with pytest.raises(KitError, match="not a readable result"):
        evaluate_set(make(prepared, encoder, tmp_path, truth=Oracle(prepared)))


def test_sequences_are_split_into_clips_of_a_hundred_frames():
    assert clips_of(250, 100) == [slice(0, 100), slice(100, 200)]
    assert clips_of(60, 100) == [slice(0, 60)] and clips_of(250, None) == [slice(0, 250)]


def test_invalid_frames_are_not_scored(prepared):
    sequence = prepared.load(prepared.entries[0])
    truth = KitBody().truth(sequence)
    wrong = replace(truth, joints=truth.joints.clone())
    wrong.joints[37:] += 3.0  # not valid
    figures = score(WHAM, "x", sequence, slice(0, 40), wrong, truth, True)
    assert figures.success and figures.scored == 37 and figures.mean("mpjpe") < 1e-3
    hidden = replace(sequence, valid=torch.zeros(40, dtype=torch.bool))
    assert score(WHAM, "x", hidden, slice(0, 40), wrong, truth, True).scored == 0


def test_success_needs_tracking_throughout_without_resets(prepared):
    sequence = prepared.load(prepared.entries[0])
    truth = KitBody().truth(sequence)
    far = replace(truth, joints=truth.joints + 0.4)
    assert not score(WHAM, "x", sequence, slice(0, 40), far, truth, True).success
    assert not score(WHAM, "x", sequence, slice(0, 40), truth, truth, False).success
    assert is_lost(far.joints[:, :13], truth.joints[:, :13]) and not is_lost(truth.joints[:, :13], truth.joints[:, :13])


def test_tables_have_every_method_and_sequence_with_success_and_coverage(prepared, encoder, tmp_path):
    methods = {"truth": Oracle(prepared), "off": Oracle(prepared, 0.4)}  # lost, though its pose is right
    found = evaluate_set(make(prepared, encoder, tmp_path, **methods))
    text = write_tables(found, WHAM, False, tmp_path, "A set", ["a note of ours"])
    assert "| truth | 2 | 100.0 | 92.5 |" in text and "| off | 2 | 0.0 | 92.5 |" in text
    assert "W-MPJPE100" not in text and "- a note of ours" in text, "no world metrics if the world drifts"
    assert "| P1_14_outdoor_climb | off | 1 | 0.0 |" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [(r["sequence"], r["method"]) for r in rows][-2:] == [("all", "truth"), ("all", "off")] and len(rows) == 6
    latex = (tmp_path / "table.tex").read_text()
    assert latex.count(r"\toprule") == 2 and r"P1\_14\_outdoor\_climb" in latex
    assert "RTE %" in write_tables(found, WHAM, True, tmp_path, "A set", [])


def test_phc_table_has_a_row_for_successful_sequences(prepared, encoder, tmp_path):
    methods = {"truth": Oracle(prepared), "off": Oracle(prepared, 0.4)}
    found = evaluate_set(make(prepared, encoder, tmp_path, PHC, **methods))
    text = write_tables(found, PHC, True, tmp_path, "A set", [])
    assert "| truth, successful | 2 | 100.0 |" in text and "| off, successful | 0 | - | - | - |" in text


def test_command_line_names_exist():
    assert tuple(BENCHMARKS) == benchmark.NAMES and tuple(PROTOCOLS) == benchmark.PROTOCOL_NAMES
    assert all(b.protocol in PROTOCOLS for b in BENCHMARKS.values())
