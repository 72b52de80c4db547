"""Feasibility: can a rigid body on a floor perform a motion? Overlap of limbs, and zero-moment points outside the support.

No policy can track a frame in which one leg penetrates the other, or hold a pose whose weight lies outside the soles. Many such
frames in a clip point to its import or its skeleton; check here before blaming a policy.
"""

from __future__ import annotations

import mujoco
import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull, QhullError

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import BODY_NAMES, JOINT_NAMES
from physhmr_kit.motion.balance import zero_moment_point
from physhmr_kit.motion.contact import FOOT
from physhmr_kit.motion.kinematics import linear_velocity
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState

_SECONDS = 0.08  # over which centres of mass are smoothed before their accelerations are taken


def self_overlap(states: BodyState, humanoid: Humanoid | None = None) -> torch.Tensor:
    """How deep collision shapes of the body lie in one another: T frames -> (T,) m, the deepest pair; 0 where none touch.

    Pairs that the simulated body lets overlap by design (neighbours, the shoulder girdle) do not count.
    """
    model = mujoco.MjModel.from_xml_string((humanoid or Humanoid.mean()).mjcf())
    data = mujoco.MjData(model)
    body_of = dict(zip(JOINT_NAMES, BODY_NAMES, strict=True))
    qpos_of = [int(model.joint(f"{body_of[n[:-2]]}_{n[-1]}").qposadr[0]) for n in dof_names()]
    depth = torch.zeros(len(states))
    for t in range(len(states)):
        data.qpos[:3], data.qpos[3:7] = states.root_pos[t], states.root_rot[t, [3, 0, 1, 2]]
        data.qpos[qpos_of] = states.dof_pos[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        contacts = data.contact
        own = (model.geom_bodyid[contacts.geom] != 0).all(1)  # neither is the floor
        if own.any():
            depth[t] = max(0.0, -float(contacts.dist[own].min()))
    return depth


def beyond_support(states: BodyState, fps: float = 30.0, humanoid: Humanoid | None = None) -> torch.Tensor:
    """How far the zero-moment point lies outside the soles on the floor: T frames -> (T,) m.

    0 inside the convex hull of the sole corners lower than 4 cm; NaN where fewer than three are, as in flight. A flat foot
    turns about its edge as soon as this is positive; a few centimetres are within the accuracy of such soles and of second
    derivatives.
    """
    humanoid = humanoid or Humanoid.mean()
    masses = humanoid.segment_masses().double().numpy()
    offsets = humanoid.segment_centres().to(states.body_pos).expand_as(states.body_pos)
    centres = (states.body_pos + roma.quat_action(states.body_rot, offsets)).double().numpy()
    centres = gaussian_filter1d(centres, _SECONDS * fps, axis=0, mode="nearest")
    points = zero_moment_point(centres, masses, fps)
    corners = sole_corners(states.body_pos, states.body_rot, humanoid).flatten(1, 2).double().numpy()
    return torch.tensor([_outside(p, c) for p, c in zip(points, corners, strict=True)])


def _outside(point: np.ndarray, corners: np.ndarray) -> float:
    """Distance of a floor point (2,) from the hull of the low ones of some corners (K, 3); 0 inside, NaN without a hull."""
    low = corners[corners[:, 2] < FOOT.height, :2]
    if len(low) < 3:
        return float("nan")
    try:
        area = low[ConvexHull(low).vertices]  # counter-clockwise
    except QhullError:
        return float("nan")
    edge, to = np.roll(area, -1, axis=0) - area, point - area
    if (edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0] >= 0).all():
        return 0.0
    along = ((to * edge).sum(1) / (edge**2).sum(1)).clip(0, 1)
    return float(np.linalg.norm(to - along[:, None] * edge, axis=1).min())


def ankles_apart(body_pos: torch.Tensor, fps: float) -> torch.Tensor:
    """How far the ankles are apart along the line of the hips while the body walks: (T, 24, 3) m, z-up -> (T,) m, NaN at rest.

    Walking is travelling faster than 0.3 m/s; a body at rest may stand as it likes.
    """
    hips = body_pos[:, 1, :2] - body_pos[:, 2, :2]
    line = hips / hips.norm(dim=1, keepdim=True).clamp(min=1e-6)
    apart = ((body_pos[:, 7, :2] - body_pos[:, 8, :2]) * line).sum(1)
    speed = linear_velocity(body_pos[:, :1], fps)[:, 0, :2].norm(dim=1)
    return apart.where(speed > 0.3, torch.nan)
