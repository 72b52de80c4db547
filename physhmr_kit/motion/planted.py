"""Poses from the channels of a choreography: leg IK to the planted feet, the pelvis shifted into balance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import LEGS, STANDING, standing_height
from physhmr_kit.motion.balance import acceleration, cart_table, tipping
from physhmr_kit.motion.flight import Flight
from physhmr_kit.motion.kinematics import forward_kinematics, yaw_quaternion
from physhmr_kit.motion.leg_ik import foot_pose, knee_position, leg_ik, straight_leg, turn_x, turn_z
from physhmr_kit.utils.errors import KitError

REACH = 0.985
"""Hip-to-ankle distance of feet near the floor, as a share of the straight leg, after lowering the pelvis."""
_NEAR = 0.15  # m: the pelvis is not lowered for a foot that is lifted higher
_ROUNDS = 12
_SETTLED = 1e-6  # m: convergence tolerance of the shift


class _Leg(NamedTuple):
    """Quantities of a leg that do not depend on the pelvis position: vectors (T, 3) m, rest offsets (3,) m."""

    hip_from_pelvis: np.ndarray
    ankle_pos: np.ndarray
    knee_axis: np.ndarray
    foot_centre: np.ndarray
    toe_centre: np.ndarray
    thigh: np.ndarray
    shank: np.ndarray


class PlantedBody:
    """A body with prescribed feet, trunk and arms, whose pelvis position is still free.

    Args:
        value: channel name -> (T,) values, see `choreography.Choreography`.
        humanoid: the skeleton and its masses.
        name: for error messages. fps: frames per second.
        flights: jumps, during which the centre of mass follows `Flight.heights`.
        lower: smoothly lower the pelvis where a foot near the floor would be out of reach.
    """

    def __init__(
        self,
        value: dict[str, np.ndarray],
        humanoid: Humanoid,
        name: str,
        fps: float,
        flights: Sequence[Flight] = (),
        lower: bool = False,
    ):
        self.name, self.fps, self.offsets = name, fps, humanoid.offsets.double()
        self.flights, self.lower = flights, lower
        self.masses = humanoid.segment_masses().double().numpy()
        channels = {key: torch.from_numpy(v) for key, v in value.items()}
        height = channels["pelvis_height"] + standing_height(humanoid.offsets)
        yaw, pitch, roll = (torch.deg2rad(channels[f"pelvis_{key}"]) for key in ("yaw", "pitch", "roll"))
        upright = torch.tensor(STANDING, dtype=torch.float64).expand(len(height), 4)
        self.height = height.numpy()
        self.root = roma.quat_composition([yaw_quaternion(yaw), upright, turn_x(pitch), turn_z(roll)])
        still = torch.zeros_like(height)
        dof = torch.deg2rad(torch.stack([channels.get(n, still) for n in dof_names()], dim=-1))
        self.joints = torch.cat([self.root.unsqueeze(1), dof_to_rotation(dof)], dim=1)
        self.feet, self.near = {}, {}
        for side, (*_, toe_joint) in LEGS.items():
            keys = ("yaw", "heel", "toe", "pitch", "roll")
            yaw, heel, toe, pitch, roll = (torch.deg2rad(channels[f"{side}_sole_{key}"]) for key in keys)
            x, y, lift = (channels[f"{side}_sole_{key}"] for key in ("x", "y", "lift"))
            pos, rot = foot_pose(x, y, yaw, lift, heel, toe, self.offsets[toe_joint])
            self.feet[side] = pos, roma.quat_composition([rot, turn_x(pitch), turn_z(roll)])
            self.near[side] = (lift < _NEAR).numpy()
            self.joints[:, toe_joint] = turn_x(-heel)  # the toes stay flat while the heel rises
        self._prepare_centres(humanoid)

    def _prepare_centres(self, humanoid: Humanoid) -> None:
        """Precompute the segment centres that do not depend on the pelvis position."""
        centres = humanoid.segment_centres().double()
        pos, rot = forward_kinematics(torch.zeros(len(self.root), 3, dtype=torch.float64), self.joints, self.offsets)
        self.from_pelvis = (pos + roma.quat_action(rot, centres.expand_as(pos))).numpy()
        left = self.root.new_tensor([1.0, 0.0, 0.0]).expand(len(self.root), 3)
        self.legs: dict[str, _Leg] = {}
        for side, (hip, knee, ankle, toe) in LEGS.items():
            ankle_pos, foot_rot = self.feet[side]
            # the knee points halfway between the directions of toes and pelvis
            axis = roma.quat_action(foot_rot, left) + roma.quat_action(self.root, left)
            toe_pos = ankle_pos + roma.quat_action(foot_rot, self.offsets[toe].expand_as(ankle_pos))
            toe_rot = roma.quat_product(foot_rot, self.joints[:, toe])
            parts = (
                roma.quat_action(self.root, self.offsets[hip].expand_as(left)),
                ankle_pos,
                axis,
                ankle_pos + roma.quat_action(foot_rot, centres[ankle].expand_as(left)),
                toe_pos + roma.quat_action(toe_rot, centres[toe].expand_as(left)),
                self.offsets[knee],
                self.offsets[ankle],
            )
            self.legs[side] = _Leg(*(part.numpy() for part in parts))

    def centres(self, pelvis: np.ndarray) -> np.ndarray:
        """Centres of mass of all segments from the pelvis position: (T, 3) m -> (T, 24, 3) m."""
        centres = self.from_pelvis + pelvis[:, None]
        for side, (hip, knee, ankle, toe) in LEGS.items():
            leg = self.legs[side]
            hip_pos = pelvis + leg.hip_from_pelvis
            knee_pos = knee_position(hip_pos, leg.ankle_pos, leg.thigh, leg.shank, leg.knee_axis)
            centres[:, hip], centres[:, knee] = (hip_pos + knee_pos) / 2, (knee_pos + leg.ankle_pos) / 2
            centres[:, ankle], centres[:, toe] = leg.foot_centre, leg.toe_centre
        return centres

    def lowered(self, path: np.ndarray) -> np.ndarray:
        """Pelvis height (T,) m over `path` (T, 2) m: as prescribed, or lower where a foot would be out of reach."""
        excess = np.zeros(len(path))
        for side, leg in self.legs.items():
            away = path + leg.hip_from_pelvis[:, :2] - leg.ankle_pos[:, :2]
            longest = REACH * straight_leg(leg.thigh, leg.shank)
            upright = np.sqrt(np.maximum(longest**2 - (away**2).sum(1), (longest / 2) ** 2))
            above = self.height + leg.hip_from_pelvis[:, 2] - leg.ankle_pos[:, 2] - upright
            excess = np.maximum(excess, np.where(self.near[side], above, 0.0))
        # the maximum over the smoothing window, so that the smoothed value is nowhere less than needed
        reach = round(0.35 * self.fps)
        return self.height - gaussian_filter1d(maximum_filter1d(excess, 2 * reach + 1), reach / 2, truncate=2.0)

    def at(self, path: np.ndarray, height: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pose the body with its pelvis over `path` (T, 2) m at `height` (T,) m.

        Returns:
            pelvis (T, 3) m, joint rotations (T, 24, 4) xyzw, and the reach of both legs (T, 2), see `leg_ik`.
        """
        pelvis = torch.from_numpy(np.column_stack([path, height]))
        joints, reaches = self.joints.clone(), []
        for side, (hip, knee, ankle, _) in LEGS.items():
            ankle_pos, foot_rot = self.feet[side]
            hip_pos, axis = pelvis + torch.from_numpy(self.legs[side].hip_from_pelvis), self.legs[side].knee_axis
            bones = self.offsets[knee], self.offsets[ankle]
            thigh_rot, joints[:, knee], reach = leg_ik(hip_pos, ankle_pos, *bones, torch.from_numpy(axis))
            shank_rot = roma.quat_product(thigh_rot, joints[:, knee])
            joints[:, hip] = roma.quat_product(roma.quat_conjugation(self.root), thigh_rot)
            joints[:, ankle] = roma.quat_product(roma.quat_conjugation(shank_rot), foot_rot)
            reaches.append(reach)
        return pelvis, joints, torch.stack(reaches, dim=-1)

    def balanced(self, support: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Shift the pelvis until the zero-moment point follows `support` (T, 2) m and the body falls freely in flight.

        Each iteration converts the remaining moment to a shift with the cart table; because most of the mass moves with the
        pelvis, about a tenth of it remains. Heights converge in the same iterations.

        Returns:
            pelvis (T, 3) m and joint rotations (T, 24, 4) xyzw.

        Raises:
            KitError: a foot is out of reach or a joint beyond its limit, with the time.
        """
        path, raised, mass = support.copy(), np.zeros(len(support)), self.masses.sum()
        for _ in range(_ROUNDS):
            height = (self.lowered(path) if self.lower else self.height) + raised
            centres = self.centres(np.column_stack([path, height]))
            com = np.average(centres, axis=1, weights=self.masses)
            moment, load = tipping(centres, self.masses, self.fps)
            lacking = (load[:, None] * support - moment) / mass
            lift = np.zeros_like(raised)
            for flight in self.flights:
                lift += flight.heights(com[:, 2], self.fps) - com[:, 2]
                # without floor forces the centre of mass moves in a straight line
                air = slice(flight.takeoff + 1, flight.landing)
                lacking[air] = com[air, 2:] * acceleration(com[:, :2], self.fps)[air]
            shift = cart_table(lacking, com[:, 2], self.fps)
            path, raised = path + shift, raised + lift
            if max(np.abs(shift).max(), np.abs(lift).max()) < _SETTLED:
                break
        pelvis, joints, reach = self.at(path, height)
        self._check(joints, reach)
        return pelvis, joints

    def _check(self, joints: torch.Tensor, reach: torch.Tensor) -> None:
        if reach.max() > 0.9995:
            frame, side = divmod(int(reach.argmax()), 2)
            where = f"the {tuple(LEGS)[side]} foot is out of reach at {frame / self.fps:.2f} s"
            raise KitError(f"{self.name}: {where}, lower the pelvis or step less far")
        dof, limits = rotation_to_dof(joints[:, 1:]), dof_limits().to(joints)
        beyond = torch.maximum(limits[:, 0] - dof, dof - limits[:, 1])
        if beyond.max() > 1e-4:
            frame, index = divmod(int(beyond.argmax()), beyond.shape[1])
            angle, (low, high) = math.degrees(dof[frame, index]), (math.degrees(v) for v in limits[index])
            where = f"{dof_names()[index]} is {angle:.0f} degrees at {frame / self.fps:.2f} s"
            raise KitError(f"{self.name}: {where}, keep it in {low:.0f}..{high:.0f}")
