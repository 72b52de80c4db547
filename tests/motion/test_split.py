"""Held-out clips: every clip is in exactly one part, whichever clips are there."""

from physhmr_kit.motion.split import is_held_out

NAMES = [f"{subject:02d}_{take:02d}" for subject in range(12) for take in range(25)]


def test_every_clip_is_held_out_once_and_the_parts_are_about_equal():
    parts = [{n for n in NAMES if is_held_out(n, 5, fold)} for fold in range(5)]
    assert set.union(*parts) == set(NAMES) and sum(map(len, parts)) == len(NAMES)
    assert all(40 < len(part) < 80 for part in parts)


def test_nothing_is_held_out_unless_asked_for():
    assert not any(is_held_out(name, 0) for name in NAMES)


def test_one_clip_in_one_is_every_clip():
    assert all(is_held_out(name, 1) for name in NAMES)
