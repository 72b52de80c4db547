import csv
import io
import math
from dataclasses import dataclass

import pytest
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.metrics import score_rollouts, summarise, to_csv, to_markdown
from physhmr_kit.metrics.followed import ClipScore, Totals, frames_followed, score_clips, total, worst_first
from physhmr_kit.metrics.table import rich_table
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState


@dataclass
class Run:
    name: str
    reference: BodyState
    simulated: BodyState
    fail_frame: int | None = None
    length: int = 60
    fps: float = 30.0


def standing(frames=60, shift=(0.0, 0.0, 0.0), away_from=None):
    rot = torch.zeros(frames, 24, 4)
    rot[..., 3] = 1
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.tensor([0.0, 0.0, standing_height()]) + torch.tensor(shift).expand(frames, 3).clone()
    if away_from is not None:
        root[away_from:, 0] += 1.0
    pos, rot = forward_kinematics(root, rot, Humanoid.mean().offsets)
    zero, dof = torch.zeros(frames, 24, 3), torch.zeros(frames, 69)
    return BodyState(pos, rot, zero, zero, dof, dof)


@pytest.fixture(scope="module")
def rollouts():
    return [
        Run("good", standing(), standing(shift=(0.03, 0.0, 0.0))),
        Run("fell", standing(), standing(away_from=20)),
        Run("stopped", standing(30), standing(30), fail_frame=15),
        Run("short", standing(30), standing(30)),
    ]


@pytest.fixture(scope="module")
def rows(rollouts):
    return score_rollouts(rollouts)


@pytest.fixture(scope="module")
def closing(rollouts):
    return summarise(rollouts)


def test_a_tracked_clip_is_a_success_with_its_error(rows):
    row = rows[0]
    assert row["success"] and row["outcome"] == "tracked" and row["scored"] == row["frames"] == 60
    assert row["tracking_mm"] == pytest.approx(30, abs=1e-2)
    assert row["mpjpe_mm"] == pytest.approx(0, abs=1e-2)
    assert row["foot_sliding_mm_per_frame"] == 0
    assert math.isnan(row["rte_percent"])  # nobody walked


def test_a_lost_clip_is_scored_until_it_was_lost(rows):
    assert not rows[1]["success"] and rows[1]["scored"] == 20
    assert rows[1]["outcome"] == "lost at 0.7 s (33 %)"
    assert rows[1]["tracking_mm"] == pytest.approx(0, abs=1e-2)  # frames after the loss are not counted
    assert rows[2]["scored"] == 15  # the environment stopped it first
    assert not rows[3]["success"] and rows[3]["scored"] == 30  # did not fail but did not reach the end


def test_closing_rows_pool_frames_and_state_their_coverage(closing):
    everything, good = closing
    assert everything["success"] == good["success"] == 25
    assert everything["outcome"] == "1/4 success, 52 % of frames"  # (60 + 20 + 15 + 30) / 240
    assert good["outcome"] == "25 % of frames"
    assert good["tracking_mm"] == pytest.approx(30, abs=1e-2)
    assert everything["tracking_mm"] == pytest.approx(30 * 59 / (59 + 19 + 14 + 29), abs=1e-2)


def test_tracking_scores_agree_with_the_table(rollouts, rows, closing):
    scores, (everything, good) = score_clips(rollouts), closing
    for score, row in zip(scores, rows, strict=True):
        assert (score.followed, score.success) == (row["scored"], row["success"])
        assert score.tracking_mm == pytest.approx(row["tracking_mm"], abs=1e-3)
        assert row["outcome"].startswith(score.moment) or score.clip == "short"
    totals = total(scores)
    assert (totals.tracked, totals.clips, totals.covered) == (1, 4, everything["scored"] / everything["frames"])
    assert totals.followed_mm == pytest.approx(everything["tracking_mm"], abs=1e-3)
    assert totals.success_mm == pytest.approx(good["tracking_mm"], abs=1e-3)
    assert [scores[i].clip for i in worst_first(scores)] == ["stopped", "fell", "short", "good"]


def test_scores_as_text_and_shares():
    lost, whole = ClipScore("a", 60, 45, False, 12.0, 30.0), ClipScore("b", 20, 20, True, 8.0)
    assert (lost.share, lost.moment, whole.share, whole.moment) == (0.75, "lost at 1.5 s", 1.0, "tracked")
    both = total([lost, whole])
    assert both.words() == "1/2 clips, 81 % of frames, 11 mm" and both.success == 0.5
    assert both.followed_mm == pytest.approx((44 * 12 + 19 * 8) / 63) and both.success_mm == pytest.approx(8)
    assert both.score == (0.5, 65 / 80, -both.followed_mm)


def test_a_body_lost_at_once_has_one_frame_and_no_error():
    gone = Run("gone", standing(), standing(), fail_frame=0)
    assert frames_followed(gone) == (1, False)
    assert math.isnan(total(score_clips([gone])).followed_mm)


def test_worst_first_breaks_ties_by_error():
    clips = [
        ClipScore("near", 10, 5, False, 10.0),
        ClipScore("far", 10, 5, False, 90.0),
        ClipScore("x", 10, 5, False, math.nan),
    ]
    assert [clips[i].clip for i in worst_first(clips)] == ["x", "far", "near"]


def test_a_larger_score_is_better():
    scores = [t.score for t in (Totals(9, 5, 0.9, 30, 60), Totals(9, 6, 0.5, 30, 60), Totals(9, 6, 0.5, 30, 50))]
    assert scores == sorted(scores)
    assert Totals(9, 0, 0.0, math.nan, math.nan).score < Totals(9, 0, 0.0, math.nan, 1e9).score


def test_without_successes_the_second_row_is_nan(rollouts, rows):
    everything, good = summarise(rollouts[1:])
    assert math.isnan(good["tracking_mm"]) and good["scored"] == 0
    assert "| - |" in to_markdown(rows[1:], [everything, good])


def test_markdown_has_one_line_per_clip_and_the_notes(rows, closing):
    text = to_markdown(rows, closing, title="expert")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4 + 2
    assert len({line.count("|") for line in lines}) == 1
    assert "E_g-mpjpe" in text and "not SMPL vertices" in text


def test_csv_holds_every_measure_and_can_be_read_back(rows, closing):
    found = list(csv.DictReader(io.StringIO(to_csv(rows, closing))))
    assert [r["clip"] for r in found] == ["good", "fell", "stopped", "short", "all clips", "successful clips"]
    assert float(found[0]["tracking_mm"]) == pytest.approx(30, abs=1e-2)
    assert found[0]["rte_percent"] == "" and "limit_violation_percent" in found[0]


def test_terminal_table_has_the_same_rows(rows, closing):
    assert rich_table(rows, closing).row_count == 6
