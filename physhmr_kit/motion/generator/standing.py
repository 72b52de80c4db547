"""Motions on the spot: leans, reaches, crouches, stands on one leg, kicks.

Each function adds one motion to a choreography from time `now` (s) on, starting and ending with both feet on the floor and
the weight between them, and returns its end time.
"""

from __future__ import annotations

import math

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import SOLE_DEPTH, standing_height
from physhmr_kit.motion.choreography import MID_SOLE, OTHER, SIGN, Choreography, displaced
from physhmr_kit.motion.generator.draw import SIDES, Draw
from physhmr_kit.motion.generator.upper_body import arm, head, trunk

_PRESS = (-0.03, 0.10)  # m in front of the ankle: range of the centre of pressure of a flat sole
ON_TOES = 0.15
"""Centre of pressure of a foot with its heel raised, m in front of the ankle."""
_HIP = Humanoid.mean().offsets[1].tolist()  # offset of the left hip from the pelvis: left, up, forward
_LEG = 0.775  # m, hip to ankle of a straight leg


def lean(m: Choreography, d: Draw, now: float) -> float:
    """Move the weight towards the edges of both soles, with the pelvis pitched, rolled and turned."""
    heading, stop = m.heading, now + d.between(0.7, 1.5)
    press = MID_SOLE + d.bold * (d.between(*_PRESS) - MID_SOLE)
    m.shift(now, stop, 0.5 + d.about(0.45))
    m.move(now, stop, left_sole_press=press, right_sole_press=press)
    m.move(
        now, stop, pelvis_pitch=d.up_to(-10, 55), pelvis_roll=d.about(18), pelvis_yaw=heading + d.about(28),
        pelvis_height=-0.015 - d.up_to(0, 0.16),
    )  # fmt: skip
    return _gather(m, d, stop + d.between(0.1, 0.7), heading)


def reach(m: Choreography, d: Draw, now: float) -> float:
    """Reach with one or both hands; trunk, pelvis and weight follow."""
    heading, stop = m.heading, now + d.between(0.7, 1.4)
    side, _ = d.side()
    sides = SIDES if d.chance(0.4) else (side,)
    turn = 0 if len(sides) == 2 else -SIGN[side]  # the reaching shoulder goes forwards
    pitch = d.up_to(-6, 60)
    posture = trunk(d, 0.6) | head(d)
    posture["spine3_y"] = turn * d.up_to(0, 16)
    for s in sides:
        posture |= arm(d, s, 1.2)
    m.move(now, stop, **posture)
    m.move(
        now, stop, pelvis_pitch=pitch, pelvis_yaw=heading + turn * d.up_to(0, 25), pelvis_roll=d.about(8),
        pelvis_height=-0.02 - d.up_to(0, 0.12) * max(pitch, 10) / 45,
    )  # fmt: skip
    m.shift(now, stop, 0.5 + (turn or d.about(1)) * d.up_to(-0.35, 0.35))
    press = MID_SOLE + d.up_to(-0.02, 0.05)
    m.move(now, stop, left_sole_press=press, right_sole_press=press)
    return _gather(m, d, stop + d.between(0.1, 0.6), heading)


def crouch(m: Choreography, d: Draw, now: float) -> float:
    """Crouch, possibly onto the balls of the feet, pause and rise."""
    stop = now + d.between(0.7, 1.5)
    down = 0.02 + d.up_to(0.08, 0.46)
    heading = m.heading
    m.move(
        now, stop, pelvis_height=-down, pelvis_pitch=90 * min(down, 0.35) + d.about(10), pelvis_roll=d.about(5),
        pelvis_yaw=heading + d.about(12),
    )  # fmt: skip
    m.shift(now, stop, 0.5 + d.about(0.2))
    if down > 0.3 or d.chance(0.3):  # the ankles bend no further
        raised = d.between(12, 30)
        for side in SIDES:
            raise_heel(m, side, now, stop, raised)
    return _gather(m, d, stop + d.between(0.2, 0.8), heading)


def one_leg(m: Choreography, d: Draw, now: float) -> float:
    """Stand on one leg and move the other to one or two places in the air, the trunk leaning against it."""
    side, other = d.side()
    now = _onto(m, d, now, other)
    for _ in range(d.one_of((1, 1, 2))):
        stop = now + d.between(0.65, 1.2)
        _leg_to(m, d, now, stop, side, SIGN[side] * d.between(-10, 185), d.up_to(10, 60), d.between(0.68, 0.93))
        now = stop + d.between(0.2, 0.8)
    return _back_on_both(m, d, now, side, d.between(0.8, 1.1))


def kick(m: Choreography, d: Draw, now: float) -> float:
    """Lift one foot, kick forwards, sideways or backwards, retract it and put it down."""
    side, other = d.side()
    aside = SIGN[side] * 90
    now = _onto(m, d, now, other)
    azimuth = d.one_of((0, 0, aside, aside, 180)) + d.about(20)
    high = d.up_to(18, 62 if abs(azimuth) < 45 else 45)
    stop = now + d.between(0.55, 0.8)
    _leg_to(m, d, now, stop, side, azimuth, 0.6 * high + 8, d.between(0.68, 0.76))
    out = stop + d.between(0.22, 0.45) / d.bold**0.5
    _leg_to(m, d, stop, out, side, azimuth, high, 0.92)
    back = out + d.between(0.3, 0.6)
    _leg_to(m, d, out, back, side, azimuth, 0.5 * high, 0.8)
    return _back_on_both(m, d, back, side, d.between(0.55, 0.8))


def raise_heel(m: Choreography, side: str, now: float, stop: float, degrees: float) -> None:
    """Raise one heel, after shifting the weight onto the toes."""
    half = (now + stop) / 2
    m.move_foot(side, now, half, press=ON_TOES)
    m.move_foot(side, half - 0.1, stop, heel=degrees)


def _gather(m: Choreography, d: Draw, now: float, heading: float) -> float:
    """Return to quiet stance over both feet."""
    stop = now + d.between(0.9, 1.3)
    m.shift(now, stop, "both")
    m.move(now, stop, pelvis_pitch=0, pelvis_roll=0, pelvis_yaw=heading, pelvis_height=-0.015)
    half = (now + stop) / 2
    for side in SIDES:
        raised = m.foot(side, "heel") > 0
        m.move_foot(side, half - 0.1 if raised else now, stop, press=MID_SOLE)
        if raised:
            m.move_foot(side, now, half, heel=0.0)
    return stop + d.between(0.0, 0.3)


def _onto(m: Choreography, d: Draw, now: float, side: str) -> float:
    """Shift the weight onto one foot and lower the pelvis a little."""
    stop = now + d.between(0.6, 1.1)
    m.shift(now, stop, side)
    m.move(now, stop, pelvis_height=-0.02 - d.up_to(0, 0.10))
    return stop


def _leg_to(m: Choreography, d: Draw, now: float, stop: float, side: str, azimuth: float, high: float, straight: float):
    """Move one foot in the air while the other leg stands.

    Args:
        azimuth: direction of the leg, degrees from straight ahead to the left. high: its angle from hanging down, degrees.
        straight: distance from hip to ankle over the straight leg's length.
    """
    other = OTHER[side]
    heading, low = m.heading, m.channels["pelvis_height"].last
    away, up = math.radians(azimuth), math.radians(high)
    forward, aside = math.cos(away), math.sin(away)
    # the hip is over the standing foot, the pelvis leans a little away from the lifted leg
    counter = 0.12 * straight * math.sin(up)
    fore = MID_SOLE - counter * forward + _LEG * straight * math.sin(up) * forward
    across = SIGN[side] * (_HIP[0] + 0.01) - counter * aside + _LEG * straight * math.sin(up) * aside
    height = standing_height() + low + _HIP[1] - _LEG * straight * math.cos(up)
    bend = math.degrees(math.acos(straight))  # half of the knee's
    ahead = math.degrees(math.atan2(math.sin(up) * forward, math.cos(up)))
    aside_angle = math.degrees(math.atan2(math.sin(up) * aside, math.cos(up)))
    x, y = displaced(m.foot(other, "x"), m.foot(other, "y"), heading, fore, across)
    pitch, roll = min(max(bend - ahead, -40), 75) + d.about(8), 0.8 * aside_angle
    yaw = heading + SIGN[side] * d.between(0, 10)
    tilt, lean = math.sin(math.radians(pitch)), math.sin(math.radians(roll))
    lowest = 0.03 + max(0.2 * tilt, -0.07 * tilt) + 0.07 * abs(lean)
    rises = m.foot(side, "lift") == 0
    m.move_foot(side, now, stop, lift=max(height - SOLE_DEPTH, lowest))
    # a foot on the floor rises before it turns
    begin = now + (0.35 * (stop - now) if rises else 0.0)
    m.move_foot(side, begin, stop, x=x, y=y, yaw=yaw, pitch=pitch, roll=roll)
    m.move(
        now, stop, pelvis_pitch=d.bold * (10 - 0.7 * ahead * d.between(0.3, 1.0)) if ahead < 0 else d.about(6),
        pelvis_roll=0.4 * aside_angle * d.between(0, 1) + d.about(4),
    )  # fmt: skip


def _back_on_both(m: Choreography, d: Draw, now: float, side: str, seconds: float) -> float:
    """Put the lifted foot back beside the other, then shift the weight between both."""
    place, stop = m.place_beside(side, 0.0, m.width, m.heading), now + seconds
    m.move_foot(side, now, stop - 0.3 * seconds, pitch=0.0, roll=0.0, **place)
    m.move_foot(side, now, stop, lift=0.0)
    return _gather(m, d, stop, m.heading)
