"""Reads 2-D keypoints of other pose tools as one person's `KeypointTrack`.

The format is detected from the content. Read here: folders with one JSON per frame (OpenPose, Sports2D, Pose2Sim, AlphaPose),
one JSON per video (AlphaPose, COCO, MMPose, MediaPipe), .npy and .pt arrays (ViTPose). CSV and .trc are read in
`tables`. Keypoints are identified by name, or by the layout's size where a tool writes no names (`names`).
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.detect import Detections, Place
from data_prep.keypoints.cuts import find_cuts, picture_changes
from data_prep.keypoints.names import LAYOUTS, as_coco
from data_prep.keypoints.people import follow
from data_prep.keypoints.tables import KeypointData, read_table
from data_prep.saved_arrays import read_npz, read_object_array, read_torch
from data_prep.video import VideoInfo, read_video_info
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.file_kinds import first_bytes, read_text
from physhmr_kit.vision.keypoints import KeypointTrack

_PEOPLE = ("people", "bodies", "instances", "predictions", "poses", "pose_landmarks", "poseLandmarks", "landmarks")
_POINTS = ("pose_keypoints_2d", "pose_keypoints", "joints", "keypoints")
_CONFIDENCE = ("visibility", "score", "confidence", "presence")


def read_keypoints(
    path: Path,
    person: str | int = "largest",
    video: Path | None = None,
    fps: float | None = None,
    image_size: tuple[int, int] | None = None,
    place: Place | None = None,
) -> KeypointTrack:
    """One person's keypoints from a file or folder of another tool, or from a file of the kit.

    Args:
        person: if there are several, see `people.choose`. place: where the person is, in place of `person`.
        video: the source video, for frame rate, image size and number of frames. fps, image_size: where file and video lack them.

    Raises:
        KitError: unreadable, unknown format, no known keypoint, or frame rate or image size missing.
    """
    if _is_npz(path) and "fps" in read_npz(path, "keypoint file"):
        return KeypointTrack.load(path)
    found = _read(path)
    info = read_video_info(video) if video else None
    fps = fps or found.fps or (info.fps if info else None)
    size = image_size or found.image_size or (info.image_size if info else None)
    if not fps or not size:
        missing = " and ".join(option for option, value in (("--fps", fps), ("--image-size", size)) if not value)
        raise KitError(
            f"{path}: the file does not contain both frame rate and image size; give the VIDEO, or {missing}"
        )
    notes: list[str] = []
    frames, cuts = _frames(found, info), []
    seen = _detections(found, frames, fps, size)
    if video and found.raw and info and info.frames == frames:
        cuts = find_cuts(replace(seen, change=picture_changes(video)))
        notes += [f"cut at {', '.join(f'{cut / fps:.2f}' for cut in cuts)} s"] if cuts else []
    single_person = len(np.unique(found.frame)) == len(found.frame)
    if found.raw or place or not single_person:
        rows = follow(seen, person, single_person, place, cuts, notes)
    else:
        rows = np.zeros((frames, 17, 3), np.float32)
        rows[seen.frame] = seen.keypoints
    for note in notes:
        print(f"{path}: {note}", file=sys.stderr)
    return KeypointTrack(torch.from_numpy(rows), fps, size, str(path), tuple(cut / fps for cut in cuts))


def _read(path: Path) -> KeypointData:
    start = b"" if path.is_dir() else first_bytes(path)
    try:
        if path.is_dir():
            found = _from_folder(path)
        elif start.startswith((b"\x93NUMPY", b"PK", b"\x80")):
            found = _from_arrays(path, start)
        elif start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            found = _from_json(path)
        else:
            found = read_table(path, read_text(path))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as fault:  # a list where a name should be
        raise KitError(f"{path}: not a known layout ({type(fault).__name__}: {fault})") from fault
    if len(found.frame) == 0:
        raise KitError(f"{path}: contains no keypoints")
    if not found.keypoints[..., 2].any():
        raise KitError(f"{path}: none of its keypoints is one of COCO's 17 (nose, left shoulder ... right ankle)")
    return found


def _is_npz(path: Path) -> bool:
    """Whether a file is a zip archive of arrays (PyTorch's contain none); also if damaged, so that its reader reports it."""
    if not path.is_file() or first_bytes(path, 2) != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return True


# JSON


def _from_folder(path: Path) -> KeypointData:
    files = sorted(path.glob("*.json"))
    if not files:
        raise KitError(
            f"{path}: no .json in this folder; name the keypoint file itself, or a folder with one .json per frame"
        )
    frames = [(_number(file.stem, n), _parse(file)) for n, file in enumerate(files)]
    return _gather((number, body) for number, entry in frames for body in _bodies(path, entry))


def _from_json(path: Path) -> KeypointData:
    data = _parse(path)
    fps = size = None
    if isinstance(data, dict):
        fps, size = data.get("fps") or data.get("frame_rate"), _size(data)
        if "annotations" in data:
            return _from_annotations(path, data, fps)
        data = next((data[key] for key in ("instance_info", "frames") if key in data), data)
    if isinstance(data, dict) and any(key in data for key in (*_PEOPLE, *_POINTS)):
        raise KitError(f"{path}: contains a single frame; name the folder with the files of all frames")
    named = data.items() if isinstance(data, dict) else ((_entry_name(entry, n), entry) for n, entry in enumerate(data))
    numbers = [(_number(name, n), entry) for n, (name, entry) in enumerate(named)]
    return _gather(((n, body) for n, entry in numbers for body in _bodies(path, entry)), fps, size)


def _from_annotations(path: Path, data: dict, fps: float | None) -> KeypointData:
    """COCO's own layout; frames are numbered in the order of the image file names."""
    images = sorted(data.get("images", []), key=lambda image: str(image.get("file_name", image["id"])))
    order = {image["id"]: n for n, image in enumerate(images)}
    names = next((c["keypoints"] for c in data.get("categories", []) if "keypoints" in c), None)
    bodies = (
        (order.get(a["image_id"], _number(a["image_id"], n)), body)
        for n, a in enumerate(data["annotations"])
        for body in _bodies(path, a, names)
    )
    return _gather(bodies, fps, _size(images[0]) if images else None)


def _parse(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as fault:
        raise KitError(f"{path}: not readable JSON ({fault})") from fault


def _size(data: dict) -> tuple[int, int] | None:
    width, height = data.get("width"), data.get("height")
    return (int(width), int(height)) if width and height else None


def _entry_name(entry: Any, index: int) -> str | int:
    """The frame name or number that a list entry holds, else its index."""
    if isinstance(entry, dict):
        return next((entry[key] for key in ("image_id", "frame_id", "frame", "frame_index") if key in entry), index)
    return index


def _number(name: str | int, index: int) -> int:
    """The frame number in a name (the last number in it), else its index."""
    digits = re.findall(r"\d+", Path(str(name)).stem)
    return int(digits[-1]) if digits else index


def _bodies(path: Path, item: Any, names: list[str] | None = None) -> list[np.ndarray]:
    """The bodies in a frame's entry, at any nesting level: (17, 3) each."""
    if isinstance(item, dict):
        people = next((item[key] for key in _PEOPLE if key in item), None)
        if people is not None:
            return _bodies(path, people, names)
        points = next((item[key] for key in _POINTS if item.get(key)), None)
        return [] if points is None else [_body(path, points, item.get("keypoint_scores"), names)]
    if not isinstance(item, list) or not item:
        return []
    if isinstance(item[0], dict) and "x" in item[0]:
        return [_body(path, item, None, names)]
    return [body for entry in item for body in _bodies(path, entry, names)]


def _body(path: Path, points: list, scores: list | None, names: list[str] | None) -> np.ndarray:
    """One body from a flat list x, y, c, ..., from pairs or triples, or from points with named coordinates, (17, 3)."""
    try:
        if isinstance(points[0], dict):
            names = [p["name"] for p in points] if "name" in points[0] else names
            rows = [(p["x"], p["y"], next((p[key] for key in _CONFIDENCE if key in p), 1.0)) for p in points]
            return _as_coco(path, np.array(rows, float), names)
        array = np.array(points, float)
        array = array.reshape(-1, 3) if array.ndim == 1 else array.reshape(-1, array.shape[-1])
        if scores is not None:
            array = np.column_stack([array[:, :2], np.array(scores, float).reshape(-1)])
    except (KeyError, TypeError, ValueError) as fault:
        raise KitError(f"{path}: a body is not a list of x, y and confidence ({fault})") from fault
    return _as_coco(path, array, names)


def _as_coco(path: Path, points: np.ndarray, names: list[str] | None = None) -> np.ndarray:
    """(..., K, 2 or 3) of the layout with K keypoints, or with these names, as (..., 17, 3)."""
    known = names or LAYOUTS.get(points.shape[-2])
    if known is None or len(known) != points.shape[-2]:
        counts = ", ".join(map(str, LAYOUTS))
        raise KitError(f"{path}: bodies of {points.shape[-2]} keypoints without names; known layouts have {counts}")
    if points.shape[-1] == 2:
        points = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
    elif points.shape[-1] > 3:  # MediaPipe: x, y, z, visibility
        points = points[..., [0, 1, 3]]
    return as_coco(points, known)


def _gather(
    bodies: Iterable[tuple[int, np.ndarray]], fps: float | None = None, size: tuple[int, int] | None = None
) -> KeypointData:
    pairs = list(bodies)
    frame = np.array([number for number, _ in pairs], int)
    numbers, rank = np.unique(frame, return_inverse=True)
    if len(frame) and numbers[-1] > 1000 + 10 * len(numbers):  # image numbers of a data set, not frame numbers
        frame = rank
    keypoints = np.array([body for _, body in pairs], np.float32).reshape(-1, 17, 3)
    return KeypointData(frame, keypoints, fps, size, numbered=True, raw=True)


# Arrays


def _from_arrays(path: Path, start: bytes) -> KeypointData:
    data: Any
    if start.startswith(b"\x93NUMPY"):
        data = read_object_array(path)
    else:
        data = read_npz(path, "keypoint file") if _is_npz(path) else read_torch(path)
    if isinstance(data, dict):
        if "keypoints" not in data:
            raise KitError(f"{path}: no 'keypoints' in the file, only {', '.join(map(str, data))}")
        scores = next((data[key] for key in ("keypoint_scores", "scores") if key in data), None)
        data = data["keypoints"]
        if scores is not None:
            data = np.concatenate([np.asarray(data, float), np.asarray(scores, float)[..., None]], axis=-1)
    try:
        entries = [np.asarray(entry, float) for entry in data]
        bodies = [(n, body) for n, e in enumerate(entries) if e.size for body in e.reshape(-1, *e.shape[-2:])]
        points = [(n, _as_coco(path, body)) for n, body in bodies]
    except (TypeError, ValueError, IndexError) as fault:
        raise KitError(f"{path}: not an array (frames, keypoints, 2 or 3) ({fault})") from fault
    return replace(_gather(points), numbered=False)


# From frame numbers to video frames


def _frames(found: KeypointData, info: VideoInfo | None) -> int:
    """Number of frames of the video; renumbers frames that are counted from 1, in place."""
    last = int(found.frame.max()) + 1
    if found.numbered and found.frame.min() == 1 and (info is None or last > info.frames):
        found.frame[:] -= 1
        last -= 1
    return max(last, info.frames) if info and found.numbered else last


def _detections(found: KeypointData, frames: int, fps: float, size: tuple[int, int]) -> Detections:
    """The bodies as detections, in pixels."""
    keypoints = found.keypoints
    if (
        np.abs(keypoints[keypoints[..., 2] > 0][:, :2]).max() <= 2.0
    ):  # normalised by width and height, as MediaPipe's are
        keypoints = keypoints * np.array([*size, 1.0], np.float32)
    return Detections(np.arange(frames) / fps, np.full(frames, 255), found.frame, keypoints, size)
