"""Random pushes at the chest during training, so that the policy learns to recover from disturbances."""

from __future__ import annotations

import math

import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_JOINTS

CHEST = JOINT_NAMES.index("spine3")
"""Index of the body that is pushed, at its centre of mass."""


def at_chest(force: torch.Tensor) -> torch.Tensor:
    """Forces on the chests in the form that `Simulator.step` takes: (N, 3) N -> (N, 24, 3) N, world frame."""
    push = force.new_zeros(len(force), NUM_JOINTS, 3)
    push[:, CHEST] = force
    return push


def horizontal(force: float, angle: torch.Tensor) -> torch.Tensor:
    """Horizontal force of `force` N in direction `angle` (N,) rad, from the world's x axis towards y: (N, 3) N."""
    return force * torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)


class RandomPushes:
    """Pushes each environment at random times in random horizontal directions.

    Args:
        num_envs: N.
        force: N.
        steps: duration of a push in control steps.
        interval: mean number of control steps from the end of a push to the next (memoryless).
        device: of the tensors and of the generator passed to `draw`.
    """

    def __init__(self, num_envs: int, force: float, steps: int, interval: float, device: torch.device):
        self.force, self.steps, self.interval = force, steps, interval
        self._left = torch.zeros(num_envs, dtype=torch.long, device=device)  # remaining steps of the current push
        self._angle = torch.zeros(num_envs, device=device)

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """Forces of the next control step, (N, 24, 3) N. Always draws 2 N numbers from the generator."""
        dice, angle = torch.rand(2, len(self._left), generator=generator, device=self._left.device)
        begins = (self._left == 0) & (dice < 1 / self.interval)
        left = torch.where(begins, self.steps, self._left)
        self._angle = torch.where(begins, 2 * math.pi * angle, self._angle)
        self._left = (left - 1).clamp(min=0)
        return at_chest(horizontal(self.force, self._angle) * (left > 0).unsqueeze(1))

    def end(self, rows: torch.Tensor) -> None:
        """End the pushes in these environments (K,), whose episodes restart."""
        self._left = self._left.index_fill(0, rows, 0)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Remaining duration and direction of the current pushes."""
        return {"left": self._left.clone(), "angle": self._angle.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore a `state_dict`."""
        self._left, self._angle = (state[key].clone().to(self._left.device) for key in ("left", "angle"))
