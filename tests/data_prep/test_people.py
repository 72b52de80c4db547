"""Tracking one person: largest, central or numbered; possibly swapped and distant bodies get low confidence."""

import re

import numpy as np
import pytest

from data_prep.detect import Detections, Place
from data_prep.keypoints.people import LOW, SURE, follow
from physhmr_kit.utils.errors import KitError

FPS = 30
# a standing person of height 1, feet at the origin, in COCO order
SHAPE = np.array(
    [(0, -0.93), (0.02, -0.95), (-0.02, -0.95), (0.05, -0.94), (-0.05, -0.94), (0.11, -0.8), (-0.11, -0.8), (0.14, -0.62),
     (-0.14, -0.62), (0.14, -0.47), (-0.14, -0.47), (0.07, -0.5), (-0.07, -0.5), (0.08, -0.28), (-0.08, -0.28), (0.08, -0.04),
     (-0.08, -0.04)]
)  # fmt: skip


def body(x: float, y: float = 900.0, height: float = 600.0, confidence: float = 0.9) -> np.ndarray:
    """(17, 3): a standing person with the feet at (x, y), pixels."""
    return np.concatenate([SHAPE * height + (x, y), np.full((17, 1), confidence)], axis=-1)


def seen(frames: list[list[np.ndarray]], fps: float = FPS) -> Detections:
    """Detections from a list of bodies for each frame."""
    rows = [n for n, bodies in enumerate(frames) for _ in bodies]
    points = [b for bodies in frames for b in bodies]
    return Detections(
        np.arange(len(frames)) / fps,
        np.full(len(frames), 200),
        np.array(rows, dtype=int),
        np.array(points, dtype=np.float32).reshape(-1, 17, 3),
        (1920, 1080),
    )


def feet(track: np.ndarray) -> np.ndarray:
    """(T,) x of the midpoint of the ankles."""
    return track[:, 15:, 0].mean(1)


def test_single_person_is_tracked_unchanged():
    frames = [[body(300 + 8 * n)] for n in range(40)]
    track = follow(seen(frames))
    np.testing.assert_allclose(track, np.array([f[0] for f in frames]), rtol=1e-6)


def test_no_person_gives_zeros():
    assert not follow(seen([[] for _ in range(10)])).any()
    faint = [[body(300, confidence=SURE / 2)] for _ in range(10)]
    assert not follow(seen(faint)).any()


def test_largest_central_and_numbered_people():
    frames = [[body(950, height=300), body(300 + n, height=700), body(1700, height=400)] for n in range(8)]
    found = seen(frames)
    assert feet(follow(found))[0] == pytest.approx(300)
    assert feet(follow(found, "centre"))[0] == pytest.approx(950)
    assert [feet(follow(found, n))[0] for n in (0, 1, 2)] == pytest.approx([300, 1700, 950])
    assert feet(follow(found, "1"))[0] == pytest.approx(1700)
    with pytest.raises(KitError, match="only 3 detected"):
        follow(found, 3)
    with pytest.raises(KitError, match="'largest', 'centre' or a number"):
        follow(found, "tallest")


def test_place_selects_a_person_and_a_note_reports_it():
    frames = [[body(950 + n, height=300), body(300 + n, height=700), body(1700, height=400)] for n in range(30)]
    found, notes = seen(frames), []
    track = follow(found, place=Place((900, 600, 100, 320), 0.1), notes=notes)
    assert feet(track)[0] == pytest.approx(950)
    assert len(notes) == 1 and "3 people are visible; 2 is tracked, from 0.0 to 1.0 s" in notes[0]
    others = re.findall(r"--at 0.00 --box ([\d ]+)", notes[0])[1:]
    for box, who in zip(others, (300, 1700), strict=True):
        assert feet(follow(found, place=Place(tuple(map(float, box.split())))))[0] == pytest.approx(who)
    with pytest.raises(KitError, match=r"nobody is there at 0.5 s; detected then: --at 0.50 --box"):
        follow(found, place=Place((0, 0, 50, 50), 0.5))
    with pytest.raises(KitError, match=r"the video ends at 0.97 s"):
        follow(found, place=Place((900, 600, 100, 320), 9.0))
    notes = []
    follow(seen([[body(400)] for _ in range(30)]), notes=notes)
    assert notes == []


@pytest.mark.parametrize("box, at", [((0, 0, 0, 5), 0.0), ((0, 0, 5, 5), -1.0)])
def test_invalid_place_is_refused(box, at):
    with pytest.raises(KitError, match="X Y W H with W, H > 0"):
        Place(box, at)


def test_briefly_visible_person_is_not_the_central_one():
    frames = [[body(300)] + ([body(960, 840, 200)] if n == 5 else []) for n in range(40)]
    assert feet(follow(seen(frames), "centre"))[5] == pytest.approx(300)


def test_the_order_of_detections_does_not_matter():
    frames = [[body(300 + 4 * n), body(1500 - 4 * n, height=500)][:: 1 if n % 2 else -1] for n in range(40)]
    np.testing.assert_allclose(feet(follow(seen(frames))), 300 + 4.0 * np.arange(40), rtol=1e-6)


def test_person_is_tracked_again_after_a_gap():
    frames = [[body(300 + 6 * n)] if not 15 <= n < 30 else [] for n in range(60)]
    track = follow(seen(frames))
    assert not track[15:30].any()
    assert (track[:15, :, 2] > 0.5).all() and (track[30:, :, 2] > 0.5).all()


def crossing(hidden: int, same_size: bool = True, noise: float = 2.0):
    """Two people whose paths cross in the image; for `hidden` frames only the nearer one is detected."""
    rng = np.random.default_rng(0)
    frames, a, b = [], [], []
    for n in range(90):
        a.append(500 + 10.0 * n)
        b.append(1400 - 10.0 * n)
        one, two = body(a[-1]), body(b[-1], height=600 if same_size else 480)
        one[:, :2] += rng.normal(0, noise, (17, 2))
        two[:, :2] += rng.normal(0, noise, (17, 2))
        pair = [one, two]
        frames.append(pair[:1] if abs(n - 45) < hidden / 2 else pair[:: 1 if n % 3 else -1])
    return seen(frames), np.array(a), np.array(b)


@pytest.mark.parametrize("hidden", [0, 9, 15])
@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("person", [0, 1])
def test_crossing_people_are_never_swapped_with_full_confidence(hidden, same_size, person):
    found, a, b = crossing(hidden, same_size)
    track = follow(found, person)
    confident = (track[..., 2] > LOW).all(1)
    start = feet(track)[0]
    truth = a if abs(start - a[0]) < abs(start - b[0]) else b
    wrong = np.abs(feet(track) - truth) > 40
    assert not (wrong & confident).any(), np.flatnonzero(wrong & confident)
    assert confident.mean() > 0.6
    if hidden < 9:
        assert not confident[45], "ambiguous, but confident"


def test_temporary_jump_of_a_single_person_detector_has_low_confidence():
    frames = [[body(1500, height=450) if 20 <= n < 35 else body(400 + 3 * n)] for n in range(60)]
    track = follow(seen(frames), single_person=True)
    away = np.arange(60)[20:35]
    assert (track[away, :, 2] <= LOW).all() and (track[away, :, 2] > 0).all()
    kept = np.delete(np.arange(60), away)
    assert (track[kept, :, 2] > 0.5).all()


def test_permanent_jump_of_a_single_person_detector_keeps_the_longer_part():
    frames = [[body(400 + 3 * n) if n < 40 else body(1500)] for n in range(60)]
    track = follow(seen(frames), single_person=True)
    assert (track[:40, :, 2] > 0.5).all() and (track[40:, :, 2] <= LOW).all()


@pytest.mark.parametrize("fps", [10, 24, 120])
def test_fast_motion_is_not_mistaken_for_a_jump(fps):
    """A sprint of a 1.75 m tall person at 9 m/s, with jumps of half a metre."""
    t = np.arange(int(1.5 * fps)) / fps
    x, y = 100 + 9 / 1.75 * 250 * t, 900 - 250 * 0.3 * np.abs(np.sin(6 * t))
    frames = [[body(x[n], y[n], height=250)] for n in range(len(t))]
    track = follow(seen(frames, fps), single_person=True)
    assert (track[..., 2] > 0.5).all()


def test_single_person_detector_continues_after_a_long_gap():
    frames = [[body(400)] if n < 40 or n >= 160 else [] for n in range(200)]
    track = follow(seen(frames), single_person=True)
    assert (track[160:, :, 2] > 0.5).all() and not track[40:160].any()


def test_partly_visible_body_is_tracked():
    legs = body(500)
    legs[:11, 2] = 0.0
    track = follow(seen([[legs] for _ in range(20)]))
    assert (track[:, 11:, 2] > 0.5).all() and not track[:, :11, 2].any()
