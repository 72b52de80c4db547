"""Rolls out a policy on a visual track in simulation, from the first frame to the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_DOFS
from physhmr_kit.env import Rollout, TrackingEnv, VisualLibrary
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.metrics.reprojection import ray_distance
from physhmr_kit.motion.following import has_fallen
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.vision.refinement import refined_clip
from physhmr_kit.vision.track import VisualTrack

DIVERGED = "diverged"
LOST_MM = 500.0
"""Mean distance of the joints from their rays, mm, above which the body has lost the person."""

MIN_RESTART_GAP = 15
"""Frames after a restart in which a body is not reset again; a reset in every frame would be the estimate, not physics."""


@dataclass(frozen=True)
class Reconstruction:
    """The simulated motion of a person in a video, or in a span of it that shows the person.

    Attributes:
        track: observations of the policy. Frames are counted from its first one, `seconds` from the start of the video.
        rollout: simulated body; its reference is the estimate refined over time (`vision/refinement`), not ground truth.
        restarts: (frame, reason) of each reset of the body to the estimate.
        method: 'physics', or 'kinematic' for the estimate itself.
        assist: limit of the assistive force at the pelvis, N.
    """

    track: VisualTrack
    rollout: Rollout
    restarts: list[tuple[int, str]]
    method: str = "physics"
    assist: float = 0.0

    def seconds(self, frame: int) -> float:
        """Time of a frame of the track, s from the start of the video."""
        return (self.track.first + frame) / self.track.fps

    @property
    def restart_frames(self) -> list[int]:
        """Frames of the track in which the body was reset."""
        return [frame for frame, _ in self.restarts]


@torch.no_grad()
def simulate_track(
    policy,
    track: VisualTrack,
    config: TrackingConfig,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Roll out a policy on a visual track, from the estimate's first state to the end.

    A body that falls, loses the person or diverges is reset to the estimate of that frame, but (unless it diverged)
    not within `MIN_RESTART_GAP` frames of the previous reset.

    Args:
        policy: maps observation groups to actions.
        config: observations and control that the policy was trained with.
        progress: called every 15 frames with (frames done, all frames).
    """
    library = MotionLibrary([refined_clip(track)])
    visual = VisualLibrary([[track]], library.lengths)
    # one episode, as long as the video
    config = replace(config, termination="none", start="first", episode_length=None)
    estimate = library.clip(0)
    with make_simulator(simulator, num_envs=1, device=device, substeps=substeps) as physics:
        env = TrackingEnv(library, physics, config, visual)
        if isinstance(policy, torch.nn.Module):
            policy.to(env.device)
        zero = torch.zeros(1, dtype=torch.long, device=env.device)
        env.reset(seed=0, options={"clip": zero, "frame": zero, "view": zero})
        assist = env.assist
        states, restarts = [physics.state.to("cpu")], list[tuple[int, str]]()
        terms: list[dict[str, torch.Tensor]] = [{}]
        obs = env.observe(config.groups)
        for frame in range(1, len(track)):
            obs, *_ = env.step(policy(obs))
            assert env.last_state is not None
            state = env.last_state.to("cpu")
            terms.append(env.reward_terms)
            fault = _fault(state, estimate[frame : frame + 1], track[frame : frame + 1])
            just_reset = restarts and frame - restarts[-1][0] < MIN_RESTART_GAP
            if fault and (fault == DIVERGED or not just_reset):
                physics.reset(zero, estimate[frame : frame + 1].to(env.device))
                state = physics.state.to("cpu")
                obs = env.observe(config.groups)
                restarts.append((frame, fault))
            states.append(state)
            if progress and frame % 15 == 0:
                progress(frame, len(track))
    return Reconstruction(track, _rollout(track.name, estimate, states, terms, restarts), restarts, assist=assist)


def kinematic_estimate(track: VisualTrack) -> Reconstruction:
    """The estimate refined over time (`refinement.refined_clip`), without physics."""
    estimate = MotionLibrary([refined_clip(track)]).clip(0)
    count = len(track)
    forces = torch.zeros(count, len(JOINT_NAMES), 3), torch.zeros(count, NUM_DOFS)
    rollout = Rollout(track.name, estimate, estimate, *forces, {}, count, True, None, track.fps)
    return Reconstruction(track, rollout, [], "kinematic")


def _fault(state: SimState, estimate: BodyState, track: VisualTrack) -> str | None:
    """Why the body must be reset in a frame, or None; a body that lost the person is only reset to a better estimate."""
    if bool(state.diverged):
        return DIVERGED
    if bool(has_fallen(state.body_pos, estimate.body_pos)):
        return "fell"
    rays = track.centre, track.ray_point, track.ray_confidence
    simulated, estimated = (ray_distance(s.body_pos, *rays).nanmean() for s in (state, estimate))
    return "lost the person" if simulated > LOST_MM and estimated < LOST_MM / 2 else None


def _rollout(name: str, estimate: BodyState, states: list, terms: list[dict], restarts: list) -> Rollout:
    def join(key):
        return torch.cat([getattr(s, key) for s in states])

    return Rollout(
        name=name,
        reference=estimate,
        simulated=BodyState(**{f.name: join(f.name) for f in fields(BodyState)}),
        contact_force=join("contact_force"),
        dof_torque=join("dof_torque"),
        rewards={k: torch.tensor([0.0] + [float(t[k]) for t in terms[1:]]) for k in terms[-1]},
        length=len(states),
        success=not restarts,
        fail_frame=restarts[0][0] if restarts else None,
    )
