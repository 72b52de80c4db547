"""`TrackingEnv`: the Markov decision process of the kit, a gymnasium VectorEnv over any Simulator."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env import actions as action_maps
from physhmr_kit.env import observations, rewards, terminations
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.errors import KitError
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState, Simulator
from physhmr_kit.vision.keypoints import RAY_JOINTS


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each reward term; the first five are PhysHMR's, the last two belong to fine-tuning."""

    position: float = 0.5
    rotation: float = 0.3
    velocity: float = 0.1
    angular_velocity: float = 0.1
    power: float = -0.0005
    balance: float = 0.0
    foot_contact: float = 0.0


@dataclass(frozen=True)
class TrackingConfig:
    """What an episode is.

    Attributes:
        groups: observation groups, in order; those seen by a camera need a VisualLibrary.
        control: 'residual' around the reference or 'absolute' targets (see actions.py).
        termination: 'any' body of 20 or the 'mean' distance (see terminations.py), or 'none'.
        termination_distance: metres.
        episode_length: control steps after which an episode is truncated; 0 for the end of the clip only.
        start: 'random' frame (reference-state initialisation) or 'first' frame of the clip.
        hard_share: share of starts drawn by failure rate.
        reward: weights of the terms.
    """

    groups: tuple[str, ...] = ("proprioception", "reference")
    control: str = "residual"
    termination: str = "any"
    termination_distance: float = 0.25
    episode_length: int = 300
    start: str = "random"
    hard_share: float = 0.5
    reward: RewardWeights = RewardWeights()

    def __post_init__(self):
        unknown = [g for g in self.groups if g not in observations.GROUP_SIZES]
        if unknown:
            raise KitError(f"unknown observation group '{unknown[0]}'; known: {', '.join(observations.GROUP_SIZES)}")
        for key, allowed in (
            ("control", ("residual", "absolute")),
            ("termination", ("any", "mean", "none")),
            ("start", ("random", "first")),
        ):
            if getattr(self, key) not in allowed:
                raise KitError(f"{key} is '{getattr(self, key)}'; choose one of: {', '.join(allowed)}")


_VISUAL_GROUPS = ("rays", "ray_confidence", "feature", "root_orientation")


class TrackingEnv(VectorEnv):
    """N humanoids, each following a clip. Tensors in, tensors out; SAME_STEP autoreset with `final_obs`.

    An environment that ends returns the first observation of its next episode at once, and the last one of the old
    in `info["final_obs"]` (dense tensors, valid where `info["_final_obs"]`). *Terminated* means failed (value 0),
    *truncated* means the clip or the time ran out (bootstrap from final_obs).

    Args:
        library: the reference motions.
        simulator: built for the wanted number of environments.
        config: what an episode is.
        visual: what cameras saw; needed for the visual groups.
        seed: of the environment's own generator.

    Raises:
        KitError: visual groups without a VisualLibrary, an action of the wrong shape.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": 30}

    def __init__(
        self,
        library: MotionLibrary,
        simulator: Simulator,
        config: TrackingConfig = TrackingConfig(),
        visual: VisualLibrary | None = None,
        seed: int = 0,
    ):
        self.library, self.simulator, self.config, self.visual = library, simulator, config, visual
        self.num_envs = simulator.num_envs
        self.render_mode = None
        if visual is None and any(g in _VISUAL_GROUPS for g in config.groups):
            raise KitError("the observation asks for a camera's view but no visual tracks were given")
        box = lambda width: gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)  # noqa: E731
        self.single_observation_space = gym.spaces.Dict({g: box(observations.GROUP_SIZES[g]) for g in config.groups})
        self.single_action_space = box(NUM_DOFS)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        humanoid: Humanoid = simulator.humanoid
        self._scale = action_maps.absolute_scale(humanoid)
        self._reference_targets: torch.Tensor | None = None
        self._masses = humanoid.segment_masses() / humanoid.mass
        self.sampler = StartSampler(library.lengths, config.hard_share)
        self.generator = torch.Generator().manual_seed(seed)
        self.num_diverged = 0
        n = self.num_envs
        self._clip, self._frame, self._view, self._steps = (torch.zeros(n, dtype=torch.long) for _ in range(4))
        self._everyone = torch.arange(n)
        self.reward_terms: dict[str, torch.Tensor] = {}
        """(N,) unweighted value of each reward term at the last step."""
        self.last_state: SimState | None = None
        """Where the last step led, before any environment was reset."""

    # ---- gymnasium

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start every environment anew.

        Args:
            seed: reseeds the generator that draws starts and views.
            options: {'clip': (N,) ids, 'frame': (N,) ids} begins there instead of at random.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
        self._begin(self._everyone, options or {})
        return self._observe(self.simulator.state, self._everyone), {}

    def step(self, actions: torch.Tensor):
        """One control step (1/30 s) of every environment with actions (N, 69)."""
        if tuple(actions.shape) != (self.num_envs, NUM_DOFS):
            raise KitError(f"actions have shape {tuple(actions.shape)}; expected ({self.num_envs}, {NUM_DOFS})")
        sim = self.simulator.step(self.pd_targets(actions))
        self._frame += 1
        self._steps += 1
        ref = self.library.frames(self._clip, self._frame)
        sim = self.last_state = _without_diverged(sim, ref)
        reward = self._reward(sim, ref)
        terminated = self._failed(sim, ref) | sim.diverged
        at_end = self._frame >= self.library.lengths[self._clip] - 1
        limit = self.config.episode_length
        truncated = (at_end | (self._steps >= limit) if limit else at_end) & ~terminated
        reward = torch.where(sim.diverged, torch.zeros_like(reward), reward)
        self.num_diverged += int(sim.diverged.sum())

        obs, info = self._observe(sim, self._everyone), {}
        done = terminated | truncated
        if done.any():
            info = {
                "final_obs": obs,
                "_final_obs": done.numpy(),
                "final_info": {"clip": self._clip.clone()},
                "_final_info": done.numpy(),
            }
            ended = done.nonzero().squeeze(1)
            self.sampler.report(self._clip[ended], terminated[ended])
            self._begin(ended, {})
            fresh = self._observe(self.simulator.state[ended], ended)
            obs = {g: obs[g].index_copy(0, ended, fresh[g]) for g in obs}
        return obs, reward, terminated, truncated, info

    def close_extras(self, **kwargs):
        """Close the simulator."""
        self.simulator.close()

    # ---- what stages and lessons look at

    def pd_targets(self, actions: torch.Tensor) -> torch.Tensor:
        """PD targets (N, 69) rad that these actions ask for, by the configured control."""
        if self.config.control == "absolute":
            return action_maps.absolute_target(actions, self._scale)
        return self._residual_target(actions)

    def absolute_label(self, residual_actions: torch.Tensor) -> torch.Tensor:
        """The absolute actions (N, 69) that ask for the same targets as an expert's residual ones."""
        return action_maps.absolute_action(self._residual_target(residual_actions), self._scale)

    def observe(self, groups: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """Any observation groups of the present state, also ones the policy does not read (an expert's, a critic's)."""
        return self._observe(self.simulator.state, self._everyone, groups)

    @property
    def clip_ids(self) -> torch.Tensor:
        """(N,) clip each environment follows."""
        return self._clip

    @property
    def frame_ids(self) -> torch.Tensor:
        """(N,) frame each environment has reached."""
        return self._frame

    @property
    def reference_state(self) -> BodyState:
        """The reference at the present frame, N rows."""
        return self.library.frames(self._clip, self._frame)

    def state_dict(self) -> dict:
        """Everything an exact resume needs: physics, clocks, generator, sampler."""
        return {
            "simulator": self.simulator.save(),
            "clip": self._clip.clone(),
            "frame": self._frame.clone(),
            "view": self._view.clone(),
            "steps": self._steps.clone(),
            "generator": self.generator.get_state(),
            "sampler": self.sampler.state_dict(),
            "num_diverged": self.num_diverged,
        }

    def load_state_dict(self, state: dict) -> dict[str, torch.Tensor]:
        """Take up a `state_dict`; returns the observation at that point."""
        self.simulator.restore(state["simulator"])
        self._clip, self._frame, self._view, self._steps = (
            state[k].clone() for k in ("clip", "frame", "view", "steps")
        )
        self.generator.set_state(state["generator"])
        self.sampler.load_state_dict(state["sampler"])
        self.num_diverged = state["num_diverged"]
        return self._observe(self.simulator.state, self._everyone)

    # ---- parts of a step

    def _residual_target(self, actions: torch.Tensor) -> torch.Tensor:
        if self._reference_targets is None:  # inverse dynamics of the whole library; only experts need it
            self._reference_targets = library_targets(self.library, self.simulator.humanoid)
        ahead = self.library.rows(self._clip, self._frame + 1)
        return action_maps.residual_target(actions, self._reference_targets[ahead])

    def _begin(self, rows: torch.Tensor, options: dict) -> None:
        clip, frame = self.sampler.draw(len(rows), self.generator)
        if self.config.start == "first":
            frame = torch.zeros_like(frame)
        clip = torch.as_tensor(options.get("clip", clip), dtype=torch.long)
        frame = torch.as_tensor(options.get("frame", frame), dtype=torch.long)
        self._clip[rows], self._frame[rows], self._steps[rows] = clip, frame, 0
        if self.visual is not None:
            view = torch.randint(self.visual.num_views, (len(rows),), generator=self.generator)
            self._view[rows] = torch.as_tensor(options.get("view", view), dtype=torch.long)
        self.simulator.reset(rows, self.library.frames(clip, frame))

    def _observe(
        self, sim: BodyState, rows: torch.Tensor, groups: tuple[str, ...] | None = None
    ) -> dict[str, torch.Tensor]:
        groups = groups or self.config.groups
        yaw = heading(sim.root_rot)
        obs = {}
        if "proprioception" in groups:
            obs["proprioception"] = observations.proprioception(sim, yaw)
        if "reference" in groups:
            ahead = self.library.frames(self._clip[rows], self._frame[rows] + 1)
            obs["reference"] = observations.reference(sim, ahead, yaw)
        if any(g in _VISUAL_GROUPS for g in groups):
            visual = self.visual
            at = visual.rows(self._clip[rows], self._view[rows], self._frame[rows] + 1)
            joints = sim.body_pos[:, list(RAY_JOINTS)]
            confidence = visual.ray_confidence[at]
            if "rays" in groups:
                obs["rays"] = observations.rays(joints, visual.centre[at], visual.ray_point[at], yaw)
            if "ray_confidence" in groups:
                obs["ray_confidence"] = confidence
            if "feature" in groups:
                obs["feature"] = visual.feature[at]
            if "root_orientation" in groups:
                obs["root_orientation"] = observations.root_orientation(visual.root_rot[at], yaw)
        return {g: obs[g] for g in groups}

    def _reward(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        weights = self.config.reward
        terms = {
            "position": lambda: rewards.position(sim, ref),
            "rotation": lambda: rewards.rotation(sim, ref),
            "velocity": lambda: rewards.velocity(sim, ref),
            "angular_velocity": lambda: rewards.angular_velocity(sim, ref),
            # the first steps after a reset pay for the jump onto the reference, not for the policy (PhysHMR)
            "power": lambda: rewards.power(sim.dof_torque, sim.dof_vel) * (self._steps > 3),
            "balance": lambda: rewards.balance(sim, self._masses),
            "foot_contact": lambda: rewards.foot_contact(sim, ref, sim.contact_force),
        }
        self.reward_terms = {k: term() for k, term in terms.items() if getattr(weights, k) != 0}
        return sum(getattr(weights, k) * v for k, v in self.reward_terms.items())

    def _failed(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        if self.config.termination == "none":
            return torch.zeros(self.num_envs, dtype=torch.bool)
        rule = terminations.any_body_far if self.config.termination == "any" else terminations.mean_body_far
        return rule(sim.body_pos, ref.body_pos, self.config.termination_distance)


def _without_diverged(sim: SimState, ref: BodyState) -> SimState:
    """Put the reference where the physics blew up, so that no NaN reaches an observation; `diverged` stays set."""
    rows = sim.diverged.nonzero().squeeze(1)
    if len(rows) == 0:
        return sim
    stand_in = ref[rows]
    zeros = torch.zeros(len(rows), *sim.contact_force.shape[1:])
    filled = SimState(
        stand_in.body_pos, stand_in.body_rot, stand_in.body_lin_vel, stand_in.body_ang_vel, stand_in.dof_pos, stand_in.dof_vel,
        zeros, torch.zeros(len(rows), NUM_DOFS), sim.diverged[rows],
    )  # fmt: skip
    return sim.with_rows(rows, filled)
