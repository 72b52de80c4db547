"""Synthetic demo motions: no download, no licence.

Each function is one motion as a `Choreography`, designed for a 70 kg body with limited torques: moderate speeds, the weight
shifted before a foot is lifted, soles flat in stance.
"""

from __future__ import annotations

from functools import cache

from physhmr_kit.motion.choreography import LIMBS, MID_SOLE, Choreography, both, left, right
from physhmr_kit.motion.clip import Clip
from physhmr_kit.utils.errors import KitError

_LEFT_FIRST = (("left", "right"), ("right", "left"))
"""Stepping foot and the other, taking turns."""


def stand() -> Choreography:
    """Quiet stance: a slow sway from foot to foot and a look to either side."""
    m = Choreography("stand", 6.0)
    for start, share in ((0.2, 0.60), (1.6, 0.42), (3.0, 0.57), (4.4, 0.50)):
        m.shift(start, start + 1.4, share)
    m.move(0.8, 1.8, neck_y=14, head_y=12, spine3_y=4)
    m.move(2.2, 3.4, neck_y=-14, head_y=-12, spine3_y=-4)
    m.move(4.0, 5.0, neck_y=0, head_y=0, spine3_y=0)
    return m


def squat() -> Choreography:
    """Two squats, the arms reaching forwards as a counterweight."""
    m = Choreography("squat", 6.5, width=0.28, splay=14)
    low = both(shoulder_y=-80, shoulder_z=-12, elbow_y=-8) | {"spine1_x": 8, "spine2_x": 6, "neck_x": -12}
    for start, height in ((0.5, -0.17), (3.4, -0.26)):
        m.move(start, start + 1.2, pelvis_height=height, pelvis_pitch=-90 * height, **low)
        m.move(start + 1.4, start + 2.5, **m.rest)
    return m


def wave() -> Choreography:
    """Wave with the right hand beside the head."""
    m = Choreography("wave", 5.0)
    up = right(shoulder_z=8, shoulder_x=-70, shoulder_y=-20, elbow_y=-95, collar_z=10)
    m.move(0.4, 1.4, **up, spine3_z=-3, neck_z=4)
    for k in range(3):
        m.move(1.4 + 0.7 * k, 1.75 + 0.7 * k, **right(elbow_y=-65))
        m.move(1.75 + 0.7 * k, 2.1 + 0.7 * k, **right(elbow_y=-105))
    m.move(3.6, 4.7, **m.rest)
    return m


def punch() -> Choreography:
    """Jab and cross, twice, from a staggered guard."""
    on_the_balls = {"left_sole_press": 0.05, "right_sole_press": 0.05}
    m = Choreography("punch", 6.0, width=0.22, splay=10, stagger=0.24, pelvis_height=-0.035, **on_the_balls)
    guard = both(shoulder_z=-62, shoulder_y=-35, elbow_y=-125)
    guard |= {"pelvis_height": -0.06, "pelvis_yaw": -25, "spine3_x": 6, "spine3_y": 0, "neck_y": 20}
    jab = left(shoulder_y=-85, shoulder_z=-30, elbow_y=-10) | {"pelvis_yaw": -32, "spine3_y": -12, "neck_y": 36}
    cross = right(shoulder_y=-85, shoulder_z=-30, elbow_y=-10) | {"pelvis_yaw": -8, "spine3_y": 20, "neck_y": -10}
    m.move(0.4, 1.3, **guard)
    for start in (1.6, 3.3):
        m.move(start, start + 0.30, **jab)
        m.move(start + 0.34, start + 0.70, **guard)
        m.move(start + 0.72, start + 1.08, **cross)
        m.move(start + 1.12, start + 1.58, **guard)
    m.move(5.0, 5.9, **m.rest)
    return m


def bow() -> Choreography:
    """A deep bow from the hips, the hands sliding down the thighs."""
    m = Choreography("bow", 5.0)
    bent = {"pelvis_pitch": 38, "spine1_x": 10, "spine2_x": 10, "spine3_x": 6, "neck_x": 8}
    m.move(0.5, 1.9, **bent, pelvis_height=-0.05, **both(shoulder_y=-42, elbow_y=-18))
    m.move(0.5, 1.9, left_sole_press=0.01, right_sole_press=0.01)
    m.move(2.5, 4.0, **m.rest)
    m.move(2.5, 4.0, left_sole_press=MID_SOLE, right_sole_press=MID_SOLE)
    return m


def arm_raise() -> Choreography:
    """Raise both arms sideways overhead and lower them in front."""
    m = Choreography("arm_raise", 6.0)
    m.move(0.4, 2.0, **both(shoulder_z=45, shoulder_y=-5, elbow_y=-8, collar_z=22), spine3_x=-4, neck_x=-12)
    m.move(2.4, 3.6, **both(shoulder_z=-10, shoulder_y=-85, collar_z=0), spine3_x=2, neck_x=0)
    m.move(3.9, 5.2, **m.rest)
    return m


def reach() -> Choreography:
    """Reach up and forwards with the right hand, the weight on the left foot, then the mirror image."""
    m = Choreography("reach", 6.5, width=0.24, splay=10)
    high = {"shoulder_y": -85, "shoulder_x": -50, "shoulder_z": -10, "elbow_y": -6, "collar_z": 14, "collar_y": -12}
    for start, side, turn, share in ((0.4, right, 1, 0.75), (3.4, left, -1, 0.25)):
        m.shift(start, start + 1.2, share)
        m.move(start, start + 1.2, **side(**high), pelvis_yaw=6 * turn, spine3_y=10 * turn, spine1_x=4, neck_x=-14)
        m.shift(start + 1.5, start + 2.7, "both")
        m.move(start + 1.5, start + 2.7, **m.rest)
    return m


def lunge() -> Choreography:
    """A long step forwards into a lunge, up over the front foot, and the rear foot closes."""
    m = Choreography("lunge", 7.5, pelvis_height=-0.03)
    m.shift(0.3, 1.1, "right")
    m.move(0.8, 1.8, right_sole_press=0.11)
    m.step("left", 1.1, 1.8, lift=0.06, toe=6, **m.place("left", x=0.44))
    m.move(0.7, 2.6, pelvis_height=-0.22, **both(shoulder_y=-18, elbow_y=-35))
    m.shift(1.8, 2.7, 0.62)
    m.move(1.85, 2.95, right_sole_heel=38, right_sole_press=0.14)
    m.shift(3.4, 4.6, "left")
    m.move(3.4, 6.3, **m.rest)
    m.move(4.7, 5.4, right_sole_heel=0)
    m.step("right", 4.6, 5.5, lift=0.05, **m.place("right", x=0.44))
    m.move(5.2, 5.5, right_sole_press=MID_SOLE)
    m.shift(5.5, 6.5, "both")
    return m


def turn() -> Choreography:
    """A quarter turn to the left in place, in four steps."""
    m = Choreography("turn", 8.0, pelvis_height=-0.03)
    now = 0.4
    for heading in (45, 90):
        m.move(now + 0.8, now + 3.1, pelvis_yaw=heading)
        for side, other in _LEFT_FIRST:
            m.shift(now, now + 0.8, other)
            m.step(side, now + 0.8, now + 1.5, heel=12, **m.place(side, heading=heading))
            now += 1.6
    m.shift(now, now + 0.8, "both")
    return m


def side_step() -> Choreography:
    """Two steps to the left: the left foot opens, the right one closes."""
    m = Choreography("side_step", 8.0, pelvis_height=-0.06)
    now = 0.4
    for y in (0.16, 0.32):
        for side, other in _LEFT_FIRST:
            m.shift(now, now + 0.8, other)
            m.step(side, now + 0.8, now + 1.5, **m.place(side, y=y))
            now += 1.6
    m.shift(now, now + 0.8, "both")
    return m


def _walk(m: Choreography, places: list[float], *, lift: float, striding: bool, pace: float = 0.9) -> Choreography:
    """Alternating steps, left first, `pace` seconds each, to stances centred `places` metres ahead.

    A striding foot lands on its heel and leaves from its ball; on the spot the feet stay flat.
    """
    swing, now = 0.64 * pace, 1.1
    heel, toe, twist = (20, 10, 4) if striding else (0, 0, 0)
    landing, leaving = (-0.02, 0.13) if striding else (MID_SOLE, MID_SOLE)
    m.shift(0.4, now, "right")
    m.move(0.2, 0.9, left_sole_press=leaving)
    for k, x in enumerate(places):
        (side, other), last = _LEFT_FIRST[k % 2], k == len(places) - 1
        if last:
            toe, landing, leaving = 0, MID_SOLE, MID_SOLE
        m.step(side, now, now + swing, lift=lift, heel=heel, toe=toe, roll=pace - swing, **m.place(side, x))
        m.move_foot(side, now, now + swing, press=landing)
        m.move_foot(other, now, now + swing, press=leaving)
        m.shift(now + swing, now + pace, "both" if last else side)
        # the arm opposite the swinging leg goes forwards, and the shoulders turn against the hips
        arms = LIMBS[other](shoulder_y=-22, elbow_y=-22) | LIMBS[side](shoulder_y=12, elbow_y=-10)
        hips = twist if side == "right" else -twist
        upper = m.rest if last else arms | {"pelvis_yaw": hips, "spine3_y": -1.5 * hips}
        m.move(now - 0.15, now + pace - 0.15, **upper)
        now += pace
    return m


def walk_in_place() -> Choreography:
    """Six steps on the spot."""
    m = Choreography("walk_in_place", 7.4, width=0.15, pelvis_height=-0.045)
    return _walk(m, [0.0] * 6, lift=0.10, striding=False)


def walk_forward() -> Choreography:
    """Five heel-first steps and a closing one, from and to quiet stance."""
    m = Choreography("walk_forward", 7.4, width=0.15, pelvis_height=-0.045)
    return _walk(m, [0.20, 0.54, 0.88, 1.22, 1.44, 1.44], lift=0.04, striding=True)


MOTIONS = {
    f.__name__: f
    for f in (stand, squat, wave, punch, bow, arm_raise, reach, lunge, turn, side_step, walk_in_place, walk_forward)
}


@cache
def _made(name: str) -> Clip:
    return MOTIONS[name]().clip()


def demo_clips() -> list[Clip]:
    """All demo motions at 30 fps, standing at the origin and facing +x in their first frame."""
    return [_made(name) for name in MOTIONS]


def demo_clip(name: str) -> Clip:
    """A demo motion by name, at 30 fps.

    Raises:
        KitError: there is no motion of that name.
    """
    if name not in MOTIONS:
        raise KitError(f"demo:{name}: no such demo motion; choose from {', '.join(MOTIONS)}")
    return _made(name)
