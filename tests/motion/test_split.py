"""Held-out clips: every clip is in exactly one fold."""

from physhmr_kit.motion.split import is_held_out

NAMES = [f"{subject:02d}_{take:02d}" for subject in range(12) for take in range(25)]


def test_every_clip_is_held_out_once_and_the_folds_are_about_equal():
    parts = [{n for n in NAMES if is_held_out(n, 5, fold)} for fold in range(5)]
    assert set.union(*parts) == set(NAMES) and sum(map(len, parts)) == len(NAMES)
    assert all(40 < len(part) < 80 for part in parts)


def test_zero_folds_hold_out_nothing_and_one_fold_everything():
    assert not any(is_held_out(name, 0) for name in NAMES)
    assert all(is_held_out(name, 1) for name in NAMES)
