"""A learned, differentiable model of the simulated body: what the coordinates will be one control step later.

SuperTrack (Fussell, Bergamin, Holden 2021) learns the accelerations of every body; here the model works in generalised
coordinates, root and 69 hinges, so that limbs can neither stretch nor come apart: bodies follow by the kit's own forward
kinematics, which autograd differentiates. A linear map, fitted at once by least squares, carries most of it; a network
beside it learns the rest (contacts, above all).

Coordinates are those of `motion.kinematics.coordinate_kinematics`: a column for each environment, (151, N).
"""

from __future__ import annotations

import torch
from torch import nn

from physhmr_kit.body.quaternions import matrix, product, quat_rotate_inverse
from physhmr_kit.body.skeleton import FEET, NUM_DOFS
from physhmr_kit.motion.kinematics import coordinate_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import CONTROL_DT

COORDINATES = [3, 4, NUM_DOFS, 3, 3, NUM_DOFS]
"""Root position and rotation, hinges, root velocity (world) and angular velocity (in the root's own frame), hinge velocities."""

FREEDOMS = 6 + NUM_DOFS
_FEATURES = 1 + 3 + 3 + 3 + 3 * NUM_DOFS + 24 + 2 * 3 * len(FEET)


def coordinates(state: BodyState) -> torch.Tensor:
    """Coordinates of N rows: -> (151, N), contiguous."""
    spin = quat_rotate_inverse(state.root_rot, state.body_ang_vel[:, 0])
    parts = (state.root_pos, state.root_rot, state.dof_pos, state.body_lin_vel[:, 0], spin, state.dof_vel)
    return torch.cat(parts, dim=1).T.contiguous()


def integrate(columns: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """One control step: coordinates (151, N) and `change` (150, N) -> (151, N).

    The first 75 changes are those of the velocities: of the root in its own frame, m/s and rad/s, and of the hinges, rad/s.
    The other 75 are what positions do beyond the trapezoidal rule, m and rad: contacts act within a step.
    """
    pos, rot, dof, lin, spin, speed = columns.split(COORDINATES)
    d_lin, d_spin, d_speed, d_pos, d_rot, d_dof = change.split([3, 3, NUM_DOFS] * 2)
    frame = matrix(rot)
    lin_after, spin_after, speed_after = lin + (frame * d_lin).sum(1), spin + d_spin, speed + d_speed
    half = (CONTROL_DT * (spin + spin_after) / 2 + d_rot) / 2
    turn = torch.cat([half, torch.ones_like(half[:1])])  # normalised below: right to the second order in the angle
    turned = product(rot.unsqueeze(1), turn.unsqueeze(1)).squeeze(1)
    return torch.cat([
        pos + CONTROL_DT * (lin + lin_after) / 2 + (frame * d_pos).sum(1), turned / turned.norm(dim=0, keepdim=True),
        dof + CONTROL_DT * (speed + speed_after) / 2 + d_dof, lin_after, spin_after, speed_after,
    ])  # fmt: skip


def difference(columns: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The change (150, N) that `integrate` needs to get from one to the other, (151, N) each."""
    pos, rot, dof, lin, spin, speed = columns.split(COORDINATES)
    pos_b, rot_b, dof_b, lin_b, spin_b, speed_b = after.split(COORDINATES)
    inverse = matrix(rot).transpose(0, 1)
    inside = lambda vector: (inverse * vector).sum(1)  # noqa: E731
    back = torch.cat([-rot[:3], rot[3:]])
    turn = product(back.unsqueeze(1), rot_b.unsqueeze(1)).squeeze(1)
    return torch.cat([
        inside(lin_b - lin), spin_b - spin, speed_b - speed,
        inside(pos_b - pos - CONTROL_DT * (lin + lin_b) / 2),
        2 * turn[:3] / turn[3:] - CONTROL_DT * (spin + spin_b) / 2,
        dof_b - dof - CONTROL_DT * (speed + speed_b) / 2,
    ])  # fmt: skip


class WorldModel(nn.Module):
    """Coordinates and PD targets to coordinates one control step later.

    Args:
        offsets: (24, 3) m, the humanoid's.
        hidden: widths of the network's layers.
    """

    def __init__(self, offsets: torch.Tensor, hidden: tuple[int, ...] = (512, 512)):
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((_FEATURES, *hidden[:-1]), hidden, strict=True):
            layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], 2 * FREEDOMS))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.linear = nn.Linear(_FEATURES, 2 * FREEDOMS)
        self.register_buffer("offsets", offsets.clone())
        for name, width in (("mean", _FEATURES), ("std", _FEATURES), ("scale", 2 * FREEDOMS)):
            self.register_buffer(name, torch.ones(width))

    def bodies(self, columns: torch.Tensor) -> BodyState:
        """Where coordinates (151, N) put the bodies: N rows."""
        return coordinate_kinematics(columns, self.offsets)

    def forward(self, columns: torch.Tensor, bodies: BodyState, targets: torch.Tensor) -> torch.Tensor:
        """One control step: coordinates (151, N), where they put the bodies, PD targets (N, 69) rad -> (151, N)."""
        return integrate(columns, self.change(columns, bodies, targets))

    def change(self, columns: torch.Tensor, bodies: BodyState, targets: torch.Tensor) -> torch.Tensor:
        """What changes in a control step, (150, N) as `integrate` takes it; arguments as in `forward`."""
        seen = ((self._features(columns, bodies, targets) - self.mean) / self.std).clamp(-8, 8)
        return (self.scale * (self.linear(seen) + self.net(seen))).T

    def _features(self, columns: torch.Tensor, bodies: BodyState, targets: torch.Tensor) -> torch.Tensor:
        """What the physics depends on, free of place and heading -> (N, features): root height, the vertical and the
        velocities as the root sees them, hinges, their velocities and distances from the targets, heights of all bodies,
        tilt and velocity of the feet."""
        _, rot, dof, lin, spin, speed = columns.split(COORDINATES)
        frame = matrix(rot)
        inverse, feet = frame.transpose(0, 1), list(FEET)
        tilt = matrix(bodies.body_rot[:, feet].permute(2, 1, 0))[2]  # (3, 4, N): the vertical as each foot sees it
        moving = (inverse.unsqueeze(2) * bodies.body_lin_vel[:, feet].permute(2, 1, 0)).sum(1)
        parts = (
            columns[2:3], frame[2], (inverse * lin).sum(1), spin, dof, speed, targets.T - dof,
            bodies.body_pos[..., 2].T, tilt.flatten(0, 1), moving.flatten(0, 1),
        )  # fmt: skip
        return torch.cat(parts).T

    @torch.no_grad()
    def fit_linear(self, columns: torch.Tensor, targets: torch.Tensor, after: torch.Tensor) -> None:
        """Take scales and the linear part from transitions (151, N), (N, 69), (151, N), by ridge regression."""
        seen, change = self._features(columns, self.bodies(columns), targets), difference(columns, after).T
        self.mean.copy_(seen.mean(0))
        self.std.copy_(seen.std(0).clamp(min=1e-3))
        self.scale.copy_(change.std(0).clamp(min=1e-5))
        x = nn.functional.pad(((seen - self.mean) / self.std).clamp(-8, 8), (0, 1), value=1.0).double()
        y = (change / self.scale).clamp(-8, 8).double()
        ridge = 1e-2 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        both = torch.linalg.solve(x.T @ x + ridge, x.T @ y).float()
        self.linear.weight.copy_(both[:-1].T)
        self.linear.bias.copy_(both[-1])

    def loss(self, columns: torch.Tensor, targets: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """How wrong the model is when it unrolls K steps on its own: a scalar, in units of the usual change of a step.

        Args:
            columns: (151, N) where the windows begin. targets: (K, N, 69). after: (K, 151, N) the true coordinates.
        """
        # positions count by what the usual change of the velocities makes of them in one step
        unit = torch.cat([self.scale[:FREEDOMS], CONTROL_DT * self.scale[:FREEDOMS]]).unsqueeze(1)
        losses = []
        for target, true in zip(targets, after, strict=True):
            columns = self(columns, self.bodies(columns), target)
            wrong = difference(columns, true) / unit
            losses.append(nn.functional.smooth_l1_loss(wrong, torch.zeros_like(wrong), beta=0.1))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def drift(self, columns: torch.Tensor, targets: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Mean body error in metres after each of K steps of the model on its own: (K,); arguments as in `loss`."""
        errors = []
        for target, true in zip(targets, after, strict=True):
            columns = self(columns, self.bodies(columns), target)
            errors.append((self.bodies(columns).body_pos - self.bodies(true).body_pos).norm(dim=-1).mean())
        return torch.stack(errors)
