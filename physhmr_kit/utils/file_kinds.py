"""Identifies files by their first bytes, so that errors name a web page or a Git-LFS pointer as such. Free of torch."""

from __future__ import annotations

import re
from pathlib import Path

from physhmr_kit.utils.errors import KitError

_STARTS = {
    b"version https://git-lfs": "a Git-LFS pointer, not the file itself; fetch it with `git lfs pull`",
    b"PK\x05\x06": "an empty archive",
    b"PK": "a zip archive",
    b"Kaydara FBX": "a binary FBX; export it as BVH",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array (.npy)",
    b"glTF": "a glTF scene; export it as BVH",
    b"%PDF": "a PDF",
}


def kind_of(start: bytes) -> str:
    """Description of a file that starts with these bytes; empty if unknown."""
    if not start:
        return "empty"
    for magic, words in _STARTS.items():
        if start.startswith(magic):
            return words
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, saved instead of the file; download the file itself"
    if text.startswith(b"hierarchy"):
        return "a BVH"
    if b"\0" not in start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return "a text file"
    return ""


def first_bytes(path: str | Path, count: int = 512) -> bytes:
    """The first bytes of a file.

    Raises:
        KitError: no such file, or one that cannot be opened.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as fault:
        raise KitError(f"{path}: cannot be read ({fault.strerror})") from fault


def refuse_other_kind(path: str | Path, wanted: str, *magic: bytes) -> None:
    """Refuse a file that does not start with one of `magic`; the message says what it is.

    Args:
        wanted: what the file should be, e.g. "an .npz archive".

    Raises:
        KitError: another kind of file.
    """
    start = first_bytes(path)
    if start[:4] == b"PK\x05\x06" or not start.startswith(magic):
        kind = kind_of(start)
        raise KitError(f"{path}: not {wanted} but {kind}" if kind else f"{path}: not {wanted}")


def refuse_no_text(path: str | Path) -> None:
    """Refuse a file whose first bytes show that it is not the expected text, such as a Git-LFS pointer or a web page.

    Raises:
        KitError: such a file, or no such file.
    """
    kind = kind_of(first_bytes(path))
    if kind not in ("", "a BVH", "a text file"):
        raise KitError(f"{path}: not a readable text file but {kind}")


def read_text(path: str | Path) -> str:
    """Read a text file of any encoding: UTF-8 with or without a byte order mark, UTF-16 with one, else Latin-1.

    Raises:
        KitError: no such file, a binary one, or an empty one.
    """
    refuse_no_text(path)
    try:
        data = Path(path).read_bytes()
    except OSError as fault:
        raise KitError(f"{path}: cannot be read ({fault.strerror})") from fault
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
        if sum(c.isascii() for c in text[:512]) > 0.9 * len(text[:512]):
            return text
        data = b"\0"
    if b"\0" in data:
        raise KitError(f"{path}: not a readable text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def with_decimal_points(text: str) -> str:
    """Replace decimal commas (as some locales write them) by points, and other commas by blanks."""
    if not re.search(r"\d\.\d", text):
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    return text.replace(",", " ")
