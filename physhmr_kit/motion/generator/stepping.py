"""Motions with steps: random footholds, turns, lunges, walks.

Each function adds one motion to a choreography from time `now` (s) on, starting and ending with the weight between both feet,
and returns its end time.
"""

from __future__ import annotations

import math

from physhmr_kit.motion.choreography import LIMBS, MID_SOLE, OTHER, SIGN, Choreography
from physhmr_kit.motion.generator.draw import SIDES, Draw
from physhmr_kit.motion.generator.standing import ON_TOES, raise_heel


def stride(
    m: Choreography, side: str, now: float, place: dict[str, float], heading: float, *, shift: float, swing: float,
    lift: float, heel: float = 0.0, toe: float = 0.0,
) -> float:  # fmt: skip
    """Shift the weight off one foot and step with it, the pelvis turning along; returns the time of landing, s."""
    go = now + shift
    m.shift(now, go, OTHER[side])
    m.step(side, go, go + swing, lift=lift, heel=heel, toe=toe, roll=0.6 * shift, **place)
    if heel:  # the weight is on the toes before the heel rises
        m.move_foot(side, now, now + 0.5 * shift, press=ON_TOES)
        m.move_foot(side, go, go + swing, press=MID_SOLE)
    m.move(go - 0.4 * shift, go + swing, pelvis_yaw=heading)
    return go + swing


def steps(m: Choreography, d: Draw, now: float) -> float:
    """Two to four steps in any direction, the feet taking turns or one stepping twice."""
    side, _ = d.side()
    heading = m.heading
    for _ in range(d.one_of((2, 3, 4))):
        forward, across = d.about(0.38), m.width + d.up_to(-0.06, 0.22)
        heading += SIGN[side] * d.up_to(-10, 45)
        walks = forward > 0.12
        now = stride(
            m, side, now, m.place_beside(side, forward, across, heading), heading, shift=d.between(0.4, 0.85),
            swing=d.between(0.42, 0.75), lift=d.between(0.03, 0.14), heel=d.between(5, 20) if walks else 0.0,
            toe=d.between(0, 10) if walks else 0.0,
        )  # fmt: skip
        side = OTHER[side] if d.chance(0.85) else side
    return _close(m, d, now, heading, side)


def turn(m: Choreography, d: Draw, now: float) -> float:
    """Turn on the spot by up to 100 degrees in three steps, the inner foot first."""
    heading, by = m.heading, d.up_to(20, 100)
    side, other = d.side()
    heading += SIGN[side] * by
    half = heading - SIGN[side] * by / 2
    pace = {"shift": d.between(0.4, 0.8), "swing": d.between(0.42, 0.75), "lift": d.between(0.03, 0.08)}
    wide = m.width + 0.03
    now = stride(m, side, now, m.place_beside(side, 0.0, wide, half), half, **pace)
    now = stride(m, other, now, m.place_beside(other, 0.0, wide, heading), heading, **pace)
    now = stride(m, side, now, m.place_beside(side, 0.0, m.width, heading), heading, **pace)
    return _settle(m, d, now)


def lunge(m: Choreography, d: Draw, now: float) -> float:
    """A long step in any direction, down over it, and back."""
    side, other = d.side()
    heading = m.heading
    azimuth = d.between(-30, 180)  # outwards from straight ahead; a foot hardly crosses the other
    away = math.radians(azimuth)
    far = d.up_to(0.22, 0.50)
    forward, across = far * math.cos(away), m.width + far * math.sin(away)
    home = {key: m.foot(side, key) for key in ("x", "y", "yaw")}
    place = m.place_beside(side, forward, max(across, 0.10), heading)
    place["yaw"] += SIGN[side] * d.up_to(0, 0.35) * min(max(azimuth, 0), 90)
    deep, start = d.up_to(0.05, 0.28), now
    ahead = forward > 0.2
    behind = forward < -0.2
    raised = min(80 * abs(forward), 42)
    shift, swing = d.between(0.7, 1.0), d.between(0.6, 0.8)
    if behind:  # lands on the ball
        m.move_foot(side, now + shift + 0.2 * swing, now + shift + swing, heel=raised, press=ON_TOES)
    lift, toe = d.between(0.04, 0.10), 6.0 if ahead else 0.0
    now = stride(m, side, now, place, heading, shift=shift, swing=swing, lift=lift, toe=toe)
    share = d.between(0.5, 0.75) if not behind else d.between(0.3, 0.45)
    down = now + d.between(0.8, 1.1)
    m.shift(now, down, share if side == "left" else 1 - share)
    m.move(start + 0.3, down, pelvis_height=-0.02 - deep, pelvis_pitch=d.up_to(-3, 18))
    if ahead:
        raise_heel(m, other, now, down, raised)
    now = down + d.between(0.2, 0.7)
    # the weight returns to the foot that stayed, then the other steps back
    stop = now + d.between(0.9, 1.2)
    m.shift(now, stop, other)
    m.move(now, stop, pelvis_height=-0.03, pelvis_pitch=0)
    if ahead:
        half = (now + stop) / 2
        m.move_foot(other, now, half, heel=0.0)
        m.move_foot(other, half, stop, press=MID_SOLE)
    if behind:
        m.move_foot(side, stop + 0.1, stop + 0.5, heel=0.0, press=MID_SOLE)
    land = stop + d.between(0.6, 0.8)
    m.step(side, stop, land, lift=d.between(0.04, 0.08), **home)
    return _settle(m, d, land)


def walk(m: Choreography, d: Draw, now: float) -> float:
    """Walk six steps forwards, backwards, sideways or on the spot, straight or in a curve, at a random pace."""
    way = d.one_of(("ahead", "ahead", "ahead", "back", "aside", "spot"))
    pace, heading = d.between(0.48, 0.95), m.heading
    length = {"ahead": d.up_to(0.15, 0.60), "back": -d.up_to(0.1, 0.34)}.get(way, 0.0)
    curve = d.about(20) if way != "aside" else 0.0
    wide = {"aside": m.width + d.up_to(0.04, 0.28)}.get(way, d.between(0.12, m.width))
    lift = d.between(0.06, 0.18) if way == "spot" else d.between(0.03, 0.09)
    heel, toe = (d.between(8, 22), d.between(2, 12)) if length > 0.2 else (0.0, 0.0)
    side, other = d.side()
    swing, swings_arms = d.between(0.60, 0.68) * pace, way == "ahead" and d.chance(0.5)
    shift = pace - swing
    wait = max(0.7 - shift, 0)  # the first shift starts from rest and takes longer
    m.shift(now, now + wait + shift, other)
    now += wait + shift
    for k in range(6):
        first, last = k == 0, k == 5
        heading += 0.0 if last else curve
        ahead = length / 2 if first else 0.0 if last else length
        across = m.width if last else min(m.width, wide) if way == "aside" and k % 2 == 1 else wide
        place = m.place_beside(side, ahead, across, heading)
        flat = last or length <= 0.2
        rolls = {"heel": 0.0 if first else heel, "toe": 0.0 if flat else toe, "roll": 0.9 * shift}
        m.step(side, now, now + swing, lift=lift, **rolls, **place)
        landing, leaving = (MID_SOLE, MID_SOLE) if flat else (-0.015, 0.115)
        m.move_foot(side, now, now + swing, press=landing)
        m.move_foot(other, now, now + swing, press=leaving)
        twist = (4 if side == "right" else -4) * abs(length) / 0.35
        m.move(now - 0.1, now + pace - 0.1, pelvis_yaw=heading if last else heading + twist)
        if swings_arms:
            far = length / 0.35
            m.move(
                now - 0.1, now + pace - 0.1, **LIMBS[other](shoulder_y=-22 * far, elbow_y=-14 - 10 * far),
                **LIMBS[side](shoulder_y=14 * far, elbow_y=-12),
            )  # fmt: skip
        if not last:
            m.shift(now + swing, now + pace, side)
            now += pace
            side, other = other, side
    return _settle(m, d, now + swing)


def _close(m: Choreography, d: Draw, now: float, heading: float, side: str) -> float:
    """Bring the feet together with one more step."""
    place = m.place_beside(side, 0.0, m.width, heading)
    now = stride(m, side, now, place, heading, shift=d.between(0.6, 0.9), swing=d.between(0.5, 0.7), lift=0.05)
    return _settle(m, d, now)


def _settle(m: Choreography, d: Draw, now: float) -> float:
    """Return the weight between both feet, soles flat."""
    stop = now + d.between(0.7, 1.0)
    m.shift(now, stop, "both")
    for side in SIDES:
        m.move_foot(side, now, stop, press=MID_SOLE)
    m.move(now, stop, pelvis_height=-0.015)
    return stop + d.between(0.0, 0.3)
