"""Small jumps with both feet: on the spot, anywhere around, with a little turn."""

from __future__ import annotations

import math

from physhmr_kit.motion.choreography import MID_SOLE, Choreography, both
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.generator.draw import SIDES, Draw
from physhmr_kit.motion.generator.standing import ON_TOES


def jump(m: Choreography, d: Draw, now: float) -> float:
    """Crouch, leave the floor from the balls of the feet, land on them, and stand; returns when it ends, in seconds."""
    frame = 1 / CONTROL_FPS  # take-off and landing are frames, so that no frame is half in the air
    start = math.ceil((now + 0.1) / frame) * frame
    takeoff = start + round(d.between(0.5, 0.65) / frame) * frame
    air = round((0.10 + d.up_to(0.03, 0.14)) / frame) * frame
    landing = takeoff + air
    stop = landing + round(d.between(0.5, 0.7) / frame) * frame
    heading = m.channels["pelvis_yaw"].last
    turn, away = d.about(25), math.radians(d.between(-180, 180))
    far = d.up_to(0, 0.22) * (1.0 if d.chance(0.7) else 0.0)
    ahead, aside = far * math.cos(away), far * math.sin(away)
    m.jump(start, takeoff, landing, stop, rise=d.between(0.015, 0.035), sink=d.between(0.01, 0.04))

    high = 9.81 * air**2 / 8 + 0.02  # of the flight, and a little drawn up
    middle = (takeoff + landing) / 2
    centre = _centre(m)
    face = math.radians(heading)
    x = centre[0] + math.cos(face) * ahead - math.sin(face) * aside
    y = centre[1] + math.sin(face) * ahead + math.cos(face) * aside
    for side in SIDES:
        foot = f"{side}_sole_"
        m.move(start, takeoff - 0.22, **{foot + "press": 0.10})
        m.move(takeoff - 0.22, takeoff - 0.05, **{foot + "press": ON_TOES})
        m.move(takeoff - 0.2, takeoff, **{foot + "heel": 28.0})
        m.move(takeoff, middle, **{foot + "lift": high})
        m.move(middle, landing, **{foot + "lift": 0.0})
        place = m.place(side, x, y, heading + turn)
        m.move(takeoff, landing, **{foot + key: value for key, value in place.items()})
        m.move(takeoff, landing, **{foot + "heel": 0.0, foot + "press": 0.06})
        m.move(landing, stop, **{foot + "press": MID_SOLE})
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
    """The middle between the soles, m; `Choreography.place` turns about it."""
    x = y = 0.0
    for side in SIDES:
        yaw = math.radians(m.channels[f"{side}_sole_yaw"].last)
        x += (m.channels[f"{side}_sole_x"].last + MID_SOLE * math.cos(yaw)) / 2
        y += (m.channels[f"{side}_sole_y"].last + MID_SOLE * math.sin(yaw)) / 2
    return x, y
