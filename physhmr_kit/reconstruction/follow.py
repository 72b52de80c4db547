"""A policy relives a video: it sees what the camera saw, and drives the humanoid until the video ends.

A body that falls, loses the person or blows up is put back on the encoder's pose of that moment, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_DOFS, standing_height
from physhmr_kit.env import Rollout, TrackingEnv, VisualLibrary
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.metrics.seen import ray_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.vision.placement import initial_pose, kinematic_clip
from physhmr_kit.vision.track import VisualTrack

BLEW_UP = "blew up"
LOST = 500.0
"""Mean distance from the rays, mm, at which the body is no longer where the person is."""

PATIENCE = 15
"""Frames a body is left to itself after a restart. One put back in every frame would be the encoder's estimate, not physics."""


@dataclass(frozen=True)
class Reconstruction:
    """A video as the simulation relived it.

    Attributes:
        track: what the policy saw.
        rollout: simulated body; its reference is the encoder's own estimate (pose from the network, place from rays and
            floor), not the truth.
        restarts: (frame, why) for each time the body was put back on the encoder's pose.
        method: 'physics', or 'kinematic' for the encoder's estimate itself.
    """

    track: VisualTrack
    rollout: Rollout
    restarts: list[tuple[int, str]]
    method: str = "physics"


@torch.no_grad()
def relive(
    policy,
    track: VisualTrack,
    config: TrackingConfig,
    simulator: str = "auto",
    substeps: int = 4,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Let a policy follow what a camera saw, from the encoder's first pose to the end.

    A body that falls, loses the person or blows up is put back on the encoder's pose of that frame and goes on; it is
    left lying for a while if it has only just been put back (`PATIENCE`).

    Args:
        policy: observation groups to actions.
        config: the observation and control the policy was trained with.
        progress: called with (frames done, frames in all) now and then.
    """
    library = MotionLibrary([kinematic_clip(track)])
    visual = VisualLibrary([[track]], library.lengths)
    endless = replace(config, termination="none", start="first", episode_length=0)
    physics = make_simulator(simulator, num_envs=1, device=device, substeps=substeps)
    env = TrackingEnv(library, physics, endless, visual)
    if isinstance(policy, torch.nn.Module):
        policy.to(env.device)
    everyone = torch.zeros(1, dtype=torch.long, device=env.device)
    estimate = library.clip(0)
    env.reset(seed=0, options={"clip": everyone, "frame": everyone, "view": everyone})
    env.simulator.reset(everyone, initial_pose(track, 0).to(env.device))
    states, terms, restarts = [env.simulator.state.to("cpu")], [{}], []
    obs = env.observe(config.groups)
    for frame in range(1, len(track)):
        obs, *_ = env.step(policy(obs))
        state = env.last_state.to("cpu")
        terms.append(env.reward_terms)
        fault = _fault(state, estimate[frame : frame + 1], track, frame)
        patient = restarts and frame - restarts[-1][0] < PATIENCE and fault != BLEW_UP
        if fault and not patient:
            env.simulator.reset(everyone, initial_pose(track, frame).to(env.device))
            state = env.simulator.state.to("cpu")
            obs = env.observe(config.groups)
            restarts.append((frame, fault))
        states.append(state)
        if progress and frame % 15 == 0:
            progress(frame, len(track))
    env.close()
    return Reconstruction(track, _rollout(track.name, estimate, states, terms, restarts), restarts)


def without_physics(track: VisualTrack) -> Reconstruction:
    """The encoder's estimate as it is: pose from the network, place from rays and floor. Nothing holds it to physics."""
    estimate = MotionLibrary([kinematic_clip(track)]).clip(0)
    count = len(track)
    nothing = torch.zeros(count, len(JOINT_NAMES), 3), torch.zeros(count, NUM_DOFS)
    rollout = Rollout(track.name, estimate, estimate, *nothing, {}, count, True, None, track.fps)
    return Reconstruction(track, rollout, [], "kinematic")


def upright(state: BodyState) -> torch.Tensor:
    """Whether a body is on its feet: trunk within 60 degrees of the vertical, pelvis above half its standing height. (T,) bool."""
    pelvis, neck = (state.body_pos[:, JOINT_NAMES.index(name)] for name in ("pelvis", "neck"))
    trunk = torch.nn.functional.normalize(neck - pelvis, dim=-1)
    return (trunk[:, 2] > 0.5) & (pelvis[:, 2] > standing_height() / 2)


def _fault(state, estimate: BodyState, track: VisualTrack, frame: int) -> str | None:
    """What is wrong with the body, if anything. Where the encoder's own body is no better, there is nothing to go back to."""
    if bool(state.diverged):
        return BLEW_UP
    if bool(upright(estimate)) and not bool(upright(state)):
        return "fell"
    row = slice(frame, frame + 1)
    rays = track.centre[row], track.ray_point[row], track.ray_confidence[row]
    away, at_best = (ray_distance(s.body_pos, *rays).nanmean() for s in (state, estimate))
    return "lost the person" if away > LOST and at_best < LOST / 2 else None


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
