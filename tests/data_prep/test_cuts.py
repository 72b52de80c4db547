"""Cut detection: image and people must change together; each shot is then tracked separately."""

from dataclasses import replace

import numpy as np
import pytest
from films import film, grey
from test_people import body, feet, seen

from data_prep.keypoints.cuts import find_cuts, picture_changes
from data_prep.keypoints.people import LOW, follow


def filmed(jump: float, change: float, usual: float = 3.0, frames: int = 40):
    """A walking person who jumps at frame 20, and the image change usually and at that frame."""
    found = seen([[body(300 + 4 * n + (jump if n >= 20 else 0))] for n in range(frames)])
    changes = np.full(frames, usual)
    changes[0], changes[20] = 0, change
    return replace(found, change=changes)


@pytest.mark.parametrize(
    ("jump", "change", "usual", "cuts"),
    [(900, 60, 3, [20]), (120, 60, 3, [20]), (0, 60, 3, []), (900, 3, 3, []), (900, 60, 30, []), (900, 12, 1, [])],
    ids=["cut", "cut to nearly the same position", "flash", "detector jump", "fast pan", "small change"],
)
def test_cut_needs_a_change_of_image_and_people(jump, change, usual, cuts):
    assert find_cuts(filmed(jump, change, usual)) == cuts


def test_cut_to_an_empty_image_and_detections_without_images():
    found = filmed(0, 60)
    assert find_cuts(replace(found, frame=found.frame[:20], keypoints=found.keypoints[:20])) == [20]
    assert find_cuts(replace(filmed(900, 60), change=None)) == []


def test_frames_are_compared_with_the_previous_one(tmp_path):
    path = film(tmp_path / "a.mp4", [*grey(10, value=40), *grey(10, value=200)])
    changes = picture_changes(path)
    assert len(changes) == 20 and changes.argmax() == 10 and changes[10] > 60 > 20 > np.delete(changes, 10).max()


@pytest.mark.parametrize("single_person", [True, False])
def test_tracking_restarts_after_a_cut(single_person):
    found = filmed(900, 60)
    track = follow(found, single_person=single_person, cuts=find_cuts(found), notes=(notes := []))
    assert (track[..., 2] > LOW).all() and feet(track)[20] - feet(track)[19] > 800 and notes == []


def test_person_numbers_are_per_shot():
    found = seen([[body(300), body(1500, height=500)] if n < 20 else [body(900)] for n in range(40)])
    track = follow(found, 1, cuts=[20])
    assert feet(track)[0] == pytest.approx(1500) and not track[20:].any()
