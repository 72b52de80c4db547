"""Reads keypoints from text tables: CSV with a header (MediaPipe and others), DeepLabCut's CSV, and .trc (Sports2D, Pose2Sim)."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.keypoints.names import LAYOUTS, as_coco
from data_prep.video import rate_of
from physhmr_kit.utils.errors import KitError

_CONFIDENCE = ("v", "vis", "visibility", "c", "conf", "confidence", "likelihood", "score", "presence", "p")
_AXES = {"x": 0, "y": 1, **dict.fromkeys(_CONFIDENCE, 2)}
_FRAME = ("frame", "frame_id", "frame_number", "frame_index", "frame_num", "image_id", "index")
_TIME = ("time", "seconds", "timestamp", "timestamp_s", "time_s", "timestamp_ms", "time_ms")
_JOINT = ("landmark", "landmark_id", "landmark_name", "landmark_index", "keypoint", "joint", "bodypart", "name", "id")


@dataclass(frozen=True, eq=False)
class KeypointData:
    """The content of a keypoint file: K bodies, any number per frame.

    Attributes:
        frame: (K,) frame number. keypoints: (K, 17, 3) COCO-17 u, v, confidence; pixels or fractions of the image size.
        fps, image_size: if the file contains them.
        numbered: whether frame numbers are those of the video, so that absent ones are frames without a body.
        raw: whether these are raw detections, body by body, so that the person must still be tracked.
    """

    frame: np.ndarray
    keypoints: np.ndarray
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    numbered: bool = False
    raw: bool = False


def read_table(path: Path, text: str) -> KeypointData:
    """Read a table in one of the formats above.

    Raises:
        KitError: another format, or no numbers.
    """
    first_line = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(cell.strip() for cell in row)]
    try:
        if first_line.startswith("PathFileType"):
            return _trc(path, rows)
        if rows[0][0].strip().lower() == "scorer":
            return _deeplabcut(path, rows)
        header = [cell.strip().lower() for cell in rows[0]]
        if {"x", "y"} <= set(header) and set(header) & set(_JOINT):
            return _long(path, header, rows[1:])
        return _wide(path, rows[0], rows[1:])
    except (ValueError, IndexError) as fault:
        raise KitError(f"{path}: not a known table of keypoints ({fault})") from fault


def _numbers(rows: list[list[str]]) -> np.ndarray:
    """Cells as (R, C) floats; NaN where a cell is not a number."""
    width = max(map(len, rows))

    def number(cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            return np.nan

    return np.array([[number(cell) for cell in row] + [np.nan] * (width - len(row)) for row in rows])


def _columns(path: Path, values: np.ndarray, where: list[tuple[str, int, int]]) -> np.ndarray:
    """(T, 17, 3) from columns (keypoint name, 0 for x, 1 for y or 2 for confidence, column index).

    The confidence is 1 where a table has none.
    """
    names = list(dict.fromkeys(name for name, _, _ in where))
    points = np.full((len(values), len(names), 3), np.nan)
    for name, axis, column in where:
        points[:, names.index(name), axis] = values[:, column]
    with_confidence = {name for name, axis, _ in where if axis == 2}
    points[:, [n for n, name in enumerate(names) if name not in with_confidence], 2] = 1.0
    if names and all(name.isdecimal() for name in names):
        numbers = sorted(map(int, names))
        layout = LAYOUTS.get(len(names))
        if layout is None or numbers != list(range(numbers[0], numbers[0] + len(names))):
            raise KitError(
                f"{path}: {len(names)} numbered keypoints; known layouts have {', '.join(map(str, LAYOUTS))}"
            )
        names = [layout[int(name) - numbers[0]] for name in names]
    return as_coco(points, names)


def _trc(path: Path, rows: list[list[str]]) -> KeypointData:
    """The unit is inferred from the values: Sports2D writes 'm' into the header of its pixel files too."""
    fps = float(rows[2][rows[1].index("DataRate")])
    values = _numbers(rows[5:])
    starts = [(name.strip(), column) for column, name in enumerate(rows[3]) if column >= 2 and name.strip()]
    where = [(name, axis, column + axis) for name, column in starts for axis in (0, 1)]
    if np.nanmax(np.abs(values[:, 2:])) < 20:
        raise KitError(f"{path}: is in metres; use the file in pixels (Sports2D: the one with _px_ in its name)")
    times = values[:, 1]
    frame = np.round(times * fps).astype(int) if np.isfinite(times).all() else np.arange(len(values))
    return KeypointData(frame, _columns(path, values, where), fps, numbered=True)


def _deeplabcut(path: Path, rows: list[list[str]]) -> KeypointData:
    heads = {row[0].strip().lower(): row for row in rows[:4] if not row[0].strip().isdecimal()}
    values = _numbers(rows[len(heads) :])
    people = heads.get("individuals", heads["scorer"])
    bodies = []
    for person in dict.fromkeys(people[1:]):
        where = [
            (name, _AXES[axis.strip().lower()], column)
            for column, (name, axis, who) in enumerate(zip(heads["bodyparts"], heads["coords"], people, strict=True))
            if column and who == person
        ]
        bodies.append(_columns(path, values, where))
    return KeypointData(np.tile(np.arange(len(values)), len(bodies)), np.concatenate(bodies))


def _long(path: Path, header: list[str], rows: list[list[str]]) -> KeypointData:
    """One row per keypoint and frame."""
    joint, x, y = (header.index(next(h for h in header if h in names)) for names in (_JOINT, ("x",), ("y",)))
    sure = next((header.index(h) for h in header if h in _CONFIDENCE), None)
    values = _numbers(rows)
    numbers, fps = _frame_numbers(header, values)
    if numbers is None:
        raise ValueError("no column with frame numbers or times")
    frames, rank = np.unique(numbers, return_inverse=True)
    names = list(dict.fromkeys(row[joint].strip() for row in rows))
    wide = np.full((len(frames), 3 * len(names)), np.nan)
    for row, at in enumerate(rank):
        column = 3 * names.index(rows[row][joint].strip())
        wide[at, column : column + 3] = values[row, x], values[row, y], 1.0 if sure is None else values[row, sure]
    where = [(name, axis, 3 * n + axis) for n, name in enumerate(names) for axis in range(3)]
    return KeypointData(frames, _columns(path, wide, where), fps, numbered=True)


def _wide(path: Path, header: list[str], rows: list[list[str]]) -> KeypointData:
    """One row per frame, with columns such as x12, left_hip_x, LEFT_HIP.x or hip_left_visibility."""
    ends = "|".join(sorted(_AXES, key=len, reverse=True))
    where = []
    for column, cell in enumerate(header):
        label = cell.strip()
        match = re.fullmatch(rf"(?P<name>.*?\w)[ _.\-](?P<axis>{ends})|(?P<name2>\d+)(?P<axis2>{ends})", label, re.I)
        match = match or re.fullmatch(
            rf"(?P<axis>{ends})[ _.\-]?(?P<name>\d+)|(?P<axis2>{ends})[ _.\-](?P<name2>\w+)", label, re.I
        )
        if match:
            name, axis = match["name"] or match["name2"], match["axis"] or match["axis2"]
            where.append((re.sub(r"^.*?(\d+)$", r"\1", name), _AXES[axis.lower()], column))
    if not where:
        raise ValueError("no column with the x, y or confidence of a keypoint")
    numbered = [entry for entry in where if entry[0].isdecimal()]
    values = _numbers(rows)
    numbers, fps = _frame_numbers([cell.strip().lower() for cell in header], values)
    frame = np.arange(len(rows)) if numbers is None else numbers
    return KeypointData(frame, _columns(path, values, numbered or where), fps, numbered=numbers is not None)


def _frame_numbers(header: list[str], values: np.ndarray) -> tuple[np.ndarray | None, float | None]:
    """Frame number of each row, (R,), from a frame column or else a time column; and the rate if there are times."""
    times = next((values[:, header.index(h)] for h in header if h in _TIME), None)
    fps = None
    if times is not None and len(np.unique(times)) > 1:
        stamps = np.unique(times)
        stamps = stamps / (1000 if np.median(np.diff(stamps)) > 1 else 1)  # steps above 1 are milliseconds
        fps = rate_of(stamps)[0]
    for name in header:
        if name in _FRAME:
            return values[:, header.index(name)].astype(int), fps
    if times is None or fps is None:
        return None, None
    share = (times - times.min()) / (times.max() - times.min())
    return np.round(share * (stamps[-1] - stamps[0]) * fps).astype(int), fps
