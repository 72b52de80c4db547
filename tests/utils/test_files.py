"""Files appear whole or not at all."""

import numpy as np
import pytest

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic, read_arrays, write_arrays, write_text


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_its_writer_is_done(tmp_path):
    path = tmp_path / "new" / "table.md"
    with atomic(path) as part:
        part.write_text("half")
        assert not path.exists() and part.suffix == ".md" and part.parent == path.parent
    assert path.read_text() == "half" and names(path.parent) == ["table.md"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    write_text(tmp_path / "table.md", "old")
    with pytest.raises(fault), atomic(tmp_path / "table.md") as part:
        part.write_text("half")
        raise fault
    assert (tmp_path / "table.md").read_text() == "old" and names(tmp_path) == ["table.md"]


def test_a_file_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(KitError, match="taken: cannot be written"):
        write_text(tmp_path / "taken", "text")
    with pytest.raises(KitError, match=r"x\.txt: cannot be written"):
        write_text(write_text(tmp_path / "file", "text") / "x.txt", "text")
    assert names(tmp_path) == ["file", "taken"]


def test_text_keeps_its_line_ends(tmp_path):
    assert write_text(tmp_path / "a.csv", "a\r\nb\n").read_bytes() == b"a\r\nb\n"


def test_arrays_come_back_as_they_were(tmp_path):
    path = write_arrays(tmp_path / "data", a=np.arange(3), b="text")  # NumPy does not append its .npz
    found = read_arrays(path, "thing")
    assert found["a"].tolist() == [0, 1, 2] and str(found["b"]) == "text"
    assert set(read_arrays(path, "thing", keys=("a", "c"))) == {"a"}


def test_a_damaged_or_missing_archive_is_named_with_what_it_should_be(tmp_path):
    with pytest.raises(KitError, match="no such thing"):
        read_arrays(tmp_path / "none.npz", "thing")
    path = write_arrays(tmp_path / "half.npz", a=np.random.default_rng(0).random(1000))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(KitError, match=r"half\.npz: not a readable \.npz thing"):
        read_arrays(path, "thing")
    np.savez(tmp_path / "code.npz", a=np.array([None]))
    with pytest.raises(KitError, match="not a readable"):
        read_arrays(tmp_path / "code.npz", "thing")
