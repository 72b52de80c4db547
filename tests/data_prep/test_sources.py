"""load_clips: any motion source at 30 fps, with unique names, or a one-line error."""

import numpy as np
import pytest
from motions import waving_clip

from data_prep import imported as module
from data_prep import motion_file
from data_prep.cache import cache_folder
from data_prep.named import STARTS, find_motion_files
from data_prep.sources import load_clips
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip, demo_clips
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.motion.generator import generated_clips
from physhmr_kit.utils.errors import KitError


def test_demo_motions_come_all_together_or_by_name():
    assert [c.name for c in load_clips(["demo"])] == [c.name for c in demo_clips()]
    (one,) = load_clips(["demo:squat"])
    assert one.name == "squat" and one.fps == 30.0


def test_generated_motions_are_loaded_by_count_and_seed_and_cached(monkeypatch):
    clips = generated_clips(2)
    first = load_clips(["generated:2"])
    monkeypatch.setattr("data_prep.made.generated_clips", lambda *_: pytest.fail("made again"))
    assert [clip.name for clip in first] == ["generated_0000_one_leg", "generated_0001_lunge"]
    for made, again, clip in zip(first, load_clips(["generated:2"]), clips, strict=True):
        assert made.name == again.name == clip.name
        np.testing.assert_array_equal(again.poses, clip.poses)
        np.testing.assert_array_equal(again.trans, clip.trans)
    with pytest.raises(pytest.fail.Exception):
        load_clips(["generated:2:7"])


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


def test_files_without_a_motion_are_ignored_in_a_folder(tmp_path, capsys):
    waving_clip().save(tmp_path / "walk.npz")
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16), gender="male")
    np.savez(tmp_path / "person.npz", betas=np.zeros(16), gender="male")  # the same under another name
    np.savez(tmp_path / "track.npz", poses=np.zeros(3))
    np.savez(tmp_path / "female_stagei.npz", betas=np.zeros(16), poses=np.zeros(3))
    np.savez(tmp_path / "keypoints.npz", keypoints=np.zeros((9, 17, 3)), fps=30, image_size=[640, 480])
    (tmp_path / "._walk.npz").write_bytes(b"what a Mac leaves in archives")
    assert [c.name for c in load_clips([tmp_path])] == ["walk"]
    assert capsys.readouterr().err == ""


def test_a_folder_without_motions_is_refused(tmp_path):
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    with pytest.raises(
        KitError, match=r"no motion files in this folder; .*1 file\(s\) without a motion were ignored .*shape\.npz"
    ):
        load_clips([tmp_path])


def folder_with_refused(folder):
    waving_clip().save(folder / "a.npz")
    waving_clip(3).save(folder / "short.npz")
    (folder / "damaged.npz").write_text("half a fi")
    np.savez(folder / "still.npz", poses=np.zeros((9, 7)), trans=np.zeros((9, 3)), mocap_framerate=30)
    return folder


def test_refused_files_of_a_folder_are_skipped_and_listed_with_the_reason(tmp_path, capsys):
    assert [c.name for c in load_clips([folder_with_refused(tmp_path)])] == ["a"]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "3 of 4 motion files skipped:"
    assert said[1].startswith(f"  {tmp_path / 'damaged.npz'}: not an .npz")
    assert said[2].startswith(f"  {tmp_path / 'short.npz'}: 3 frame(s) at 30 fps; tracking needs at least 5")
    assert said[3].startswith(f"  {tmp_path / 'still.npz'}: poses have shape (9, 7)")


def test_strict_stops_at_the_first_refused_file(tmp_path):
    with pytest.raises(KitError, match=r"damaged\.npz: not an"):
        load_clips([folder_with_refused(tmp_path)], strict=True)


def test_a_folder_whose_motions_are_all_refused_is_refused(tmp_path):
    (tmp_path / "damaged.npz").write_text("half a fi")
    with pytest.raises(KitError, match=r"none of its 1 motion files can be used; the first: .*damaged\.npz: not a"):
        load_clips([tmp_path])


def test_an_unexpected_exception_in_a_reader_does_not_stop_the_folder(tmp_path, monkeypatch, capsys):
    def stumble(path):
        raise ZeroDivisionError("by zero")

    folder_with_refused(tmp_path)
    (tmp_path / "x.bvh").write_text("odd")
    monkeypatch.setitem(motion_file.READERS, ".bvh", stumble)
    assert len(load_clips([tmp_path])) == 1
    assert "x.bvh: cannot be read (ZeroDivisionError: by zero); please report" in capsys.readouterr().err


def test_a_clip_with_one_teleport_is_cut_in_two_with_a_note(tmp_path, capsys):
    clip = waving_clip(90)
    clip.trans[50:, 0] += 0.5
    clip.save(tmp_path / "cut.npz")
    assert [(c.name, len(c)) for c in load_clips([tmp_path / "cut.npz"])] == [("cut_part1", 50), ("cut_part2", 40)]
    assert "cut.npz: cut in two where it teleports, from frame 49 to 50" in capsys.readouterr().err
    assert [c.name for c in load_clips([tmp_path / "cut.npz"], check=False)] == ["cut"]


def test_of_two_parts_one_may_be_refused():
    fit, lines = module._check([waving_clip(90, "a"), waving_clip(3, "b")])
    assert [c.name for c in fit] == ["a"] and lines[0].startswith("left out: b: 3 frame(s) at 30 fps")


def test_a_captured_motion_with_one_teleport_is_cut_before_it_is_retargeted(toy, capsys):
    """`low_pass` would smooth the jump into a movement; both halves are as still as the capture."""
    root = np.zeros((100, 6))
    root[:, 1], root[60:, 2] = 16.5, 10.0
    path = toy(100, root=root)
    first, second = load_clips([path])
    assert (first.name, second.name) == ("toy_01_part1", "toy_01_part2")
    assert (len(first), len(second)) == (15, 10)
    for part in (first, second):
        assert np.abs(np.diff(part.trans, axis=0)).max() < 1e-3
    assert "toy_01.amc: cut in two where it teleports, from frame 59 to 60" in capsys.readouterr().err


def test_the_cache_depends_on_content_name_options_and_importer_version(tmp_path, monkeypatch):
    clip = waving_clip()
    clip.trans[:, 2] += 0.1
    clip.save(tmp_path / "one" / "high.npz")
    read = []
    monkeypatch.setitem(motion_file.READERS, ".npz", lambda path: read.append(path) or [(Clip.load(path), [])])
    (first,) = load_clips([tmp_path / "one"])
    (second,) = load_clips([tmp_path / "one" / "high.npz"])
    assert len(read) == 1
    np.testing.assert_array_equal(first.poses, second.poses)
    np.testing.assert_array_equal(first.trans, second.trans)
    (tmp_path / "one" / "high.npz").rename(tmp_path / "moved.npz").rename(tmp_path / "high.npz")
    assert load_clips([tmp_path / "high.npz"])[0].name == "high" and len(read) == 1
    load_clips([tmp_path / "high.npz"], check=False)
    load_clips([tmp_path / "high.npz"], cached=False)
    assert len(read) == 3
    monkeypatch.setattr("data_prep.cache.importer_version", lambda: "another")
    load_clips([tmp_path / "high.npz"])
    assert len(read) == 4


def test_notes_and_refusals_are_cached_too(tmp_path, monkeypatch):
    folder_with_refused(tmp_path)
    high = waving_clip(name="high")
    high.trans[:, 2] += 0.1
    high.save(tmp_path / "high.npz")
    printed = []
    monkeypatch.setattr("data_prep.sources._warn", printed.append)
    load_clips([tmp_path])
    load_clips([tmp_path])
    assert printed[0] == printed[1] and len(printed[0]) == 5


def test_a_damaged_or_unwritable_cache_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "cache"))
    path = waving_clip().save(tmp_path / "a.npz")
    before = load_clips([path])[0]
    (kept,) = (cache_folder() / "clips").rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:200])
    np.testing.assert_array_equal(load_clips([path])[0].poses, before.poses)
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "a file"))
    np.testing.assert_array_equal(load_clips([path])[0].poses, before.poses)


@pytest.mark.parametrize(
    "spec, said",
    [
        ("generated", "expected generated:COUNT or"),
        ("generated:", "expected generated:COUNT or"),
        ("generated:0", "expected generated:COUNT or"),
        ("generated:2:", "expected generated:COUNT or"),
        ("generated:2:x", "expected generated:COUNT or"),
        ("generated:2:3:4", "expected generated:COUNT or"),
        ("demo:somersault", "no such demo motion; there are .*stand"),
        ("nowhere/clip.npz", "no such file"),
        ("nowhere", "no such file or folder; expected"),
        ("{tmp}", "no motion files in this folder"),
        ("{tmp}/notes.txt", "not a supported motion file"),
        ("{tmp}/broken.npz", "not an .npz clip but a text file"),
        ("{tmp}/broken.bvh", "no HIERARCHY section"),
        ("{tmp}/broken.amc", "no skeleton beside it"),
    ],
)
def test_a_source_that_cannot_be_loaded_is_a_one_line_error(tmp_path, spec, said):
    (tmp_path / "notes.txt").write_text("no motion")
    if "broken" in spec:
        for kind in ("npz", "bvh", "amc"):
            (tmp_path / f"broken.{kind}").write_text("half a fi")
    with pytest.raises(KitError, match=said) as caught:
        load_clips([spec.format(tmp=tmp_path)])
    assert "\n" not in str(caught.value)


def test_every_supported_suffix_has_a_reader():
    assert set(STARTS) == set(motion_file.READERS)


def test_no_sources_are_refused():
    with pytest.raises(KitError, match="no clips given"):
        load_clips([])
