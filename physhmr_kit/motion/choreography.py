"""A small language for motions: move named channels from time to time, place the feet, and let balance do the rest.

    dance = Choreography("dance", seconds=4.0)
    dance.move(0.5, 1.5, **both(shoulder_z=60), pelvis_height=-0.10)
    dance.shift(1.5, 2.5, "left")
    dance.step("right", 2.5, 3.3, x=0.3)
    clip = dance.clip()

Every channel moves along a minimum-jerk curve (Flash and Hogan 1985), so velocities and accelerations are continuous.
Feet are planted where they are put; the legs follow by inverse kinematics; the pelvis is shifted over the floor
until the zero-moment point lies where the weight was asked to be (`balance.py`).
"""

from __future__ import annotations

import math

import numpy as np
import roma
import torch

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.errors import KitError
from physhmr_kit.motion.balance import cart_table, zero_moment_point
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics, yaw_quaternion
from physhmr_kit.motion.leg_ik import foot_pose, leg_ik, turn_x

_SIGN = {"left": 1, "right": -1}
MID_SOLE = 0.035
"""Where the weight of a quiet foot rests: metres in front of the ankle."""

OUTWARD = 0.0
"""The same, metres to the outer side of the ankle."""


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
_FOOT = {"x": 0.0, "y": 0.0, "yaw": 0.0, "lift": 0.0, "heel": 0.0, "toe": 0.0, "press": MID_SOLE}

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

    def move(self, start: float, stop: float, target: float) -> None:
        """Go to `target` between two times, seconds."""
        if stop <= start:
            raise KitError(f"{self.name}: a move from {start:g} s to {stop:g} s takes no time, let it stop later")
        if self.moves and start < self.moves[-1][1] - 1e-6:
            raise KitError(
                f"{self.name}: a move starts at {start:g} s while another lasts to {self.moves[-1][1]:g} s, start it later"
            )
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

    Channels: the hinges of trunk, head and arms by name in degrees ('left_elbow_y'); 'pelvis_height' in metres above the stance with
    straight legs; 'pelvis_yaw', 'pelvis_pitch' (forwards) and 'pelvis_roll' (to the right) in degrees; 'weight', the
    share of the weight on the left foot; and for each foot '<side>_sole_' + x, y (ankle, metres), yaw (degrees),
    lift (metres), heel and toe (degrees raised), press (metres from the ankle forwards to where it bears).
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
        value = self.rest | {"weight": 0.5}
        for side, ahead in (("left", stagger / 2), ("right", -stagger / 2)):
            feet = _FOOT | self.place(side, ahead)
            value |= {f"{side}_sole_{key}": number for key, number in feet.items()}
        self.channels = {key: Channel(f"{name}: {key}", number) for key, number in value.items()}

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
        unknown = sorted(set(targets) - set(self.channels))
        if unknown:
            raise KitError(f"{self.name}: no channel named {unknown[0]}, see the list in Choreography")
        for key, target in targets.items():
            self.channels[key].move(start, stop, target)

    def shift(self, start: float, stop: float, onto: str | float) -> None:
        """Shift the weight onto 'left', 'right', 'both', or a share on the left."""
        share = {"left": 1.0, "right": 0.0, "both": 0.5}.get(onto, onto)
        self.move(start, stop, weight=share)

    def step(
        self, side: str, start: float, stop: float, *, lift: float = 0.05, heel: float = 0.0, toe: float = 0.0,
        roll: float = 0.25, **place: float,
    ) -> None:  # fmt: skip
        """Swing one foot to a new place between two times; shift the weight off it first.

        Args:
            side: 'left' or 'right'. start, stop: when the foot leaves and meets the floor, s.
            lift: height of the swing, m. place: x, y (m) and yaw (degrees) of the new place; what is left out stays.
            heel: how far the heel is raised as the foot leaves, degrees. toe: how far the toes are as it lands.
            roll: how long the foot rolls on the floor before and after the swing, s.
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
            self.move(stop, stop + roll, **{foot + "toe": 0.0})

    def clip(self, fps: float = CONTROL_FPS) -> Clip:
        """The motion as frames of the mean humanoid, its pelvis starting over the origin.

        Raises:
            KitError: a foot out of the leg's reach or a joint beyond its limit, with the time at which it happens.
        """
        times = np.arange(round(self.seconds * fps) + 1) / fps
        value = {key: channel.sample(times) for key, channel in self.channels.items()}
        humanoid = Humanoid.mean()
        pelvis, joints = _balance(_Body(value, humanoid, self.name, fps), self._support(value), humanoid, fps)
        _check_limits(joints, self.name, fps)
        pelvis[:, :2] -= pelvis[0, :2].clone()
        return Clip.from_joints(pelvis.float(), joints.float(), fps, self.name)

    def _support(self, value: dict[str, np.ndarray]) -> np.ndarray:
        """Where the floor should push: the pressed points of both soles, weighed. (T, 2) m."""
        point = {}
        for side, sign in _SIGN.items():
            x, y, yaw, press = (value[f"{side}_sole_{k}"] for k in ("x", "y", "yaw", "press"))
            c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
            point[side] = np.stack([x + c * press - s * sign * OUTWARD, y + s * press + c * sign * OUTWARD], axis=-1)
        share = value["weight"][:, None]
        return share * point["left"] + (1 - share) * point["right"]


class _Body:
    """The body of a choreography for any path of its pelvis over the floor."""

    def __init__(self, value: dict[str, np.ndarray], humanoid: Humanoid, name: str, fps: float):
        track = {key: torch.from_numpy(v) for key, v in value.items()}
        self.name, self.fps, self.offsets = name, fps, humanoid.offsets.double()
        self.height = track["pelvis_height"] + standing_height(humanoid.offsets)
        angle = {key: torch.deg2rad(track[f"pelvis_{key}"]) for key in ("yaw", "pitch", "roll")}
        tilt = roma.quat_product(turn_x(angle["pitch"]), _about_z(angle["roll"]))
        upright = torch.tensor(STANDING, dtype=torch.float64).expand(len(self.height), 4)
        self.root = roma.quat_product(yaw_quaternion(angle["yaw"]), roma.quat_product(upright, tilt))
        still = torch.zeros_like(self.height)
        dof = torch.deg2rad(torch.stack([track.get(n, still) for n in dof_names()], dim=-1))
        self.joints = torch.cat([self.root.unsqueeze(1), dof_to_rotation(dof)], dim=1)
        self.feet = {}
        for side in _SIGN:
            x, y, yaw, lift, heel, toe = (track[f"{side}_sole_{k}"] for k in ("x", "y", "yaw", "lift", "heel", "toe"))
            yaw, heel, toe = torch.deg2rad(yaw), torch.deg2rad(heel), torch.deg2rad(toe)
            self.feet[side] = (*foot_pose(x, y, yaw, lift, heel, toe, self.offsets[10 if side == "left" else 11]), heel)

    def at(self, path: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Pelvis position (T, 3) m, joint rotations (T, 24, 4) xyzw and each leg's reach (T,), with the pelvis over `path` (T, 2) m."""
        pelvis = torch.cat([torch.from_numpy(path), self.height.unsqueeze(-1)], dim=-1)
        joints, reaches = self.joints.clone(), {}
        for side, (hip, knee, ankle, toe) in zip(_SIGN, ((1, 4, 7, 10), (2, 5, 8, 11)), strict=True):
            ankle_pos, foot_rot, heel = self.feet[side]
            hip_pos = pelvis + roma.quat_action(self.root, self.offsets[hip].expand_as(pelvis))
            # the knee points half way between the toes and the pelvis
            axis = sum(roma.quat_action(q, _LEFT.expand_as(pelvis)) for q in (foot_rot, self.root))
            thigh_rot, bend, reach = leg_ik(hip_pos, ankle_pos, self.offsets[knee], self.offsets[ankle], axis)
            reaches[side] = reach
            bend_rot, flat_toe = turn_x(bend), turn_x(-heel)
            joints[:, hip] = roma.quat_product(roma.quat_conjugation(self.root), thigh_rot)
            joints[:, knee] = bend_rot
            joints[:, ankle] = roma.quat_product(
                roma.quat_conjugation(roma.quat_product(thigh_rot, bend_rot)), foot_rot
            )
            joints[:, toe] = flat_toe
        return pelvis, joints, reaches

    def check_reach(self, reaches: dict[str, torch.Tensor]) -> None:
        """Raise where a leg is too short for its foot."""
        for side, reach in reaches.items():
            if reach.max() > 0.9995:
                when = int(reach.argmax()) / self.fps
                raise KitError(
                    f"{self.name}: the {side} foot is out of reach at {when:.2f} s, lower the pelvis or step less far"
                )


_LEFT = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)


def _about_z(angle: torch.Tensor) -> torch.Tensor:
    return roma.rotvec_to_unitquat(torch.stack([0 * angle, 0 * angle, angle], dim=-1))


def _balance(
    body: _Body, support: np.ndarray, humanoid: Humanoid, fps: float, rounds: int = 12
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift the pelvis until the zero-moment point follows `support`: the error, through the cart table, is the next shift."""
    masses, centre = humanoid.segment_masses().double(), humanoid.segment_centres().double()
    path = support.copy()
    for _ in range(rounds):
        pelvis, joints, _ = body.at(path)
        pos, rot = forward_kinematics(pelvis, joints, body.offsets)
        centres = (pos + roma.quat_action(rot, centre.expand_as(pos))).numpy()
        height = np.average(centres[..., 2], axis=1, weights=masses.numpy())
        error = support - zero_moment_point(centres, masses.numpy(), fps)
        path = path + cart_table(error, height, fps)
    pelvis, joints, reaches = body.at(path)
    body.check_reach(reaches)
    return pelvis, joints


def _check_limits(joints: torch.Tensor, name: str, fps: float) -> None:
    dof, limits = rotation_to_dof(joints[:, 1:]), dof_limits().to(joints)
    beyond = torch.maximum(limits[:, 0] - dof, dof - limits[:, 1])
    if beyond.max() > 1e-4:
        frame, index = divmod(int(beyond.argmax()), beyond.shape[1])
        angle, (low, high) = math.degrees(dof[frame, index]), (math.degrees(v) for v in limits[index])
        raise KitError(
            f"{name}: {dof_names()[index]} is {angle:.0f} degrees at {frame / fps:.2f} s, keep it in {low:.0f}..{high:.0f}"
        )
