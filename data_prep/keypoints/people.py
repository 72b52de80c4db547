"""Tracks one person through a detector's bodies, and marks the frames where the identity is uncertain.

Bodies of neighbouring frames that nearly coincide are joined to tracklets (`tracklets`). A tracklet ends where the body
leaves the image, where the next body is further away than a person can move, and where two people overlap so that they
could be swapped. Tracklets are then linked across short gaps by predicted position and size (`chains`). The person is one
of the chains.

Known limitation: two people of the same size who meet and both turn back look like two people who pass each other, and are
treated as such. The frames of the meeting are marked as uncertain; the frames after it are not, though the people are swapped.

Both steps are standard tracking by detection. The similarity is the box overlap or COCO's object keypoint similarity with
one width for all keypoints, whichever is larger. The thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from data_prep.detect import Detections, Place
from physhmr_kit.utils.errors import KitError

SURE = 0.3
"""Minimum confidence of a keypoint used for tracking (as in `metrics.reprojection`)."""

LOW = 0.04
"""Maximum confidence of a body that may be somebody else. Below the 0.05 of `KeypointTrack.filled`, which interpolates short runs."""

SAME = 0.2
"""Minimum similarity of two bodies in neighbouring frames that can be the same person."""

PATIENCE = 2.0
"""Longest gap, s, across which tracklets are linked; unlimited for a single-person detector."""

SHORT = 0.2
"""A tracklet ends after this time, s, without a body."""

_SPREAD = 0.1, 2.5  # width of the similarity in body sizes: at rest, and its growth per second between the frames
_NEAR = 0.25  # s, tolerance of the time in a `Place`
_THERE = 0.1  # minimum box overlap (IoU) with a `Place`
_RIVAL = 0.6  # a second body with this share of the best similarity makes the match uncertain


@dataclass(frozen=True, eq=False)
class Bodies:
    """The K bodies that tracking uses.

    Attributes:
        times: (K,) s. frame: (K,). points: (K, 17, 2) pixels. sure: (K, 17) whether a keypoint is confident.
        box: (K, 4) left, top, right, bottom of the confident keypoints. rows: (K,) indices into the detections.
    """

    times: np.ndarray
    frame: np.ndarray
    points: np.ndarray
    sure: np.ndarray
    box: np.ndarray
    rows: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """(K,) longer side of the box, pixels."""
        return np.maximum(self.box[:, 2] - self.box[:, 0], self.box[:, 3] - self.box[:, 1]).clip(min=1)

    @property
    def centre(self) -> np.ndarray:
        """(K, 2) centre of the box, pixels."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2


@dataclass(frozen=True, eq=False)
class Person:
    """One of the people in a video.

    Attributes:
        rows: bodies that are this person, in frame order.
        doubtful: bodies that may be this person: two people overlapped there.
    """

    rows: np.ndarray
    doubtful: np.ndarray


def bodies_of(found: Detections) -> Bodies:
    """Detections with at least four confident keypoints, in frame order, and their boxes."""
    sure = found.keypoints[..., 2] >= SURE
    rows = np.flatnonzero(sure.sum(1) >= 4)
    rows = rows[np.argsort(found.frame[rows], kind="stable")]
    points, sure = found.keypoints[rows, :, :2].astype(float), sure[rows]
    low = np.where(sure[..., None], points, np.inf).min(1, initial=np.inf)
    high = np.where(sure[..., None], points, -np.inf).max(1, initial=-np.inf)
    frame = found.frame[rows]
    return Bodies(found.times[frame], frame, points, sure, np.concatenate([low, high], axis=-1), rows)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4) left, top, right, bottom."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(sides.clip(min=0), axis=-1)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - common
    return common / np.maximum(union, 1e-9)


def similarity(bodies: Bodies, a: int, b: int, velocity: np.ndarray) -> float:
    """Similarity of body b to body a moved on by its velocity, 0..1: box overlap or keypoint similarity.

    Args:
        velocity: (2,) px/s of body a.
    """
    dt = bodies.times[b] - bodies.times[a]
    shift = velocity * dt
    both = bodies.sure[a] & bodies.sure[b]
    oks = 0.0
    if both.any():
        width = (_SPREAD[0] + _SPREAD[1] * dt) * max(bodies.size[a], bodies.size[b])
        distance = np.linalg.norm(bodies.points[a] + shift - bodies.points[b], axis=-1)[both]
        oks = float(np.exp(-(distance**2) / (2 * width**2)).mean())
    return max(float(_iou(bodies.box[a] + np.tile(shift, 2), bodies.box[b])), oks)


def tracklets(bodies: Bodies) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Runs of bodies that are certainly one person.

    Returns:
        tracklets, each a list of bodies in time order; and (body, tracklet) pairs: a body where two people overlapped, and
        the tracklet that it would have continued.
    """
    done: list[list[int]] = []
    doubts: list[tuple[int, int]] = []
    live: list[int] = []  # tracklets that may continue
    last: dict[int, int] = {}  # last body of each tracklet, uncertain or not
    unsure: set[int] = set()  # tracklets that are uncertain since their last body
    for frame in np.unique(bodies.frame):
        here = np.flatnonzero(bodies.frame == frame)
        now = bodies.times[here[0]]
        live = [n for n in live if now - bodies.times[last[n]] <= SHORT]
        score = np.array(
            [[similarity(bodies, last[n], int(b), _velocity(bodies, done[n])) for b in here] for n in live]
        )
        score = score.reshape(len(live), len(here))
        taken = dict(zip(*reversed(linear_sum_assignment(score, maximize=True)), strict=True))
        for column, body in enumerate(here):
            row = taken.get(column)
            if row is None or score[row, column] < SAME:
                done.append([int(body)])
                live.append(len(done) - 1)
                last[len(done) - 1] = int(body)
                continue
            rivals = np.concatenate([np.delete(score[row], column), np.delete(score[:, column], row)])
            number = live[row]
            last[number] = int(body)
            if (rivals > _RIVAL * score[row, column]).any():
                doubts.append((int(body), number))
                unsure.add(number)
            elif number in unsure:
                done.append([int(body)])  # separate again; `chains` decides who it is
                live[row] = len(done) - 1
                last[len(done) - 1] = int(body)
            else:
                done[number].append(int(body))
    return done, doubts


def _velocity(bodies: Bodies, tracklet: list[int], backwards: bool = False) -> np.ndarray:
    """(2,) px/s over the last quarter of a second of a tracklet (the first, if backwards); 0 if it is too short."""
    order = tracklet if backwards else tracklet[::-1]
    end = order[0]
    near = [b for b in order if abs(bodies.times[b] - bodies.times[end]) <= 0.25]
    span = bodies.times[near[-1]] - bodies.times[end]
    return np.zeros(2) if abs(span) < 0.05 else (bodies.centre[near[-1]] - bodies.centre[end]) / span


def chains(bodies: Bodies, parts: list[list[int]], patience: float = PATIENCE) -> list[list[int]]:
    """Link tracklets to people by the best one-to-one assignment of successors.

    Args:
        patience: longest gap, s.

    Returns:
        for each person, the indices of the tracklets in time order.
    """
    begin, end = (bodies.times[[part[i] for part in parts]] for i in (0, -1))
    gap = begin[None] - end[:, None]
    agree = np.zeros((len(parts), len(parts)))
    for a, b in np.argwhere((gap > 0) & (gap <= patience)):
        agree[a, b] = _agreement(bodies, parts[a], parts[b])
    follower = {a: b for a, b in zip(*linear_sum_assignment(agree, maximize=True), strict=True) if agree[a, b] >= SAME}
    out = []
    for first in sorted(set(range(len(parts))) - set(follower.values())):
        chain = [first]
        while chain[-1] in follower:
            chain.append(follower[chain[-1]])
        out.append([int(n) for n in chain])
    return out


def _agreement(bodies: Bodies, a: list[int], b: list[int]) -> float:
    """How well tracklet b continues tracklet a, 0..1: by extrapolating a forwards and b backwards, and by their sizes."""
    gap = bodies.times[b[0]] - bodies.times[a[-1]]
    before, after = np.median(bodies.size[a[-10:]]), np.median(bodies.size[b[:10]])
    apart = bodies.centre[b[0]] - bodies.centre[a[-1]]
    ahead = min(gap, 0.5)  # velocities are extrapolated for half a second at most
    misses = [np.linalg.norm(apart - v * ahead) for v in (_velocity(bodies, a), _velocity(bodies, b, backwards=True))]
    width = (_SPREAD[0] + gap) * max(before, after)
    return float(np.exp(-(np.mean(misses) ** 2) / (2 * width**2) - (np.log(before / after) / 0.3) ** 2 / 2))


def people(bodies: Bodies, patience: float = PATIENCE) -> list[Person]:
    """Everyone in the video, largest first (sum of the squared size over frames)."""
    parts, doubts = tracklets(bodies)
    found = []
    for chain in chains(bodies, parts, patience):
        rows = np.array([b for n in chain for b in parts[n]])
        found.append(Person(rows, np.array([b for b, n in doubts if n in chain], dtype=int)))
    return sorted(found, key=lambda p: -float((bodies.size[p.rows] ** 2).sum()))


def choose(bodies: Bodies, everyone: list[Person], person: str | int, image_size: tuple[int, int]) -> Person:
    """The person selected by --person.

    Args:
        person: 'largest'; 'centre', closest to the image centre among those visible for at least a quarter as long as the
            one visible longest; or a number, 0 being the largest.

    Raises:
        KitError: no such person.
    """
    if str(person) == "largest":
        return everyone[0]
    if str(person) == "centre":
        longest = max(len(p.rows) for p in everyone)
        middle = np.array(image_size) / 2
        lasting = [p for p in everyone if len(p.rows) >= longest / 4]
        return min(lasting, key=lambda p: np.median(np.linalg.norm(bodies.centre[p.rows] - middle, axis=-1)))
    if not str(person).isdecimal():
        raise KitError(f"--person {person}: expected 'largest', 'centre' or a number (0: the largest)")
    if int(person) >= len(everyone):
        raise KitError(f"--person {person}: only {len(everyone)} detected, numbered from 0")
    return everyone[int(person)]


def pointed_at(bodies: Bodies, everyone: list[Person], place: Place) -> Person:
    """The person whose box overlaps a place most.

    Raises:
        KitError: nobody overlaps it.
    """
    near = np.abs(bodies.times - place.at) <= _NEAR
    left, top, width, height = place.box
    overlap = near * _iou(bodies.box, np.array([left, top, left + width, top + height]))
    best = max(everyone, key=lambda p: overlap[p.rows].max())
    if overlap[best.rows].max() < _THERE:
        others = "; ".join(_where(bodies, p, place.at) for p in everyone if near[p.rows].any())
        raise KitError(f"--box: nobody is there at {place.at:g} s; detected then: {others or 'nobody'}")
    return best


def _where(bodies: Bodies, person: Person, at: float | None = None) -> str:
    """The --at and --box options that select a person, at a time or when first visible."""
    row = person.rows[0] if at is None else min(person.rows, key=lambda r: abs(bodies.times[r] - at))
    left, top, right, bottom = bodies.box[row]
    return f"--at {bodies.times[row]:.2f} --box {left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}"


def _selection_note(bodies: Bodies, everyone: list[Person], chosen: Person, single_person: bool) -> list[str]:
    """A line on which of several people is tracked; none if there is only one."""
    lasting = [p for p in everyone if p is chosen or len(p.rows) >= max(4, len(chosen.rows) / 20)]
    if len(lasting) == 1:
        return []
    number = {id(p): n for n, p in enumerate(everyone)}
    span = f"from {bodies.times[chosen.rows[0]]:.1f} to {bodies.times[chosen.rows[-1]]:.1f} s"
    others = "; ".join(f"{number[id(p)]}: {_where(bodies, p)}" for p in lasting if p is not chosen)
    seen = f"{len(lasting)} people are visible"
    if single_person:
        seen = "the detector finds one person at a time and jumped to others"
    return [f"{seen}; {number[id(chosen)]} is tracked, {span} ({_where(bodies, chosen)}); to select another: {others}"]


def follow(
    found: Detections,
    person: str | int = "largest",
    single_person: bool = False,
    place: Place | None = None,
    cuts: Sequence[int] = (),
    notes: list[str] | None = None,
) -> np.ndarray:
    """One person's keypoints in every frame.

    Frames without the person are all 0. Where two people overlap so that they could be swapped, or where a single-person
    detector jumped to another body, the confidence is at most `LOW`.

    Args:
        person: see `choose`. place: where the person is, in place of `person`; other shots are then left empty.
        cuts: frames at which a new shot begins (`cuts.find_cuts`); the person is selected in each shot separately.
        notes: list to which a line on the selection is appended.

    Returns:
        (T, 17, 3) pixel u, v, confidence; all 0 if nobody was detected.

    Raises:
        KitError: no such person in any shot.
    """
    if place and place.at > found.times[-1] + _NEAR:
        raise KitError(f"--at {place.at:g}: the video ends at {found.times[-1]:.2f} s")
    out = np.zeros((len(found.times), 17, 3), dtype=np.float32)
    faults = []
    for start, stop in pairwise([0, *cuts, len(found.times)]):
        if place and not found.times[start] - _NEAR <= place.at <= found.times[stop - 1] + _NEAR:
            continue
        here = (found.frame >= start) & (found.frame < stop)
        shot = replace(found, frame=found.frame[here], keypoints=found.keypoints[here])
        try:
            _follow_shot(out, shot, person, single_person, place, notes)
        except KitError as fault:
            faults.append(fault)
    if faults and not out.any():
        raise faults[0]
    return out


def _follow_shot(
    out: np.ndarray,
    found: Detections,
    person: str | int,
    single_person: bool,
    place: Place | None,
    notes: list[str] | None,
) -> None:
    """Write one shot's rows into `out`."""
    bodies = bodies_of(found)
    if len(bodies.rows) == 0:
        if place:
            raise KitError(f"--box: nobody is there at {place.at:g} s; nobody was detected in this shot")
        return
    everyone = people(bodies, np.inf if single_person else PATIENCE)
    chosen = pointed_at(bodies, everyone, place) if place else choose(bodies, everyone, person, found.image_size)
    if notes is not None:
        notes += _selection_note(bodies, everyone, chosen, single_person)

    def put(which: np.ndarray, max_confidence: float) -> None:
        rows = bodies.rows[which]
        out[found.frame[rows]] = found.keypoints[rows]
        out[found.frame[rows], :, 2] = np.minimum(found.keypoints[rows, :, 2], max_confidence)

    if single_person:
        put(np.arange(len(bodies.rows)), LOW)
    put(chosen.doubtful, LOW)
    put(chosen.rows, 1.0)
