"""Forward kinematics of points on the humanoid, and its gradient by the transposed Jacobian, without autograd.

The refinement evaluates the same body hundreds of times over thousands of frames. Gradients with respect to points
("forces") are mapped to generalised coordinates by the transposed Jacobian (e.g. Featherstone 2008, ch. 4): the torque
about a joint is the sum over its distal points of (p - joint) x force, and the gradient of a hinge is the component
along its axis. This costs a few matrix products where autograd would unroll the tree.

The frame is the last dimension, (..., N), as in `body/quaternions.py`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch

from physhmr_kit.body.humanoid import foot_corners
from physhmr_kit.body.quaternions import action, cross, matrix, product
from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS, mean_offsets, rest_joints
from physhmr_kit.motion.kinematics import hinge_tables, parents, sum_down, world_rotations_reversed
from physhmr_kit.vision.keypoints import COCO_NAMES, coco_from_bodies

JOINTS = slice(0, NUM_JOINTS)
"""Indices of the 24 joints among the points."""
KEYPOINTS = slice(NUM_JOINTS, NUM_JOINTS + len(COCO_NAMES))
"""Indices of the 17 COCO keypoints."""
SOLES = slice(KEYPOINTS.stop, KEYPOINTS.stop + 16)
"""Indices of the lower corners of the foot boxes, four each of left ankle, right ankle, left toe, right toe (`skeleton.FEET`)."""
NUM_POINTS = SOLES.stop


class Coordinates(NamedTuple):
    """Generalised coordinates of a body, or a gradient with respect to them. N frames, last axis.

    Attributes:
        root_pos: (3, N) m. root_rot: (4, N) xyzw, world; in a gradient (3, N), a rotation vector in the root's frame.
        dof: (69, N) rad.
    """

    root_pos: torch.Tensor
    root_rot: torch.Tensor
    dof: torch.Tensor


class Posed(NamedTuple):
    """Points of posed bodies, and what `pull_back` needs.

    Attributes:
        points: (3, P, N) m, world. joints: (3, 24, N) m, world. frames: (3, 3, 24, N), rotations of the bodies, world.
        angle: (23, 3, N) rad, hinges.
    """

    points: torch.Tensor
    joints: torch.Tensor
    frames: torch.Tensor
    angle: torch.Tensor


@cache
@torch.inference_mode(False)
def _attachments() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Body of each point (P,), its position in the body's frame (3, P) m, and (24, P): 1 if distal to the joint."""
    rest = rest_joints()
    upright = torch.tensor([0.0, 0, 0, 1]).expand(NUM_JOINTS, 4)
    bodies, places = list(range(NUM_JOINTS)), [torch.zeros(NUM_JOINTS, 3)]
    for name, point in zip(COCO_NAMES, coco_from_bodies(rest, upright), strict=True):
        part = name.split("_")[-1]
        body = JOINT_NAMES.index({"nose": "head", "eye": "head", "ear": "head", "hip": "pelvis"}.get(part, name))
        bodies.append(body)
        places.append((point - rest[body]).unsqueeze(0))
    for body, corners in foot_corners().items():
        bodies += [body] * len(corners)
        places.append(corners)
    distal = torch.zeros(NUM_JOINTS, NUM_POINTS)
    for row, body in enumerate(bodies):
        joint = body
        while joint >= 0:
            distal[joint, row] = 1
            joint = PARENTS[joint]
    return torch.tensor(bodies), torch.cat(places).T.contiguous(), distal


def pose_points(at: Coordinates) -> Posed:
    """Forward kinematics of all points, for the mean shape."""
    bodies, places, _ = _attachments()
    frames_count = at.dof.shape[-1]
    to_quat, _ = hinge_tables(at.dof.dtype, at.dof.device)
    angle = at.dof.unflatten(0, (23, 3))
    half = angle / 2
    first, second, third = torch.stack([half.cos(), half.sin()], dim=1).unbind(2)
    pairs = first.unsqueeze(2) * second.unsqueeze(1)
    products = (pairs.unsqueeze(3) * third[:, None, None]).flatten(1, 3)
    joint_rot = (to_quat @ products).transpose(0, 1)
    rot = world_rotations_reversed(torch.cat([at.root_rot.unsqueeze(1), joint_rot], dim=1))
    frames = matrix(rot)
    parent = parents(at.dof.device)[1:]
    arms = action(frames.index_select(2, parent), mean_offsets()[1:].T.unsqueeze(-1).to(at.dof))
    joints = sum_down(arms) + at.root_pos.unsqueeze(1)
    rigid = bodies[NUM_JOINTS:]
    riding = action(frames.index_select(2, rigid), places[:, NUM_JOINTS:, None].expand(-1, -1, frames_count))
    points = torch.cat([joints, joints.index_select(1, rigid) + riding], dim=1)
    return Posed(points, joints, frames, angle)


def pull_back(posed: Posed, force: torch.Tensor) -> Coordinates:
    """Gradient with respect to the coordinates, from one with respect to the points: force (3, P, N)."""
    _, _, distal = _attachments()
    count = force.shape[-1]
    both = torch.cat([force, cross(posed.points, force)])  # (6, P, N)
    total, moment = (distal @ both).split(3)
    torque = moment - cross(posed.joints, total)  # (3, 24, N), world
    parent = parents(force.device)[1:]
    local = action(posed.frames.index_select(2, parent).transpose(0, 1), torque[:, 1:])  # in the parents' frames
    _, to_turning = hinge_tables(force.dtype, force.device)
    u = (to_turning.transpose(1, 2) @ local.transpose(0, 1)).unbind(1)  # six of (23, N)
    (cos1, cos2, _), (sin1, sin2, _) = posed.angle.cos().unbind(1), posed.angle.sin().unbind(1)
    dof = torch.stack(
        [u[0], u[1] * cos1 + u[2] * sin1, (u[3] * cos1 + u[4] * sin1) * cos2 + u[5] * sin2], dim=1
    ).reshape(69, count)
    turn = action(posed.frames[:, :, 0].transpose(0, 1), torque[:, 0])
    return Coordinates(total[:, 0], turn, dof)


def turned(root_rot: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotations (4, N) composed with rotation vectors (3, N) rad in the local frame, normalised."""
    angle = turn.norm(dim=0, keepdim=True).clamp(min=1e-9)
    step = torch.cat([turn / angle * (angle / 2).sin(), (angle / 2).cos()])
    out = product(root_rot.unsqueeze(1), step.unsqueeze(1)).squeeze(1)
    return out / out.norm(dim=0, keepdim=True)
