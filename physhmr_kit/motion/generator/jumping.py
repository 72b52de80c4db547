"""Small two-footed jumps, on the spot or in any direction, with a small turn."""

from __future__ import annotations

import math

from physhmr_kit.motion.balance import GRAVITY
from physhmr_kit.motion.choreography import MID_SOLE, Choreography, both, displaced
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.generator.draw import SIDES, Draw
from physhmr_kit.motion.generator.standing import ON_TOES


def jump(m: Choreography, d: Draw, now: float) -> float:
    """Crouch, take off from the balls of the feet, land on them and stand; returns the end time, s."""
    frame = 1 / CONTROL_FPS  # take-off and landing fall on frames, so that no frame is partly in the air
    start = math.ceil((now + 0.1) / frame) * frame
    takeoff = start + round(d.between(0.5, 0.65) / frame) * frame
    air = round((0.10 + d.up_to(0.03, 0.14)) / frame) * frame
    landing = takeoff + air
    stop = landing + round(d.between(0.5, 0.7) / frame) * frame
    heading = m.heading
    turn, away = d.about(25), math.radians(d.between(-180, 180))
    far = d.up_to(0, 0.22) * (1.0 if d.chance(0.7) else 0.0)
    ahead, aside = far * math.cos(away), far * math.sin(away)
    m.jump(start, takeoff, landing, stop, rise=d.between(0.015, 0.035), sink=d.between(0.01, 0.04))

    high = GRAVITY * air**2 / 8 + 0.02  # of the flight, plus 2 cm of drawing the feet up
    middle = (takeoff + landing) / 2
    x, y = displaced(*_centre(m), heading, ahead, aside)
    for side in SIDES:
        m.move_foot(side, start, takeoff - 0.22, press=0.10)
        m.move_foot(side, takeoff - 0.22, takeoff - 0.05, press=ON_TOES)
        m.move_foot(side, takeoff - 0.2, takeoff, heel=28.0)
        m.move_foot(side, takeoff, middle, lift=high)
        m.move_foot(side, middle, landing, lift=0.0)
        m.move_foot(side, takeoff, landing, heel=0.0, press=0.06, **m.place(side, x, y, heading + turn))
        m.move_foot(side, landing, stop, press=MID_SOLE)
    m.move(start, start + 0.3, pelvis_pitch=d.between(14, 24))
    m.move(start + 0.3, takeoff, pelvis_pitch=2)
    m.move(takeoff, landing + 0.3, pelvis_pitch=d.between(12, 20))
    m.move(landing + 0.3, stop + 0.3, pelvis_pitch=0)
    if turn:
        m.move(takeoff - 0.3, landing + 0.3, pelvis_yaw=heading + turn)
    if d.chance(0.5):
        swing = d.between(0.5, 1.0)
        m.move(start, start + 0.3, **both(shoulder_y=22 * swing, elbow_y=-14))
        m.move(start + 0.3, takeoff, **both(shoulder_y=-40 * swing, elbow_y=-30))
        m.move(landing, stop, **both(shoulder_y=-4, elbow_y=-14))
    return stop + 0.3 + d.between(0.0, 0.3)


def _centre(m: Choreography) -> tuple[float, float]:
    """The midpoint of the soles, m; `Choreography.place` turns the feet about it."""
    x = y = 0.0
    for side in SIDES:
        sole = displaced(m.foot(side, "x"), m.foot(side, "y"), m.foot(side, "yaw"), MID_SOLE, 0.0)
        x, y = x + sole[0] / 2, y + sole[1] / 2
    return x, y
