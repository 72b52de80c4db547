"""A small language for motions: move named channels over time, place the feet; legs and balance are computed.

    dance = Choreography("dance", seconds=4.0)
    dance.move(0.5, 1.5, **both(shoulder_z=60), pelvis_height=-0.10)
    dance.shift(1.5, 2.5, "left")
    dance.step("right", 2.5, 3.3, x=0.3)
    clip = dance.clip()

Every channel moves along a minimum-jerk curve (Flash and Hogan 1985), so velocities and accelerations are continuous.
Feet stay where they are placed; the legs follow by inverse kinematics; the pelvis is shifted horizontally until the
zero-moment point lies where the weight is to be (`planted.py`, `balance.py`).
"""

from __future__ import annotations

import math

import numpy as np

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.flight import Flight
from physhmr_kit.motion.planted import PlantedBody
from physhmr_kit.utils.errors import KitError

SIGN = {"left": 1, "right": -1}
OTHER = {"left": "right", "right": "left"}

MID_SOLE = 0.035
"""Centre of pressure of a foot in quiet stance: metres in front of the ankle."""


def left(**angles: float) -> dict[str, float]:
    """Channels of the left limbs: `left(elbow_y=-90)` is {'left_elbow_y': -90}. Degrees."""
    return {f"left_{name}": angle for name, angle in angles.items()}


def right(**angles: float) -> dict[str, float]:
    """The mirror image on the right of angles given for the left: x keeps its sign, y and z change it. Degrees."""
    return {f"right_{name}": angle if name.endswith("_x") else -angle for name, angle in angles.items()}


def both(**angles: float) -> dict[str, float]:
    """Channels of both sides, from angles given for the left. Degrees."""
    return left(**angles) | right(**angles)


LIMBS = {"left": left, "right": right}
ARMS_DOWN = both(collar_z=-4, shoulder_z=-70, shoulder_y=-4, elbow_y=-14, hand_z=-8)
"""Hanging arms: upper arms slightly off the trunk, elbows slightly bent."""

_PELVIS = {"pelvis_height": -0.012, "pelvis_yaw": 0.0, "pelvis_pitch": 0.0, "pelvis_roll": 0.0}
_FOOT = dict.fromkeys(("x", "y", "yaw", "lift", "heel", "toe", "pitch", "roll"), 0.0) | {"press": MID_SOLE}

_FREE = tuple(n for n in dof_names() if not any(leg in n for leg in ("hip", "knee", "ankle", "foot")))
"""The hinges that have channels: trunk, head and arms. The legs follow the soles."""

QUIET = dict.fromkeys(_FREE, 0.0) | ARMS_DOWN | _PELVIS
"""Trunk, head, arms and pelvis of a quiet stance."""


def minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """Minimum-jerk curve from 0 to 1: zero velocity and acceleration at both ends."""
    s = np.clip(phase, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


def displaced(x: float, y: float, heading: float, forward: float, left: float) -> tuple[float, float]:
    """The point `forward` and `left` metres from (x, y) m, as seen facing `heading` degrees."""
    turn = math.radians(heading)
    return x + math.cos(turn) * forward - math.sin(turn) * left, y + math.sin(turn) * forward + math.cos(turn) * left


class Channel:
    """A scalar over time: a start value and a sequence of moves."""

    def __init__(self, name: str, start: float):
        self.name, self.start = name, start
        self.moves: list[tuple[float, float, float]] = []

    @property
    def last(self) -> float:
        """Value after the moves so far."""
        return self.moves[-1][2] if self.moves else self.start

    def move(self, start: float, stop: float, target: float) -> None:
        """Append a move to `target` between two times, s."""
        if stop <= start:
            raise KitError(f"{self.name}: a move from {start:g} s to {stop:g} s takes no time; let it stop later")
        if self.moves and start < self.moves[-1][1] - 1e-6:
            busy = f"a move starts at {start:g} s while another lasts to {self.moves[-1][1]:g} s"
            raise KitError(f"{self.name}: {busy}; start it later")
        self.moves.append((start, stop, target))

    def sample(self, times: np.ndarray) -> np.ndarray:
        """Values at `times` (T,) s -> (T,)."""
        value, now = np.full(len(times), float(self.start)), self.start
        for start, stop, target in self.moves:
            value += (target - now) * minimum_jerk((times - start) / (stop - start))
            now = target
        return value


class Choreography:
    """A motion under construction; `clip()` renders it.

    Channels:
        the hinges of trunk, head and arms by name, degrees ('left_elbow_y');
        'pelvis_height', metres above that of the rest pose; 'pelvis_yaw', 'pelvis_pitch' (forwards) and 'pelvis_roll' (to the
        right), degrees; 'weight', the share of the weight on the left foot;
        for each foot '<side>_sole_' and x, y (ankle, metres), yaw (degrees), lift (metres), heel and toe (degrees
        raised), pitch and roll (degrees about the ankle, toes down and sole to the left, for a foot in the air), press
        (centre of pressure, metres in front of the ankle).
    """

    def __init__(
        self, name: str, seconds: float, width: float = 0.19, splay: float = 7.0, stagger: float = 0.0, **start: float
    ):
        """Start in quiet stance.

        Args:
            name: the clip's name. seconds: its length.
            width: distance between the ankles, m. splay: outward turn of each foot, degrees.
            stagger: how far the left foot stands ahead of the right, m.
            start: start values that differ from `QUIET`, e.g. `pelvis_height=-0.03` for longer steps.

        `rest` holds the start values of trunk, head, arms and pelvis: `move(..., **m.rest)` returns to them.
        """
        self.name, self.seconds, self.width, self.splay = name, seconds, width, splay
        self.rest = QUIET | start
        value = {"weight": 0.5}
        for side, ahead in (("left", stagger / 2), ("right", -stagger / 2)):
            feet = _FOOT | self.place(side, ahead)
            value |= {f"{side}_sole_{key}": number for key, number in feet.items()}
        self._refuse_unknown(set(start) - set(value) - set(QUIET))
        value |= self.rest
        self.channels = {key: Channel(f"{name}: {key}", number) for key, number in value.items()}
        self.jumps: list[tuple[float, ...]] = []

    def place(self, side: str, x: float = 0.0, y: float = 0.0, heading: float = 0.0) -> dict[str, float]:
        """Position (m) and yaw (degrees) of a foot in a stance centred on (x, y) m and facing `heading` degrees."""
        x, y = displaced(x, y, heading, -MID_SOLE, SIGN[side] * self.width / 2)
        return {"x": x, "y": y, "yaw": heading + SIGN[side] * self.splay}

    def place_beside(self, side: str, forward: float, across: float, heading: float) -> dict[str, float]:
        """Position and yaw of a foot `forward` m ahead of and `across` m apart from the other, facing `heading` degrees."""
        other = OTHER[side]
        x, y = displaced(self.foot(other, "x"), self.foot(other, "y"), heading, forward, SIGN[side] * across)
        return {"x": x, "y": y, "yaw": heading + SIGN[side] * self.splay}

    @property
    def heading(self) -> float:
        """Pelvis yaw after the moves so far, degrees."""
        return self.channels["pelvis_yaw"].last

    def foot(self, side: str, key: str) -> float:
        """Value of a foot's channel after the moves so far: `m.foot("left", "yaw")`."""
        return self.channels[f"{side}_sole_{key}"].last

    def move(self, start: float, stop: float, **targets: float) -> None:
        """Move channels to new values between two times, s."""
        self._refuse_unknown(set(targets) - set(self.channels))
        for key, target in targets.items():
            self.channels[key].move(start, stop, target)

    def move_foot(self, side: str, start: float, stop: float, **targets: float) -> None:
        """Move channels of one foot between two times, s: `m.move_foot("left", 0.5, 1.0, heel=20)`."""
        self.move(start, stop, **{f"{side}_sole_{key}": target for key, target in targets.items()})

    def _refuse_unknown(self, names: set[str]) -> None:
        if names:
            raise KitError(f"{self.name}: no channel named {min(names)}; see the list in Choreography")

    def shift(self, start: float, stop: float, onto: str | float) -> None:
        """Shift the weight onto 'left', 'right' or 'both' feet, or to a share on the left foot."""
        shares = {"left": 1.0, "right": 0.0, "both": 0.5}
        self.move(start, stop, weight=shares[onto] if isinstance(onto, str) else onto)

    def step(
        self, side: str, start: float, stop: float, *, lift: float = 0.05, heel: float = 0.0, toe: float = 0.0,
        roll: float = 0.25, **place: float,
    ) -> None:  # fmt: skip
        """Swing one foot to a new place between two times, after shifting the weight off it.

        Args:
            side: 'left' or 'right'. start, stop: when the foot leaves and meets the floor, s.
            lift: height of the swing, m. place: x, y (m) and yaw (degrees) of the new place; the others stay.
            heel, toe: how far the heel is raised at lift-off and the toes at landing, degrees.
            roll: duration of the roll over the ball before the swing, s; the roll from the heel takes 0.7 of it.
        """
        length = stop - start
        # up before forwards and forwards before down, so that the foot does not brush the floor
        self.move_foot(side, start, start + 0.5 * length, lift=lift)
        self.move_foot(side, start + 0.5 * length, stop, lift=0.0)
        self.move_foot(side, start + 0.15 * length, stop - 0.15 * length, **place)
        if heel:
            self.move_foot(side, start - roll, start + 0.1 * length, heel=heel)
            self.move_foot(side, start + 0.1 * length, start + 0.75 * length, heel=0.0)
        if toe:
            self.move_foot(side, start + 0.4 * length, stop - 0.05 * length, toe=toe)
            self.move_foot(side, stop, stop + 0.7 * roll, toe=0.0)

    def jump(self, start: float, takeoff: float, landing: float, stop: float, rise: float, sink: float) -> None:
        """Jump with both feet; move their channels (lift, x, y) separately.

        Args:
            start, stop: start of the crouch before and end of the crouch after, s. takeoff, landing: of the flight, s.
            rise, sink: height of the centre of mass at take-off above that at the start, and at landing below that at the
                end, m.
        """
        self.jumps.append((start, takeoff, landing, stop, rise, sink))

    def clip(self, fps: float = CONTROL_FPS, lower: bool = False) -> Clip:
        """Render the motion on the mean humanoid, with the pelvis starting over the origin.

        Args:
            fps: frames per second. lower: lower the pelvis where a foot near the floor would be out of reach.

        Raises:
            KitError: a foot is out of reach or a joint beyond its limit, with the time.
        """
        times = np.arange(round(self.seconds * fps) + 1) / fps
        value = {key: channel.sample(times) for key, channel in self.channels.items()}
        flights = [Flight(*(round(t * fps) for t in jump[:4]), *jump[4:]) for jump in self.jumps]
        body = PlantedBody(value, Humanoid.mean(), self.name, fps, flights, lower)
        pelvis, joints = body.balanced(_support(value))
        pelvis[:, :2] -= pelvis[0, :2].clone()
        return Clip.from_joints(pelvis, joints, fps, self.name)


def _support(value: dict[str, np.ndarray]) -> np.ndarray:
    """Desired centre of pressure: the weighted mean of those of the two soles, (T, 2) m."""
    point = {}
    for side in SIGN:
        x, y, yaw, press = (value[f"{side}_sole_{key}"] for key in ("x", "y", "yaw", "press"))
        point[side] = np.stack([x + press * np.cos(np.radians(yaw)), y + press * np.sin(np.radians(yaw))], axis=-1)
    share = value["weight"][:, None]
    return share * point["left"] + (1 - share) * point["right"]
