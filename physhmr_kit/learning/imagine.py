"""Following a reference in the light of a world model: how the distance from it hangs on what the policy does."""

from __future__ import annotations

import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.quaternions import quat_columns
from physhmr_kit.env import observations
from physhmr_kit.env.actions import residual_target
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.transitions import Windows
from physhmr_kit.learning.world_model import WorldModel, difference, integrate
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState


def tracking_distance(sim: BodyState, ref: BodyState) -> torch.Tensor:
    """How far bodies are from their reference, N rows -> (N,): mean absolute differences of positions (m), rotations (6D) and
    velocities (m/s, rad/s), weighted so that each is near 1 for a body that is lost (ours; SuperTrack's terms)."""
    turned = quat_columns(sim.body_rot) - quat_columns(ref.body_rot)
    return (
        10 * (sim.body_pos - ref.body_pos).abs().mean((1, 2))
        + 2 * turned.abs().mean((1, 2))
        + 0.2 * (sim.body_lin_vel - ref.body_lin_vel).abs().mean((1, 2))
        + 0.05 * (sim.body_ang_vel - ref.body_ang_vel).abs().mean((1, 2))
    )


class Imagination:
    """The clips as a residual policy meets them: what happened, and what would have happened had it acted otherwise.

    Left to itself a world model drifts, and a policy trained inside it soon lives off its mistakes (docs/expert.md). Here it
    only answers for differences: each step adds what the model got wrong in the step that really happened. While the policy
    is the one that collected the data, the imagined motion is the real one, and the model lends nothing but its derivatives
    (stochastic value gradients, SVG(inf) of Heess et al. 2015).

    Args:
        library: the clips. reference_targets: (F, 69) rad of every frame, `feedforward.library_targets`.
        humanoid: for the power of its drives.
        anchored: add the model's mistakes as they happened; otherwise the model is left to itself, as in SuperTrack.
        effort: weight of the squared actions. energy: of the drives' power, per W.
    """

    def __init__(
        self,
        library: MotionLibrary,
        reference_targets: torch.Tensor,
        humanoid: Humanoid,
        anchored: bool = True,
        effort: float = 0.0,
        energy: float = 0.0,
    ):
        self.library, self.reference_targets = library, reference_targets
        self.anchored, self.effort, self.energy = anchored, effort, energy
        self._kp, self._kd = humanoid.kp.to(library.device), humanoid.kd.to(library.device)
        everything = torch.arange(library.num_frames, device=library.device)
        self._glimpses = observations.glimpse(library.at(everything))

    def follow(self, policy: Policy, model: WorldModel, happened: Windows) -> torch.Tensor:
        """Mean distance from the reference along windows of what happened, were the policy in charge, plus what effort and
        energy cost: a scalar to be made small, differentiable in the policy."""
        columns, losses = happened.states[0], []
        bodies = model.bodies(columns)
        for step in range(len(happened.targets)):
            frame = happened.frame + step
            rows = self.library.rows(happened.clip, frame + 1)
            ahead, reference_target = self.library.at(rows), self.reference_targets.index_select(0, rows)
            action = policy.mean(self._observe(policy.groups, bodies, ahead, happened.clip, frame))
            targets = residual_target(action + happened.noise[step], reference_target)
            change = model.change(columns, bodies, targets)
            if self.anchored:
                change = change + self._mistake(model, happened, step)
            cost = self.effort * action.square().mean(1) + self.energy * self._power(columns, targets)
            columns = integrate(columns, change)
            bodies = model.bodies(columns)
            cost = cost + tracking_distance(bodies, ahead)
            losses.append(cost.where(happened.left > step, 0.0).sum())
        return torch.stack(losses).sum() / happened.left.sum().clamp(min=1)

    def _power(self, columns: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mechanical power of the drives as a step begins, W: (N,)."""
        dof, speed = columns[7:76].T, columns[82:].T
        return ((self._kp * (targets - dof) - self._kd * speed) * speed).abs().sum(1)

    @staticmethod
    @torch.no_grad()
    def _mistake(model: WorldModel, happened: Windows, step: int) -> torch.Tensor:
        """What the model got wrong in a step that happened: (150, N)."""
        before, after = happened.states[step], happened.states[step + 1]
        wrong = difference(before, after) - model.change(before, model.bodies(before), happened.targets[step])
        return wrong.where(happened.left > step, 0.0)

    def _observe(
        self, groups: tuple[str, ...], bodies: BodyState, ahead: BodyState, clip: torch.Tensor, frame: torch.Tensor
    ) -> torch.Tensor:
        """The groups side by side, as `Policy.flatten` has them."""
        yaw = heading(bodies.root_rot)
        seen = {
            "proprioception": lambda: observations.proprioception(bodies, yaw),
            "reference": lambda: observations.reference(bodies, ahead, yaw),
            "preview": lambda: observations.preview(bodies, self._glimpse(clip, frame), yaw),
        }
        return torch.cat([seen[group]() for group in groups], dim=1)

    def _glimpse(self, clip: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        return self._glimpses[torch.stack([self.library.rows(clip, frame + k) for k in observations.PREVIEW_STEPS], 1)]
