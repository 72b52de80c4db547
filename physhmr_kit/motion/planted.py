"""From the channels of a choreography to bodies: legs bent to the planted feet, the pelvis shifted into balance."""

from __future__ import annotations

import math

import numpy as np
import roma
import torch

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.balance import cart_table, zero_moment_point
from physhmr_kit.motion.kinematics import forward_kinematics, yaw_quaternion
from physhmr_kit.motion.leg_ik import foot_pose, leg_ik, turn_x, turn_z
from physhmr_kit.utils.errors import KitError

_LEGS = {"left": (1, 4, 7, 10), "right": (2, 5, 8, 11)}
"""Hip, knee, ankle and toe joint of each leg."""


class PlantedBody:
    """A body whose feet, trunk and arms are given over time and whose pelvis may still move over the floor.

    Args:
        value: channel name -> (T,) values, see `choreography.Choreography`.
        humanoid: the skeleton and its masses.
        name: for error messages. fps: frames per second.
    """

    def __init__(self, value: dict[str, np.ndarray], humanoid: Humanoid, name: str, fps: float):
        self.name, self.fps, self.offsets = name, fps, humanoid.offsets.double()
        self.masses = humanoid.segment_masses().double().numpy()
        self.centres = humanoid.segment_centres().double()
        channels = {key: torch.from_numpy(v) for key, v in value.items()}
        self.height = channels["pelvis_height"] + standing_height(humanoid.offsets)
        yaw, pitch, roll = (torch.deg2rad(channels[f"pelvis_{key}"]) for key in ("yaw", "pitch", "roll"))
        upright = torch.tensor(STANDING, dtype=torch.float64).expand(len(self.height), 4)
        self.root = roma.quat_composition([yaw_quaternion(yaw), upright, turn_x(pitch), turn_z(roll)])
        still = torch.zeros_like(self.height)
        dof = torch.deg2rad(torch.stack([channels.get(n, still) for n in dof_names()], dim=-1))
        self.joints = torch.cat([self.root.unsqueeze(1), dof_to_rotation(dof)], dim=1)
        self.feet = {}
        for side, (_, _, _, toe_joint) in _LEGS.items():
            x, y, lift = (channels[f"{side}_sole_{key}"] for key in ("x", "y", "lift"))
            yaw, heel, toe = (torch.deg2rad(channels[f"{side}_sole_{key}"]) for key in ("yaw", "heel", "toe"))
            self.feet[side] = foot_pose(x, y, yaw, lift, heel, toe, self.offsets[toe_joint])
            self.joints[:, toe_joint] = turn_x(-heel)  # the toes stay flat while the heel rises

    def at(self, path: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The body with its pelvis over `path` (T, 2) m.

        Returns:
            pelvis (T, 3) m, joint rotations (T, 24, 4) xyzw, and the reach of both legs (T, 2), see `leg_ik`.
        """
        pelvis = torch.cat([torch.from_numpy(path), self.height.unsqueeze(-1)], dim=-1)
        joints, reaches = self.joints.clone(), []
        left = pelvis.new_tensor([1.0, 0.0, 0.0]).expand_as(pelvis)
        for side, (hip, knee, ankle, _) in _LEGS.items():
            ankle_pos, foot_rot = self.feet[side]
            hip_pos = pelvis + roma.quat_action(self.root, self.offsets[hip].expand_as(pelvis))
            # the knee points half way between the toes and the pelvis
            axis = roma.quat_action(foot_rot, left) + roma.quat_action(self.root, left)
            thigh_rot, joints[:, knee], reach = leg_ik(
                hip_pos, ankle_pos, self.offsets[knee], self.offsets[ankle], axis
            )
            shank_rot = roma.quat_product(thigh_rot, joints[:, knee])
            joints[:, hip] = roma.quat_product(roma.quat_conjugation(self.root), thigh_rot)
            joints[:, ankle] = roma.quat_product(roma.quat_conjugation(shank_rot), foot_rot)
            reaches.append(reach)
        return pelvis, joints, torch.stack(reaches, dim=-1)

    def balanced(self, support: np.ndarray, rounds: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
        """Shift the pelvis until the zero-moment point follows `support` (T, 2) m.

        The error that is left goes through the cart table and becomes the next shift; as most of the mass moves with
        the pelvis, each round leaves about a tenth of it.

        Returns:
            pelvis (T, 3) m and joint rotations (T, 24, 4) xyzw.

        Raises:
            KitError: a foot out of reach or a joint beyond its limit, with the time at which it happens.
        """
        path = support.copy()
        for _ in range(rounds):
            pelvis, joints, _ = self.at(path)
            pos, rot = forward_kinematics(pelvis, joints, self.offsets)
            centres = (pos + roma.quat_action(rot, self.centres.expand_as(pos))).numpy()
            height = np.average(centres[..., 2], axis=1, weights=self.masses)
            path = path + cart_table(support - zero_moment_point(centres, self.masses, self.fps), height, self.fps)
        pelvis, joints, reach = self.at(path)
        self._check(joints, reach)
        return pelvis, joints

    def _check(self, joints: torch.Tensor, reach: torch.Tensor) -> None:
        if reach.max() > 0.9995:
            frame, side = divmod(int(reach.argmax()), 2)
            where = f"the {tuple(_LEGS)[side]} foot is out of reach at {frame / self.fps:.2f} s"
            raise KitError(f"{self.name}: {where}, lower the pelvis or step less far")
        dof, limits = rotation_to_dof(joints[:, 1:]), dof_limits().to(joints)
        beyond = torch.maximum(limits[:, 0] - dof, dof - limits[:, 1])
        if beyond.max() > 1e-4:
            frame, index = divmod(int(beyond.argmax()), beyond.shape[1])
            angle, (low, high) = math.degrees(dof[frame, index]), (math.degrees(v) for v in limits[index])
            where = f"{dof_names()[index]} is {angle:.0f} degrees at {frame / self.fps:.2f} s"
            raise KitError(f"{self.name}: {where}, keep it in {low:.0f}..{high:.0f}")
