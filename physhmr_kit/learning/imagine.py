"""Following a reference inside the world model: the policy acts, the model answers, and the distance can be differentiated."""

from __future__ import annotations

import torch

from physhmr_kit.body.quaternions import quat_columns
from physhmr_kit.env import observations
from physhmr_kit.env.actions import residual_target
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.world_model import WorldModel
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
    """The clips as a residual policy meets them inside a world model.

    Args:
        library: the clips. reference_targets: (F, 69) rad of every frame, `feedforward.library_targets`.
    """

    def __init__(self, library: MotionLibrary, reference_targets: torch.Tensor):
        self.library, self.reference_targets = library, reference_targets
        everything = torch.arange(library.num_frames, device=library.device)
        self._glimpses = observations.glimpse(library.at(everything))

    def follow(
        self,
        policy: Policy,
        model: WorldModel,
        columns: torch.Tensor,
        clip: torch.Tensor,
        frame: torch.Tensor,
        noise: torch.Tensor,
        effort: float = 0.0,
    ) -> torch.Tensor:
        """Follow clips for K steps of the model; the mean distance from the reference, to be made small (a scalar).

        Args:
            columns: (151, N) coordinates to begin from, at (N,) frames of (N,) clips.
            noise: (K, N, 69) added to the actions, as when the data were collected.
            effort: weight of the squared actions.
        """
        bodies, last, losses = model.bodies(columns), self.library.last_frames(clip), []
        for step, disturbance in enumerate(noise):
            rows = self.library.rows(clip, frame + step + 1)
            ahead = self.library.at(rows)
            action = policy.mean(self._observe(bodies, ahead, clip, frame + step, policy.groups))
            targets = residual_target(action + disturbance, self.reference_targets.index_select(0, rows))
            columns = model(columns, bodies, targets)
            bodies = model.bodies(columns)
            cost = tracking_distance(bodies, ahead) + effort * action.square().mean(1)
            losses.append((cost * (frame + step < last)).mean())  # past its end a clip asks for nothing
        return torch.stack(losses).mean()

    def _observe(self, bodies: BodyState, ahead: BodyState, clip, frame, groups: tuple[str, ...]) -> torch.Tensor:
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
