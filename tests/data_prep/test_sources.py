"""load_clips: anything a user may type, at 30 fps, under names of their own, or one clear line."""

import pytest

from data_prep.sources import find_motion_files, load_clips
from physhmr_kit.motion.demo import demo_clip, demo_clips
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.utils.errors import KitError


def test_demo_motions_come_all_together_or_by_name():
    assert [c.name for c in load_clips(["demo"])] == [c.name for c in demo_clips()]
    (one,) = load_clips(["demo:squat"])
    assert one.name == "squat" and one.fps == 30.0


def test_clips_of_other_rates_are_resampled_by_time(tmp_path):
    clip = demo_clip("wave")
    clip.resample(100.0).save(tmp_path / "wave.npz")
    (back,) = load_clips([tmp_path / "wave.npz"])
    assert back.fps == 30.0 and back.duration == pytest.approx(clip.duration, abs=1 / 30)


def test_folders_are_searched_below_in_sorted_order_and_names_made_unique(tmp_path):
    clip = demo_clip("stand")
    for name in ("b/stand.npz", "a/stand.npz", "c.npz"):
        clip.save(tmp_path / name)
    write_bvh(clip, tmp_path / "a" / "walk.bvh")
    (tmp_path / "notes.txt").write_text("no motion")
    assert [p.relative_to(tmp_path).as_posix() for p in find_motion_files(tmp_path)] == [
        "a/stand.npz", "a/walk.bvh", "b/stand.npz", "c.npz",
    ]  # fmt: skip
    names = [c.name for c in load_clips([tmp_path, "demo:stand"])]
    assert names == ["stand", "walk", "stand_2", "c", "stand_3"]


def test_a_file_that_changes_on_disk_is_read_again(tmp_path):
    path = tmp_path / "x.npz"
    demo_clip("stand").save(path)
    first = len(load_clips([path])[0])
    demo_clip("stand").cut(0, 10).save(path)
    assert len(load_clips([path])[0]) == 10 != first


@pytest.mark.parametrize(
    "spec, said",
    [
        ("demo:somersault", "no such demo motion; there are .*stand"),
        ("nowhere/clip.npz", "no such file"),
        ("nowhere", "no such file or folder; expected"),
        ("{tmp}", "no motion files in this folder"),
        ("{tmp}/notes.txt", "not a motion file of a known kind"),
        ("{tmp}/broken.npz", "not a readable .npz clip"),
        ("{tmp}/broken.bvh", "no HIERARCHY section"),
        ("{tmp}/broken.amc", "no skeleton beside it"),
    ],
)
def test_what_cannot_be_loaded_is_named_in_one_line(tmp_path, spec, said):
    (tmp_path / "notes.txt").write_text("no motion")
    if "broken" in spec:
        for kind in ("npz", "bvh", "amc"):
            (tmp_path / f"broken.{kind}").write_text("half a fi")
    with pytest.raises(KitError, match=said) as caught:
        load_clips([spec.format(tmp=tmp_path)])
    assert "\n" not in str(caught.value)


def test_asking_for_nothing_is_refused():
    with pytest.raises(KitError, match="no clips asked for"):
        load_clips([])
