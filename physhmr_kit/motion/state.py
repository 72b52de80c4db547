"""`BodyState`: pose and velocity of every body, for N environments or T frames."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


def with_rows(x: torch.Tensor, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A copy of x with `rows` (K,) taken from `other` (K, ...). Unlike `index_copy` it keeps the memory layout."""
    x = x.clone()
    x[rows] = other
    return x


@dataclass(frozen=True)
class BodyState:
    """Pose and velocity of the 24 bodies and the 69 hinges. World frame, z-up, SMPL order, metres, radians, seconds.

    Attributes:
        body_pos: (N, 24, 3) joint positions; body 0 is the root.
        body_rot: (N, 24, 4) world rotations, quaternions xyzw.
        body_lin_vel: (N, 24, 3) velocity of the body origins, m/s.
        body_ang_vel: (N, 24, 3) angular velocity in the world frame, rad/s.
        dof_pos: (N, 69) hinge angles, rad.
        dof_vel: (N, 69) hinge velocities, rad/s.
    """

    body_pos: torch.Tensor
    body_rot: torch.Tensor
    body_lin_vel: torch.Tensor
    body_ang_vel: torch.Tensor
    dof_pos: torch.Tensor
    dof_vel: torch.Tensor

    @property
    def root_pos(self) -> torch.Tensor:
        """(N, 3) pelvis position, m."""
        return self.body_pos[:, 0]

    @property
    def root_rot(self) -> torch.Tensor:
        """(N, 4) pelvis rotation, xyzw."""
        return self.body_rot[:, 0]

    def __len__(self) -> int:
        return self.body_pos.shape[0]

    def __getitem__(self, rows):
        """The selected rows of every field (index tensor, mask or slice)."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def with_rows(self, rows: torch.Tensor, other):
        """A copy with `rows` (K,) taken from `other` (K rows)."""
        return type(self)(
            **{f.name: with_rows(getattr(self, f.name), rows, getattr(other, f.name)) for f in fields(self)}
        )

    def pack(self) -> torch.Tensor:
        """All fields as one array (N, 450), component-major within each field, so that rows are gathered in one operation."""
        bodies = (self.body_pos, self.body_rot, self.body_lin_vel, self.body_ang_vel)
        return torch.cat([*(b.transpose(1, 2).flatten(1) for b in bodies), self.dof_pos, self.dof_vel], dim=1)

    @staticmethod
    def unpack(rows: torch.Tensor) -> BodyState:
        """The state of packed rows (N, 450), stored rows last so that arithmetic runs along contiguous environments
        (see `body.quaternions`)."""
        columns = rows.T.contiguous()
        pos, rot, lin, ang, dof_pos, dof_vel = columns.split([72, 96, 72, 72, 69, 69])
        pos, rot, lin, ang = (p.unflatten(0, (p.shape[0] // 24, 24)).permute(2, 1, 0) for p in (pos, rot, lin, ang))
        return BodyState(pos, rot, lin, ang, dof_pos.T, dof_vel.T)

    def to(self, device):
        """The same state on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})
