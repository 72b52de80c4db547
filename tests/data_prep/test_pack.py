"""Packing: a library equals its loaded files, is written atomically, and only changed files are imported again."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from motions import rest_clip, waving_clip

from data_prep import motion_file
from data_prep.pack import main
from data_prep.packing import pack
from data_prep.sources import load_clips, load_library
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.cli import run
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.library_files import is_library, read_index
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError


@pytest.fixture
def folder(tmp_path):
    """Five motions, two of one name, one cut in two, and one that is refused."""
    waving_clip(40).save(tmp_path / "in" / "a.npz")
    waving_clip(50, rate=2.0).save(tmp_path / "in" / "b" / "a.npz")
    twice = waving_clip(90)
    twice.trans[50:, 0] += 0.5
    twice.save(tmp_path / "in" / "cut.npz")
    rest_clip(60).resample(120.0).save(tmp_path / "in" / "fast.npz")
    waving_clip(3).save(tmp_path / "in" / "short.npz")
    (tmp_path / "in" / "LICENSE.txt").write_text("\nFree for all uses\nand so on\n")
    return tmp_path / "in"


def same(one: MotionLibrary, other: MotionLibrary) -> None:
    assert one.names == other.names and one.lengths.tolist() == other.lengths.tolist()
    rows = torch.arange(one.num_frames)
    for field in fields(BodyState):
        torch.testing.assert_close(
            getattr(one.at(rows), field.name), getattr(other.at(rows), field.name), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_library_equals_loading_the_folder(folder, tmp_path, workers):
    packed = pack([folder], tmp_path / "library", workers=workers)
    opened = MotionLibrary.open(tmp_path / "library")
    same(opened, MotionLibrary(load_clips([folder])))
    assert opened.names == ["a", "a_2", "cut_part1", "cut_part2", "fast"]
    assert packed.bytes == pytest.approx(4 * (450 + 69) * opened.num_frames, rel=0.01)
    expected = torch.cat([reference_torques(opened.clip(c), Humanoid.mean()) for c in range(5)])
    torch.testing.assert_close(opened.torques, expected, atol=0.05, rtol=0)
    assert packed.lines[-1].startswith(f"  {folder / 'short.npz'}: 3 frame(s)")


def test_the_index_holds_source_licence_length_and_refusals(folder, tmp_path):
    pack([folder], tmp_path / "library", workers=1)
    index = read_index(tmp_path / "library")
    assert [(c.name, c.frames) for c in index.clips][:2] == [("a", 40), ("a_2", 50)]
    assert index.clips[1].source == str(folder / "b" / "a.npz")
    assert {c.licence for c in index.clips} == {"Free for all uses"}
    assert list(index.refused) == [str(folder / "short.npz")]
    pack([folder], tmp_path / "library", licence="mine", workers=1)
    assert {c.licence for c in read_index(tmp_path / "library").clips} == {"mine"}


def test_a_library_is_loaded_alone_or_with_other_sources(folder, tmp_path):
    pack([folder], tmp_path / "library", workers=1)
    assert [c.name for c in load_clips([tmp_path / "library", "demo:squat"])][-2:] == ["fast", "squat"]
    same(load_library([tmp_path / "library"]), load_library([folder]))
    both = load_library([tmp_path / "library", "demo:squat"])
    same(both, MotionLibrary([*load_clips([folder]), *load_clips(["demo:squat"])]))


def test_only_changed_files_are_imported_again(folder, tmp_path, monkeypatch):
    read = []
    monkeypatch.setitem(motion_file.READERS, ".npz", lambda path: read.append(path.name) or [(Clip.load(path), [])])
    monkeypatch.setenv("PHYSHMR_CACHE", str(tmp_path / "cache"))
    first = pack([folder], tmp_path / "library", workers=1)
    assert len(read) == 5 and first.fresh == 240
    again = pack([folder], tmp_path / "library", workers=1)
    assert len(read) == 5 and (again.fresh, again.seconds) == (0, 0)
    waving_clip(45).save(folder / "fast.npz")
    changed = pack([folder], tmp_path / "library", workers=1)
    assert read[5:] == ["fast.npz"] and changed.fresh == 45
    assert len(list((tmp_path / "library").glob("states-*.npy"))) == 1
    assert MotionLibrary.open(tmp_path / "library").lengths.tolist() == [40, 50, 50, 40, 45]


def test_a_failed_packing_leaves_the_existing_library(folder, tmp_path, monkeypatch):
    pack([folder], tmp_path / "library", workers=1)
    before = {p.name: p.read_bytes() for p in (tmp_path / "library").iterdir()}
    waving_clip(45).save(folder / "fast.npz")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.packing._write_one", fail)
    with pytest.raises(KeyboardInterrupt):
        pack([folder], tmp_path / "library", workers=1)
    assert {p.name: p.read_bytes() for p in (tmp_path / "library").iterdir()} == before


def test_the_command_prints_what_it_packed_and_skipped(folder, tmp_path, capsys):
    out = tmp_path / "library"
    assert run(lambda: main([str(folder), "--out", str(out), "--workers", "1"])) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 5 clips, 0.1 minutes, 0 MB (2077 bytes a frame), 1 file(s) skipped\n")
    assert "1 of 5 motion files skipped:" in said.err and is_library(out)
    assert run(lambda: main([str(folder), "--out", str(out), "--workers", "1", "--strict"])) == 2
    assert "short.npz: 3 frame(s)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{in}/short.npz", "--out", "{tmp}/new"], "none of 1 motion files can be used; the first: .*3 frame"),
        (["{in}", "--out", "{in}"], "exists and is no library"),
        (["{in}", "--out", "{tmp}/new", "--workers", "0"], "must be at least 1"),
        (["{tmp}/nowhere", "--out", "{tmp}/new"], "no such file or folder"),
        (["{in}"], "--out"),
    ],
)
def test_bad_input_is_a_one_line_error(folder, tmp_path, words, message):
    with pytest.raises(KitError, match=message) as caught:
        main([word.format(**{"in": folder, "tmp": tmp_path}) for word in words])
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_a_damaged_library_is_a_one_line_error(folder, tmp_path):
    out = tmp_path / "library"
    pack([folder], out, workers=1)
    index = json.loads((out / "index.json").read_text())
    (states,) = out.glob("states-*.npy")
    np.save(states, np.zeros((7, 450), np.float32))
    with pytest.raises(KitError, match=r"float32 \(7, 450\) where the index promises float32 \(240, 450\)"):
        MotionLibrary.open(out)
    states.unlink()
    with pytest.raises(KitError, match=r"states-\w+\.npy: not a readable array of the library"):
        MotionLibrary.open(out)
    for damage in ({"clips": []}, {"format": "physhmr_kit motion library 0"}, {"clips": [{"nme": "a"}]}):
        (out / "index.json").write_text(json.dumps({**index, **damage}))
        with pytest.raises(KitError, match="pack it again"):
            load_library([out])
