"""Reward terms: pure functions of tensors, (N,) each, 1 (0 for costs) at perfect tracking.

The imitation terms and their scales are PHC's, as PhysHMR uses them (humanoid_im.py): errors in the world frame,
averaged over the 24 bodies and, for vectors, over the three axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from physhmr_kit.body.quaternions import quat_angle
from physhmr_kit.body.skeleton import FEET
from physhmr_kit.motion.contact import JOINT
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState
from physhmr_kit.vision.keypoints import RAY_JOINTS
from physhmr_kit.vision.rays import perpendicular

FARTHEST_RAY = 0.5
"""Largest distance of a joint from its ray that the reward distinguishes, m."""


def _closeness(sim: torch.Tensor, ref: torch.Tensor, scale: float) -> torch.Tensor:
    return ((sim - ref).square().mean((1, 2)) * -scale).exp()


def position(sim: BodyState, ref: BodyState, scale: float = 100.0) -> torch.Tensor:
    """exp(-scale * mean squared distance of body positions in m^2)."""
    return _closeness(sim.body_pos, ref.body_pos, scale)


def rotation(sim: BodyState, ref: BodyState, scale: float = 10.0) -> torch.Tensor:
    """exp(-scale * mean squared geodesic angle of body rotations in rad^2)."""
    return (-scale * quat_angle(sim.body_rot, ref.body_rot).square().mean(1)).exp()


def velocity(sim: BodyState, ref: BodyState, scale: float = 0.1) -> torch.Tensor:
    """exp(-scale * mean squared difference of body velocities in (m/s)^2)."""
    return _closeness(sim.body_lin_vel, ref.body_lin_vel, scale)


def angular_velocity(sim: BodyState, ref: BodyState, scale: float = 0.1) -> torch.Tensor:
    """exp(-scale * mean squared difference of angular velocities in (rad/s)^2)."""
    return _closeness(sim.body_ang_vel, ref.body_ang_vel, scale)


def feet(sim: BodyState, ref: BodyState, scale: float = 50.0) -> torch.Tensor:
    """exp(-scale * mean squared distance in m^2 of ankles and toes from the reference's).

    Misplaced feet hardly change a mean over 24 bodies, but they make the body fall. (End effectors as in DeepMimic, Peng et
    al. 2018, which uses hands and feet with a scale of 40 on the sum.)
    """
    distance = (sim.body_pos[:, list(FEET)] - ref.body_pos[:, list(FEET)]).square().sum(-1)
    return (-scale * distance.mean(1)).exp()


def pose(sim: BodyState, ref: BodyState, scale: float = 100.0) -> torch.Tensor:
    """exp(-scale * mean squared distance in m^2 of body positions relative to the root, world axes)."""
    return _closeness(sim.body_pos - sim.body_pos[:, :1], ref.body_pos - ref.body_pos[:, :1], scale)


def rays(sim: BodyState, view: View | None, scale: float = 60.0) -> torch.Tensor:
    """exp(-scale * d^2), d^2 the mean squared distance in m^2 of the 12 joints from their rays, weighted by confidence.

    Distances are clipped at `FARTHEST_RAY`, which limits the effect of wrong detections. 1 where nothing was detected.
    """
    if view is None:
        raise ValueError("the reward term 'rays' needs a camera view")
    joints = sim.body_pos[:, list(RAY_JOINTS)]
    off = perpendicular(joints, view.centre, view.point).square().sum(-1).clamp(max=FARTHEST_RAY**2)
    mean = (off * view.confidence).sum(1) / view.confidence.sum(1).clamp(min=1e-6)
    return (-scale * mean).exp()


def power(dof_torque: torch.Tensor, dof_vel: torch.Tensor) -> torch.Tensor:
    """Mechanical power of all drives, sum |torque x velocity| in W (a cost; weight -0.0005 in PhysHMR)."""
    return (dof_torque * dof_vel).abs().sum(1)


def balance(sim: BodyState, masses: torch.Tensor, scale: float = 20.0) -> torch.Tensor:
    """exp(-scale * d^2), d the horizontal distance from the centre of mass to the segment between the two feet, m.

    A foot is the midpoint of its ankle and toe joints, the centre of mass the mass-weighted mean of the joints
    (ours: the paper names a balance reward without giving its formula).

    Args:
        masses: (24,) mass fraction of each segment, summing to 1.
    """
    com = (sim.body_pos[..., :2] * masses[:, None]).sum(1)
    left, right = sim.body_pos[:, [7, 10], :2].mean(1), sim.body_pos[:, [8, 11], :2].mean(1)
    line = right - left
    along = ((com - left) * line).sum(1) / line.square().sum(1).clamp(min=1e-6)
    nearest = left + along.clamp(0, 1).unsqueeze(1) * line
    return (-scale * (com - nearest).square().sum(1)).exp()


def reference_contact(ref: BodyState) -> torch.Tensor:
    """Contact of the reference's four foot bodies (ankles, toes), by `motion.contact.JOINT` -> (N, 4) bool."""
    feet = list(FEET)
    return JOINT(ref.body_pos[:, feet, 2], ref.body_lin_vel[:, feet].norm(dim=-1))


def foot_contact(sim: BodyState, ref: BodyState, contact_force: torch.Tensor, slip_scale: float = 10.0) -> torch.Tensor:
    """Agreement of foot contact with the reference, without slip -> 0..1.

    The fraction of the two feet whose contact agrees with the reference, each foot in contact discounted by
    exp(-slip_scale * v^2) with its horizontal speed v in m/s (ours).

    Args:
        contact_force: (N, 24, 3) N; a foot is in contact when ankle and toe together carry more than 10 N.
    """
    wanted = reference_contact(ref).unflatten(1, (2, 2)).any(1)  # FEET: ankles, then toes; each left, right
    load = contact_force[:, list(FEET), 2].unflatten(1, (2, 2)).sum(1)
    touching = load > 10.0
    speed = sim.body_lin_vel[:, list(FEET), :2].norm(dim=-1).unflatten(1, (2, 2)).amin(1)
    firm = torch.where(touching, (-slip_scale * speed.square()).exp(), torch.ones_like(speed))
    return ((wanted == touching).float() * firm).mean(1)


class View(NamedTuple):
    """Camera view of one frame."""

    centre: torch.Tensor
    """(N, 3) camera position, m."""
    point: torch.Tensor
    """(N, 12, 3) any point on the ray of each of `RAY_JOINTS`, m."""
    confidence: torch.Tensor
    """(N, 12) of the detections."""


class Step(NamedTuple):
    """Input of the reward terms: one control step."""

    sim: SimState
    """State after the step."""
    ref: BodyState
    """Reference at the same frame."""
    masses: torch.Tensor
    """(24,) mass fraction of each segment."""
    steps: torch.Tensor
    """(N,) control steps since the episode started."""
    view: View | None = None
    """Camera view of the same frame, if there is a camera."""


TERMS: dict[str, Callable[[Step], torch.Tensor]] = {
    # imitation (PHC, PhysHMR)                                            weights: PhysHMR  expert   finetune  film
    "position": lambda s: position(s.sim, s.ref),  #                                0.5     0.5      0.35      0
    "rotation": lambda s: rotation(s.sim, s.ref),  #                                0.3     0.3      0.2       0.2
    "velocity": lambda s: velocity(s.sim, s.ref),  #                                0.1     0.1      0.1       0.1
    "angular_velocity": lambda s: angular_velocity(s.sim, s.ref),  #                0.1     0.1      0.1       0.05
    # effort; not in the first steps after a reset, whose torques come from the jump onto the reference (PhysHMR)
    "power": lambda s: power(s.sim.dof_torque, s.sim.dof_vel) * (s.steps > 3),  #  -5e-4   -1e-4    -5e-5     -5e-5
    # feet and balance (ours)
    "feet": lambda s: feet(s.sim, s.ref),  #                                        0       0        0         0
    "balance": lambda s: balance(s.sim, s.masses),  #                               0       0        0.1       0.05
    "foot_contact": lambda s: foot_contact(s.sim, s.ref, s.sim.contact_force),  #   0       0        0.15      0.1
    # video, where the root is unknown (ours)
    "pose": lambda s: pose(s.sim, s.ref),  #                                        0       0        0         0.25
    "rays": lambda s: rays(s.sim, s.view),  #                                       0       0        0         0.25
}
"""All reward terms by the name of their weight in `RewardWeights` (env/settings.py)."""
