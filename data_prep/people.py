"""Which of the bodies a detector saw is the person we follow, and where we cannot be sure of it.

Bodies of neighbouring frames are joined where they nearly coincide, into tracklets (`tracklets`). A tracklet ends where the
body leaves, where the next one is further away than a body can move, and where two people overlap so that either could be
either. Tracklets are then joined across short gaps by where their motion leads and how large they are (`chains`). The
person is one of the chains.

What this cannot notice: two people of one size who overlap and then both turn back look the same as two who pass each
other, and are taken for these. The frames of the meeting are marked; those after it are believed of the wrong one.

Both steps are the usual ones of tracking by detection; the similarity is the object keypoint similarity of COCO with
one width for all keypoints, beside the overlap of the boxes. The thresholds are ours.
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
"""Confidence of a keypoint from which on it tells where a body is (as in `metrics.reprojection`)."""

LOW = 0.04
"""Confidence of a body that may be somebody else. Below the 0.05 of `KeypointTrack.filled`: short doubts are interpolated."""

SAME = 0.2
"""Similarity from which on two bodies in neighbouring frames can be one."""

PATIENCE = 2.0
"""Longest gap, s, across which tracklets are joined where a detector sees everyone; any gap where it sees one person."""

SHORT = 0.2
"""A tracklet waits so long, s, for its body before it ends."""

_SPREAD = 0.1, 2.5  # width of the similarity in body sizes: at rest, and its growth per second between the frames
_NEAR = 0.25  # s: somebody pointed at is there about that time
_THERE = 0.1  # overlap of boxes from which on somebody is where was pointed
_RIVAL = 0.6  # a second body at least so similar, as a share of the best, makes the best one doubtful


@dataclass(frozen=True, eq=False)
class Bodies:
    """The K bodies as tracking sees them.

    Attributes:
        times: (K,) s. frame: (K,). points: (K, 17, 2) pixels. sure: (K, 17) whether a keypoint is believed.
        box: (K, 4) left, top, right, bottom of the believed keypoints. rows: (K,) where they are in the detections.
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
        """(K, 2) middle of the box, pixels."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2


@dataclass(frozen=True, eq=False)
class Person:
    """One of the people in a video.

    Attributes:
        rows: bodies that are this person, in the order of their frames.
        doubtful: bodies that may be: two people overlapped there.
    """

    rows: np.ndarray
    doubtful: np.ndarray


def bodies_of(found: Detections) -> Bodies:
    """Detections with at least four believed keypoints, and their boxes."""
    sure = found.keypoints[..., 2] >= SURE
    rows = np.flatnonzero(sure.sum(1) >= 4)
    rows = rows[np.argsort(found.frame[rows], kind="stable")]
    points, sure = found.keypoints[rows, :, :2].astype(float), sure[rows]
    low = np.where(sure[..., None], points, np.inf).min(1, initial=np.inf)
    high = np.where(sure[..., None], points, -np.inf).max(1, initial=-np.inf)
    frame = found.frame[rows]
    return Bodies(found.times[frame], frame, points, sure, np.concatenate([low, high], axis=-1), rows)


def similarity(bodies: Bodies, a: int, b: int, velocity: np.ndarray) -> float:
    """How much body b looks like body a a moment later, 0..1: the boxes' overlap or the keypoints' similarity.

    Args:
        velocity: (2,) px/s, with which a has moved on until b is looked at.
    """
    dt = bodies.times[b] - bodies.times[a]
    shift = velocity * dt
    box, other = bodies.box[a] + np.tile(shift, 2), bodies.box[b]
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    common = np.prod(sides.clip(min=0))
    union = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - common
    both = bodies.sure[a] & bodies.sure[b]
    alike = 0.0
    if both.any():
        width = (_SPREAD[0] + _SPREAD[1] * dt) * max(bodies.size[a], bodies.size[b])
        distance = np.linalg.norm(bodies.points[a] + shift - bodies.points[b], axis=-1)[both]
        alike = float(np.exp(-(distance**2) / (2 * width**2)).mean())
    return max(common / max(union, 1e-9), alike)


def tracklets(bodies: Bodies) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Runs of bodies that are one person without doubt.

    Returns:
        tracklets, each a list of bodies in the order of time; and (body, tracklet) pairs: a body where two people overlapped,
        and the tracklet that it would have continued.
    """
    done: list[list[int]] = []
    doubts: list[tuple[int, int]] = []
    live: list[int] = []  # numbers of tracklets that may go on
    last: dict[int, int] = {}  # the body each was last at, in doubt or not
    unsure: set[int] = set()  # numbers of those in doubt since their last body
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
                done.append([int(body)])  # out of the crowd again: who it is, `chains` decides
                live[row] = len(done) - 1
                last[len(done) - 1] = int(body)
            else:
                done[number].append(int(body))
    return done, doubts


def _velocity(bodies: Bodies, tracklet: list[int], backwards: bool = False) -> np.ndarray:
    """(2,) px/s at the end of a tracklet (at its beginning, backwards): over its last quarter of a second, 0 if too short."""
    order = tracklet if backwards else tracklet[::-1]
    end = order[0]
    near = [b for b in order if abs(bodies.times[b] - bodies.times[end]) <= 0.25]
    span = bodies.times[near[-1]] - bodies.times[end]
    return np.zeros(2) if abs(span) < 0.05 else (bodies.centre[near[-1]] - bodies.centre[end]) / span


def chains(bodies: Bodies, parts: list[list[int]], patience: float = PATIENCE) -> list[list[int]]:
    """Join tracklets to people: each has at most one successor, and together they agree best.

    Args:
        patience: longest gap, s.

    Returns:
        for each person, the tracklets' numbers in the order of time.
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
    """How well tracklet b continues tracklet a, 0..1: a's motion leads to where b begins, b's back to a's end, sizes match."""
    gap = bodies.times[b[0]] - bodies.times[a[-1]]
    before, after = np.median(bodies.size[a[-10:]]), np.median(bodies.size[b[:10]])
    apart = bodies.centre[b[0]] - bodies.centre[a[-1]]
    ahead = min(gap, 0.5)  # nobody keeps a velocity for longer
    misses = [np.linalg.norm(apart - v * ahead) for v in (_velocity(bodies, a), _velocity(bodies, b, backwards=True))]
    width = (_SPREAD[0] + gap) * max(before, after)
    return float(np.exp(-(np.mean(misses) ** 2) / (2 * width**2) - (np.log(before / after) / 0.3) ** 2 / 2))


def people(bodies: Bodies, patience: float = PATIENCE) -> list[Person]:
    """Everyone in the video, the largest first (size squared, added up over the frames)."""
    parts, doubts = tracklets(bodies)
    found = []
    for chain in chains(bodies, parts, patience):
        rows = np.array([b for n in chain for b in parts[n]])
        found.append(Person(rows, np.array([b for b, n in doubts if n in chain], dtype=int)))
    return sorted(found, key=lambda p: -float((bodies.size[p.rows] ** 2).sum()))


def choose(bodies: Bodies, everyone: list[Person], person: str | int, image_size: tuple[int, int]) -> Person:
    """The person that is asked for.

    Args:
        person: 'largest'; 'centre', whose box's middle is nearest to that of the picture, of those who are there at least a
            quarter as long as the one who is there longest; or a number, 0 being the largest.

    Raises:
        KitError: no such person.
    """
    if str(person) == "largest":
        return everyone[0]
    if str(person) == "centre":
        longest = max(len(p.rows) for p in everyone)
        middle = np.array(image_size) / 2
        there = [p for p in everyone if len(p.rows) >= longest / 4]
        return min(there, key=lambda p: np.median(np.linalg.norm(bodies.centre[p.rows] - middle, axis=-1)))
    if not str(person).isdecimal():
        raise KitError(f"--person {person}: 'largest', 'centre' or a number is needed (0: the largest)")
    if int(person) >= len(everyone):
        raise KitError(f"--person {person}: {len(everyone)} were seen, so numbers go from 0 to {len(everyone) - 1}")
    return everyone[int(person)]


def pointed_at(bodies: Bodies, everyone: list[Person], place: Place) -> Person:
    """Who is in a box at some second: the person whose box overlaps it most.

    Raises:
        KitError: nobody overlaps it.
    """
    near = np.abs(bodies.times - place.at) <= _NEAR
    left, top, width, height = place.box
    sides = np.minimum(bodies.box[:, 2:], (left + width, top + height)) - np.maximum(bodies.box[:, :2], (left, top))
    common = np.prod(sides.clip(min=0), axis=-1) * near
    overlap = common / (np.prod(bodies.box[:, 2:] - bodies.box[:, :2], axis=-1) + width * height - common)
    best = max(everyone, key=lambda p: overlap[p.rows].max())
    if overlap[best.rows].max() < _THERE:
        there = "; ".join(_where(bodies, p, place.at) for p in everyone if near[p.rows].any()) or "nobody at all"
        raise KitError(f"--box: nobody is there at {place.at:g} s, but {there}")
    return best


def _where(bodies: Bodies, person: Person, at: float | None = None) -> str:
    """A person's box, as --box takes it, at a time or when first seen."""
    row = person.rows[0] if at is None else min(person.rows, key=lambda r: abs(bodies.times[r] - at))
    left, top, right, bottom = bodies.box[row]
    return f"--at {bodies.times[row]:.2f} --box {left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}"


def _taken(bodies: Bodies, everyone: list[Person], chosen: Person, alone: bool) -> list[str]:
    """A line that says who of several is followed; none where there is one."""
    lasting = [p for p in everyone if p is chosen or len(p.rows) >= max(4, len(chosen.rows) / 20)]
    if len(lasting) == 1:
        return []
    number = {id(p): n for n, p in enumerate(everyone)}
    span = f"from {bodies.times[chosen.rows[0]]:.1f} to {bodies.times[chosen.rows[-1]]:.1f} s"
    others = "; ".join(f"{number[id(p)]}: {_where(bodies, p)}" for p in lasting if p is not chosen)
    seen = "the detector sees one person at a time and jumped to others" if alone else f"{len(lasting)} people are seen"
    return [f"{seen}; {number[id(chosen)]} is followed, {span} ({_where(bodies, chosen)}); for another, {others}"]


def follow(
    found: Detections,
    person: str | int = "largest",
    alone: bool = False,
    place: Place | None = None,
    cuts: Sequence[int] = (),
    notes: list[str] | None = None,
) -> np.ndarray:
    """One person's keypoints in every frame.

    Where the person is not seen, everything is 0. Where two people overlap so that they could have been exchanged, or where a
    detector that sees one person only (`alone`) jumped to another body, the confidence is at most `LOW`.

    Args:
        person: see `choose`. place: where the person is, instead; shots other than that one then show nobody.
        cuts: frames with which a new shot begins (`cuts.find_cuts`); who is followed is chosen in each shot anew.
        notes: a list that gets a line on who of several was taken.

    Returns:
        (T, 17, 3) pixel u, v, confidence; all 0 when nobody was seen.

    Raises:
        KitError: no such person in any shot.
    """
    out = np.zeros((len(found.times), 17, 3), dtype=np.float32)
    ends = [0, *cuts, len(found.times)]
    faults = []
    for start, stop in pairwise(ends):
        here = (found.frame >= start) & (found.frame < stop)
        shot = replace(found, frame=found.frame[here], keypoints=found.keypoints[here])
        if place and not found.times[start] - _NEAR <= place.at <= found.times[stop - 1] + _NEAR:
            continue
        try:
            _follow_shot(out, shot, person, alone, place, notes)
        except KitError as fault:
            faults.append(fault)
    if place and place.at > found.times[-1] + _NEAR:
        raise KitError(f"--at {place.at:g}: the film is over at {found.times[-1]:.2f} s")
    if faults and not out.any():
        raise faults[0]
    return out


def _follow_shot(
    out: np.ndarray, found: Detections, person: str | int, alone: bool, place: Place | None, notes: list[str] | None
) -> None:
    bodies = bodies_of(found)
    if len(bodies.rows) == 0:
        if place:
            raise KitError(f"--box: nobody is there at {place.at:g} s, and nobody at all")
        return
    everyone = people(bodies, np.inf if alone else PATIENCE)
    if place is None:
        chosen = choose(bodies, everyone, person, found.image_size)
    else:
        chosen = pointed_at(bodies, everyone, place)
    if notes is not None:
        notes += _taken(bodies, everyone, chosen, alone)

    def put(which: np.ndarray, most: float) -> None:
        rows = bodies.rows[which]
        out[found.frame[rows]] = found.keypoints[rows]
        out[found.frame[rows], :, 2] = np.minimum(found.keypoints[rows, :, 2], most)

    if alone:
        put(np.arange(len(bodies.rows)), LOW)
    put(chosen.doubtful, LOW)
    put(chosen.rows, 1.0)
