"""A small language for motions: move named channels from time to time, place the feet, and let balance do the rest.

    dance = Choreography("dance", seconds=4.0)
    dance.move(0.5, 1.5, **both(shoulder_z=60), pelvis_height=-0.10)
    dance.shift(1.5, 2.5, "left")
    dance.step("right", 2.5, 3.3, x=0.3)
    clip = dance.clip()

Every channel moves along a minimum-jerk curve (Flash and Hogan 1985), so velocities and accelerations are continuous.
Feet are planted where they are put; the legs follow by inverse kinematics; the pelvis is shifted over the floor
until the zero-moment point lies where the weight was asked to be (`planted.py`, `balance.py`).
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

_SIGN = {"left": 1, "right": -1}

MID_SOLE = 0.035
"""Where the weight of a quiet foot rests: metres in front of the ankle."""


def left(**angles: float) -> dict[str, float]:
    """Channels of the left limbs: `left(elbow_y=-90)` is {'left_elbow_y': -90}. Degrees."""
    return {f"left_{name}": angle for name, angle in angles.items()}


def right(**angles: float) -> dict[str, float]:
    """The mirror image on the right, written as for the left: x keeps its sign, y and z change it. Degrees."""
    return {f"right_{name}": angle if name.endswith("_x") else -angle for name, angle in angles.items()}


def both(**angles: float) -> dict[str, float]:
    """Left and right alike."""
    return left(**angles) | right(**angles)


ARMS_DOWN = both(collar_z=-4, shoulder_z=-70, shoulder_y=-4, elbow_y=-14, hand_z=-8)
"""Arms hanging: upper arms a little off the trunk, elbows soft."""

_PELVIS = {"pelvis_height": -0.012, "pelvis_yaw": 0.0, "pelvis_pitch": 0.0, "pelvis_roll": 0.0}
_FOOT = {
    "x": 0.0,
    "y": 0.0,
    "yaw": 0.0,
    "lift": 0.0,
    "heel": 0.0,
    "toe": 0.0,
    "pitch": 0.0,
    "roll": 0.0,
    "press": MID_SOLE,
}

_FREE = tuple(n for n in dof_names() if not any(leg in n for leg in ("hip", "knee", "ankle", "foot")))
"""The hinges one may move: trunk, head and arms. The legs follow the soles."""

QUIET = dict.fromkeys(_FREE, 0.0) | ARMS_DOWN | _PELVIS
"""Trunk, head, arms and pelvis of a quiet stance."""


def minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """0 to 1 with velocity and acceleration zero at both ends."""
    s = np.clip(phase, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


class Channel:
    """One number over time: a start value and the moves it makes, one after the other."""

    def __init__(self, name: str, start: float):
        self.name, self.start = name, start
        self.moves: list[tuple[float, float, float]] = []

    @property
    def last(self) -> float:
        """Where the moves so far lead."""
        return self.moves[-1][2] if self.moves else self.start

    def move(self, start: float, stop: float, target: float) -> None:
        """Go to `target` between two times, seconds."""
        if stop <= start:
            raise KitError(f"{self.name}: a move from {start:g} s to {stop:g} s takes no time, let it stop later")
        if self.moves and start < self.moves[-1][1] - 1e-6:
            busy = f"a move starts at {start:g} s while another lasts to {self.moves[-1][1]:g} s"
            raise KitError(f"{self.name}: {busy}, start it later")
        self.moves.append((start, stop, target))

    def sample(self, times: np.ndarray) -> np.ndarray:
        """Values at `times`."""
        value, now = np.full(len(times), float(self.start)), self.start
        for start, stop, target in self.moves:
            value += (target - now) * minimum_jerk((times - start) / (stop - start))
            now = target
        return value


class Choreography:
    """A motion being written; `clip()` turns it into frames.

    Channels:
        the hinges of trunk, head and arms by name, degrees ('left_elbow_y');
        'pelvis_height', metres above the rest pose's; 'pelvis_yaw', 'pelvis_pitch' (forwards) and 'pelvis_roll' (to the
        right), degrees; 'weight', the share of the weight on the left foot;
        for each foot '<side>_sole_' and x, y (ankle, metres), yaw (degrees), lift (metres), heel and toe (degrees
        raised), pitch and roll (degrees about the ankle, toes down and sole to the left, for a foot in the air), press
        (metres from the ankle forwards to where the sole bears).
    """

    def __init__(
        self, name: str, seconds: float, width: float = 0.19, splay: float = 7.0, stagger: float = 0.0, **start: float
    ):
        """A quiet stance to begin with.

        Args:
            name: the clip's name. seconds: its length.
            width: distance between the ankles, m. splay: outward turn of each foot, degrees.
            stagger: how far the left foot stands ahead of the right, m.
            start: channels that begin elsewhere than in `QUIET`, e.g. `pelvis_height=-0.03` for longer steps.

        `rest` holds where trunk, head, arms and pelvis begin: moving to `**rest` brings them home.
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
        """Where one foot belongs in a stance centred on (x, y) metres and facing `heading` degrees: x, y and yaw."""
        sign, turn = _SIGN[side], math.radians(heading)
        across = sign * self.width / 2
        return {
            "x": x - math.cos(turn) * MID_SOLE - math.sin(turn) * across,
            "y": y - math.sin(turn) * MID_SOLE + math.cos(turn) * across,
            "yaw": heading + sign * self.splay,
        }

    def move(self, start: float, stop: float, **targets: float) -> None:
        """Move channels to new values between two times, seconds."""
        self._refuse_unknown(set(targets) - set(self.channels))
        for key, target in targets.items():
            self.channels[key].move(start, stop, target)

    def _refuse_unknown(self, names: set[str]) -> None:
        if names:
            raise KitError(f"{self.name}: no channel named {min(names)}, see the list in Choreography")

    def shift(self, start: float, stop: float, onto: str | float) -> None:
        """Shift the weight onto 'left', 'right', 'both', or a share on the left."""
        shares = {"left": 1.0, "right": 0.0, "both": 0.5}
        self.move(start, stop, weight=shares[onto] if isinstance(onto, str) else onto)

    def step(
        self, side: str, start: float, stop: float, *, lift: float = 0.05, heel: float = 0.0, toe: float = 0.0,
        roll: float = 0.25, **place: float,
    ) -> None:  # fmt: skip
        """Swing one foot to a new place between two times; shift the weight off it first.

        Args:
            side: 'left' or 'right'. start, stop: when the foot leaves and meets the floor, s.
            lift: height of the swing, m. place: x, y (m) and yaw (degrees) of the new place; what is left out stays.
            heel: how far the heel is raised as the foot leaves, degrees. toe: how far the toes are as it lands.
            roll: how long the foot rolls over its ball before the swing, s; it rolls from its heel in 0.7 of that time.
        """
        foot, length = f"{side}_sole_", stop - start
        # up before forwards and forwards before down, so that nothing brushes the floor
        self.move(start, start + 0.5 * length, **{foot + "lift": lift})
        self.move(start + 0.5 * length, stop, **{foot + "lift": 0.0})
        self.move(start + 0.15 * length, stop - 0.15 * length, **{foot + key: value for key, value in place.items()})
        if heel:
            self.move(start - roll, start + 0.1 * length, **{foot + "heel": heel})
            self.move(start + 0.1 * length, start + 0.75 * length, **{foot + "heel": 0.0})
        if toe:
            self.move(start + 0.4 * length, stop - 0.05 * length, **{foot + "toe": toe})
            self.move(stop, stop + 0.7 * roll, **{foot + "toe": 0.0})

    def jump(self, start: float, takeoff: float, landing: float, stop: float, rise: float, sink: float) -> None:
        """Leave the floor with both feet; lift them with `step`-like moves of their channels.

        Args:
            start, stop: when the crouch before begins and when the one after ends, s. takeoff, landing: the flight, s.
            rise, sink: how much higher the centre of mass is when the feet leave the floor than at the start, and how much
                lower when they are back than at the end, m.
        """
        self.jumps.append((start, takeoff, landing, stop, rise, sink))

    def clip(self, fps: float = CONTROL_FPS, lower: bool = False) -> Clip:
        """The motion as frames of the mean humanoid, its pelvis starting over the origin.

        Args:
            fps: frames per second. lower: lower the pelvis where a foot on the floor would be out of reach.

        Raises:
            KitError: a foot out of the leg's reach or a joint beyond its limit, with the time at which it happens.
        """
        times = np.arange(round(self.seconds * fps) + 1) / fps
        value = {key: channel.sample(times) for key, channel in self.channels.items()}
        flights = [Flight(*(round(t * fps) for t in jump[:4]), *jump[4:]) for jump in self.jumps]
        body = PlantedBody(value, Humanoid.mean(), self.name, fps, flights, lower)
        pelvis, joints = body.balanced(_support(value))
        pelvis[:, :2] -= pelvis[0, :2].clone()
        return Clip.from_joints(pelvis, joints, fps, self.name)


def _support(value: dict[str, np.ndarray]) -> np.ndarray:
    """Where the floor should push: the points on which the two soles bear, weighed. (T, 2) m."""
    point = {}
    for side in _SIGN:
        x, y, yaw, press = (value[f"{side}_sole_{key}"] for key in ("x", "y", "yaw", "press"))
        point[side] = np.stack([x + press * np.cos(np.radians(yaw)), y + press * np.sin(np.radians(yaw))], axis=-1)
    share = value["weight"][:, None]
    return share * point["left"] + (1 - share) * point["right"]
