"""`TrackingEnv`: motion tracking as a Markov decision process, a gymnasium VectorEnv over any Simulator."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env import actions as action_maps
from physhmr_kit.env import observations, rewards, terminations
from physhmr_kit.env.assist import assist_force
from physhmr_kit.env.pushes import RandomPushes
from physhmr_kit.env.reference_motion import Estimates, Place, ReferenceMotion
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.env.settings import ESTIMATE_GROUPS, GROUP_SIZES, VISUAL_GROUPS, RewardWeights, TrackingConfig
from physhmr_kit.env.virtual_model import virtual_model_targets
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState, with_rows
from physhmr_kit.simulation.contract import SimState, Simulator
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.threads import one_thread
from physhmr_kit.vision.keypoints import RAY_JOINTS

__all__ = ["RewardWeights", "TrackingConfig", "TrackingEnv"]

_AUTORESET = {mode.name.lower(): mode for mode in AutoresetMode}
_TERMINATIONS = {
    "any": terminations.any_body_far, "mean": terminations.mean_body_far, "relative": terminations.relative_body_far,
}  # fmt: skip
_BODIES = ("body_pos", "body_rot", "body_lin_vel", "body_ang_vel")


def _with_last(state: BodyState, ended: torch.Tensor) -> BodyState:
    """The bodies of all environments (N, ...), followed by a copy of those whose episode ended (K, ...)."""
    # concatenated with the batch last in memory, the layout of the kinematics (body/quaternions.py)
    flipped = (getattr(state, name).permute(2, 1, 0) for name in _BODIES)
    joined = (torch.cat([x, x.index_select(2, ended)], dim=2).permute(2, 1, 0) for x in flipped)
    return BodyState(**dict(zip(_BODIES, joined, strict=True)), dof_pos=state.dof_pos, dof_vel=state.dof_vel)


def _cloned(info: dict) -> dict:
    return {k: _cloned(v) if isinstance(v, dict) else v.clone() for k, v in info.items()}


class TrackingEnv(VectorEnv):
    """N humanoids, each tracking a clip. Takes and returns tensors on the simulator's device.

    *Terminated* means failure (value 0), *truncated* means that the clip or the time ran out (bootstrap from the final
    observation). `autoreset` selects gymnasium's autoreset mode:

    - `same_step` (default): the step that ends an episode returns the first observation of the next one; the last observation
      of the old one is in `info["final_obs"]` (dense tensors, valid where `info["_final_obs"]`).
    - `next_step`: it returns the last observation; the next step ignores the action of that environment and returns the
      first observation of its new episode with reward 0. Do not learn from such steps.
    - `disabled`: it returns the last observation, and the caller resets with `options={"reset_mask": ...}`.

    Rewards and terminations use the true reference, `library`. A policy that reads the groups `estimate`,
    `estimate_preview` or `root_position` tracks an estimate of it instead, and its residual or balanced actions are added
    to targets that track the estimate.

    Do not write into observations: a `state_dict` keeps them. `last_state` and `reward_terms` are inference tensors
    (PyTorch): clone them before writing or differentiating.

    Args:
        library: the reference motions, on any device.
        simulator: determines the number of environments.
        config: episodes, observation groups and control.
        visual: camera views; needed for the visual groups.
        estimates: estimated motions, as many views of each clip as `visual` has; by default the refined estimates of
            `visual`. Without either, the estimate is the reference itself.
        seed: of the environment's own generator.
        autoreset: 'same_step', 'next_step' or 'disabled'.

    Raises:
        KitError: visual groups without a VisualLibrary, or different numbers of views and estimates.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": 30}

    def __init__(
        self,
        library: MotionLibrary,
        simulator: Simulator,
        config: TrackingConfig = TrackingConfig(),  # noqa: B008 (frozen)
        visual: VisualLibrary | None = None,
        seed: int = 0,
        autoreset: str = "same_step",
        estimates: Estimates | None = None,
    ):
        if visual is None and (any(g in VISUAL_GROUPS for g in config.groups) or config.reward.rays != 0):
            raise KitError("the observations or rewards need a camera view but no visual tracks were given")
        if visual is not None and estimates is None and any(g in ESTIMATE_GROUPS for g in config.groups):
            estimates = visual.estimates
        if visual is not None and estimates is not None and visual.num_views != estimates.num_views:
            raise KitError(f"{visual.num_views} views of each clip but {estimates.num_views} estimates")
        if autoreset not in _AUTORESET:
            raise KitError(f"autoreset is '{autoreset}'; choose one of: {', '.join(_AUTORESET)}")
        self.simulator, self.config, self.device = simulator, config, simulator.device
        self.library, self.visual = library.to(self.device), None if visual is None else visual.to(self.device)
        self.num_envs = simulator.num_envs
        self.autoreset_mode = _AUTORESET[autoreset]
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        box = lambda width: gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)  # noqa: E731
        self.single_observation_space = gym.spaces.Dict({g: box(GROUP_SIZES[g]) for g in config.groups})
        self.single_action_space = box(NUM_DOFS)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        humanoid = simulator.humanoid
        self._scale = action_maps.absolute_scale(humanoid).to(self.device)
        self._masses = (humanoid.segment_masses() / humanoid.mass).to(self.device)
        self._true = ReferenceMotion(self.library)
        self._estimated = (
            self._true if estimates is None else ReferenceMotion(estimates.library.to(self.device), estimates.num_views)
        )
        self._followed = self._estimated if any(g in ESTIMATE_GROUPS for g in config.groups) else self._true
        shown = visual or estimates
        self._num_views = 0 if shown is None else shown.num_views
        probabilities = config.failure_weighted_prob, config.pre_failure_prob, config.first_frame_prob
        self.sampler = StartSampler(self.library.lengths, *probabilities, longest=self.library.longest)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._pushes = None
        if config.push_force:
            self._pushes = RandomPushes(
                self.num_envs, config.push_force, config.push_steps, config.push_interval, self.device
            )
        self.assist = 0.0
        """Largest assistive force at the pelvis, N (see `assist_force`); set and annealed by the stages that use it."""
        self.num_diverged = 0
        """Episodes that ended because the physics diverged."""
        zeros = lambda dtype: torch.zeros(self.num_envs, dtype=dtype, device=self.device)  # noqa: E731
        self.clip_ids = zeros(torch.long)
        """(N,) clip that each environment tracks."""
        self.frame_ids = zeros(torch.long)
        """(N,) current frame of that clip."""
        self._view, self._steps, self._ended = zeros(torch.long), zeros(torch.long), zeros(torch.bool)
        self._all_envs = torch.arange(self.num_envs, device=self.device)
        self._obs: dict[str, torch.Tensor] = {}
        self._look_ahead(self._place)  # so that `pd_targets` works before the first reset
        self.reward_terms: dict[str, torch.Tensor] = {}
        """(N,) unweighted value of each reward term at the last step."""
        self.last_state: SimState | None = None
        """State after the last step, before any environment was reset."""

    # ---- gymnasium

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start new episodes.

        Args:
            seed: reseeds the generator that draws starts and views, and clears the failure statistics of the clips.
            options: {'clip': (K,) ids, 'frame': (K,) ids, 'view': (K,) ids} starts there instead of at random;
                {'state': BodyState of K rows} places the bodies there instead of on the reference;
                {'reset_mask': (N,) bool} resets only these K environments; all by default.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
            self.sampler.forget()
        options = options or {}
        rows = self._all_envs
        if "reset_mask" in options:
            rows = rows[torch.as_tensor(options["reset_mask"], dtype=torch.bool, device=self.device)]
        if len(rows):
            self._begin(rows, options)
        self._ended = self._ended.index_fill(0, rows, False)
        self._look_ahead(self._place)
        self._obs = self.observe(self.config.groups)
        return self._obs, {}

    def step(self, actions: torch.Tensor, push: torch.Tensor | None = None):
        """One control step (1/30 s) of every environment with actions (N, 69).

        `push` (N, 24, 3) N are forces on the bodies during this step (see `Simulator.step`), added to the random pushes of
        `config`.
        """
        if tuple(actions.shape) != (self.num_envs, NUM_DOFS):
            raise KitError(f"actions have shape {tuple(actions.shape)}; expected ({self.num_envs}, {NUM_DOFS})")
        with one_thread(), torch.inference_mode():
            obs, reward, terminated, truncated, info = self._advance(actions, push)
        # cloned into ordinary tensors, which autograd can save for a backward pass
        self._obs = {g: v.clone() for g, v in obs.items()}
        return self._obs, reward.clone(), terminated.clone(), truncated.clone(), _cloned(info)

    def _advance(self, actions: torch.Tensor, push: torch.Tensor | None):
        """A step in inference mode: physics, rewards, terminations, new episodes, observations."""
        if self._pushes is not None:
            drawn = self._pushes.draw(self.generator)
            push = drawn if push is None else drawn + push
        if self.assist:
            pull = assist_force(self.simulator.state, self._ahead, self.simulator.humanoid.mass, self.assist)
            push = pull if push is None else pull + push
        raw, ref = self.simulator.step(self.pd_targets(actions), push), self._ahead
        self.frame_ids += 1
        self._steps += 1
        mode, was_over = self.autoreset_mode, self._ended
        counted = raw.diverged if mode is AutoresetMode.SAME_STEP else raw.diverged & ~was_over
        sim = self.last_state = self._without_diverged(raw, ref, counted)
        reward = self._reward(sim, ref).masked_fill(sim.diverged, 0.0)
        if sim is not raw:  # diverged bodies were replaced by the reference, whose terms are perfect
            self.reward_terms = {k: v.masked_fill(sim.diverged, 0.0) for k, v in self.reward_terms.items()}
        terminated = self._failed(sim, ref) | sim.diverged
        over = self.frame_ids >= self.library.last_frames(self.clip_ids)
        if self.config.episode_length is not None:
            over |= self._steps >= self.config.episode_length
        truncated = over & ~terminated

        if mode is not AutoresetMode.SAME_STEP:  # steps of episodes that were over do not count
            terminated, truncated = terminated & ~was_over, truncated & ~was_over
        over_now = terminated | truncated
        ended = over_now.nonzero().squeeze(1)
        self._ended = was_over | over_now if mode is AutoresetMode.DISABLED else over_now
        if len(ended):
            self.sampler.report(self.clip_ids[ended], self.frame_ids[ended], terminated[ended])

        info: dict = {}
        if mode is AutoresetMode.SAME_STEP and len(ended):
            obs, info = self._roll_over(sim, ended)
        else:
            bodies: BodyState = sim
            if mode is AutoresetMode.NEXT_STEP and len(begin := was_over.nonzero().squeeze(1)):
                reward, bodies = reward.masked_fill(was_over, 0.0), self._restarted(sim, begin)
            obs = self._observe(bodies, self._place, self._look_ahead(self._place), self.config.groups)
        return obs, reward, terminated, truncated, info

    def _roll_over(self, sim: BodyState, ended: torch.Tensor) -> tuple[dict, dict]:
        """Restart the episodes that ended (K,) within this step.

        Their final observations are computed together with everyone's new ones, as K additional rows.
        """
        last, clip = Place(*(x[ended] for x in self._place)), self.clip_ids.clone()
        sim = self._restarted(_with_last(sim, ended), ended)
        places = Place(*map(torch.cat, zip(self._place, last, strict=True)))
        both = self._observe(sim, places, self._look_ahead(places), self.config.groups)
        obs = {g: v[: self.num_envs] for g, v in both.items()}
        final = {g: obs[g].index_copy(0, ended, v[self.num_envs :]) for g, v in both.items()}
        return obs, {
            "final_obs": final, "_final_obs": self._ended, "final_info": {"clip": clip}, "_final_info": self._ended,
        }  # fmt: skip

    def _restarted(self, sim: BodyState, rows: torch.Tensor) -> BodyState:
        """Start new episodes in these environments (K,); returns all bodies with theirs replaced."""
        starts = self._begin(rows, {})
        bodies = {name: with_rows(getattr(sim, name), rows, getattr(starts, name)) for name in _BODIES}
        return BodyState(**bodies, dof_pos=sim.dof_pos, dof_vel=sim.dof_vel)

    def close_extras(self, **kwargs):
        """Close the simulator."""
        self.simulator.close()

    # ---- used by stages and lessons

    def pd_targets(self, actions: torch.Tensor) -> torch.Tensor:
        """PD targets (N, 69) rad of actions under the configured control."""
        if self.config.control == "absolute":
            return action_maps.absolute_target(actions, self._scale)
        return self._target_around(self._followed, actions, self.config.control)

    def label(self, actions: torch.Tensor, control: str = "residual", learner: str | None = None) -> torch.Tensor:
        """Convert actions of an expert, which tracks the true reference, into a learner's actions for the same PD targets.

        Args:
            actions: (N, 69) of the expert.
            control: of the expert.
            learner: control of the learner; by default that of this environment.
        """
        target, learner = self._target_around(self._true, actions, control), learner or self.config.control
        if learner == "absolute":
            return action_maps.absolute_action(target, self._scale)
        rest = self._target_around(self._followed, torch.zeros_like(actions), learner)
        return action_maps.residual_action(target, rest)

    def observe(self, groups: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """Observation groups of the current state, including groups outside `config.groups` (for an expert or a critic)."""
        state = self._without_diverged(self.simulator.state, self.reference_state)
        return self._observe(state, self._place, self._ahead, groups)

    @property
    def reference_state(self) -> BodyState:
        """The reference at the current frame, N rows."""
        return self.library.frames(self.clip_ids, self.frame_ids)

    def state_dict(self) -> dict:
        """Everything needed to resume exactly: physics, episode counters, generator, sampler, last observation."""
        return {
            "simulator": self.simulator.save(),
            "clip": self.clip_ids.clone(),
            "frame": self.frame_ids.clone(),
            "view": self._view.clone(),
            "steps": self._steps.clone(),
            "ended": self._ended.clone(),
            "obs": {g: v.clone() for g, v in self._obs.items()},
            "generator": self.generator.get_state(),
            "sampler": self.sampler.state_dict(),
            "num_diverged": self.num_diverged,
            **({} if self._pushes is None else {"pushes": self._pushes.state_dict()}),
        }

    def load_state_dict(self, state: dict) -> dict[str, torch.Tensor]:
        """Restore a `state_dict`; returns the observation at that point.

        Raises:
            KitError: it was written by an incompatible version of the kit.
        """
        if missing := {"simulator", "obs", "ended"} - state.keys():
            raise KitError(
                f"the saved environment has no '{min(missing)}': it was written by another version of the kit; start a new run"
            )
        self.simulator.restore(state["simulator"])
        here = lambda key: state[key].clone().to(self.device)  # noqa: E731
        self.clip_ids, self.frame_ids, self._view, self._steps, self._ended = map(
            here, ("clip", "frame", "view", "steps", "ended")
        )
        self._obs = {g: v.clone().to(self.device) for g, v in state["obs"].items()}
        self._look_ahead(self._place)
        self.generator.set_state(state["generator"].cpu())
        self.sampler.load_state_dict(state["sampler"])
        self.num_diverged = state["num_diverged"]
        if self._pushes is not None:
            self._pushes.end(self._all_envs)
            if "pushes" in state:  # absent if the run began without pushes
                self._pushes.load_state_dict(state["pushes"])
        return self._obs

    # ---- parts of a step

    def _target_around(self, followed: ReferenceMotion, actions: torch.Tensor, control: str) -> torch.Tensor:
        """PD targets (N, 69) rad of residual or balanced actions around a motion."""
        humanoid, rows = self.simulator.humanoid, followed.rows(self._place, 1)
        target = action_maps.residual_target(actions, followed.targets(rows, humanoid))
        if control == "balanced":
            now = followed.states(self._place)
            target = target + virtual_model_targets(self._without_diverged(self.simulator.state, now), now, humanoid)
        return target

    @property
    def _place(self) -> Place:
        return Place(self.clip_ids, self.frame_ids, self._view)

    def _begin(self, rows: torch.Tensor, options: dict) -> BodyState:
        """Start an episode in some environments (K,); returns their initial states."""
        clips = options.get("clip")
        if clips is not None:
            clips = torch.as_tensor(clips, dtype=torch.long, device=self.device)
        drawn = dict(zip(("clip", "frame"), self.sampler.draw(len(rows), self.generator, clips), strict=True))
        if self.config.start == "first":
            drawn["frame"] = torch.zeros_like(drawn["frame"])
        if self._num_views:
            views = (self._num_views, (len(rows),))
            drawn["view"] = torch.randint(*views, generator=self.generator, device=self.device)
        for key, place in (("clip", self.clip_ids), ("frame", self.frame_ids), ("view", self._view)):
            if key in drawn:
                drawn[key] = torch.as_tensor(options.get(key, drawn[key]), dtype=torch.long, device=self.device)
                place.index_copy_(0, rows, drawn[key])
        self._steps.index_fill_(0, rows, 0)
        if self._pushes is not None:
            self._pushes.end(rows)
        starts = options.get("state") or self.library.starts(self.library.rows(drawn["clip"], drawn["frame"]))
        self.simulator.reset(rows, starts, settled=True)
        return starts

    def _look_ahead(self, place: Place) -> BodyState:
        """The reference one control step after M places, the first N of which are the environments.

        Those N rows are kept; the next step is compared with them.
        """
        ahead, n = self._true.states(place, 1), self.num_envs
        self._ahead = ahead if len(place.clip) == n else ahead[:n]
        return ahead

    def _observe(
        self, sim: BodyState, place: Place, ahead: BodyState, groups: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Observation groups of M bodies; `ahead` is the reference one control step after their places."""
        yaw = heading(sim.root_rot)
        obs = {}
        if "proprioception" in groups:
            obs["proprioception"] = observations.proprioception(sim, yaw)
        if "reference" in groups:
            obs["reference"] = observations.reference(sim, ahead, yaw)
        if "preview" in groups:
            obs["preview"] = observations.preview(sim, self._true.preview(place), yaw)
        if "estimate" in groups or "root_position" in groups:
            exact = self._estimated is self._true
            estimated = ahead if exact else self._estimated.states(place, 1)
            if "estimate" in groups:
                obs["estimate"] = observations.reference(sim, estimated, yaw)
            if "root_position" in groups:
                obs["root_position"] = observations.root_position(sim, estimated.root_pos, yaw)
        if "estimate_preview" in groups:
            obs["estimate_preview"] = observations.preview(sim, self._estimated.preview(place), yaw)
        if any(g in VISUAL_GROUPS for g in groups):
            obs |= self._visual_groups(sim, yaw, place)
        return {g: obs[g] for g in groups}

    def _visual_groups(self, sim: BodyState, yaw: torch.Tensor, place: Place) -> dict[str, torch.Tensor]:
        """`VISUAL_GROUPS` of the camera frame one control step ahead."""
        visual = self.visual
        assert visual is not None, "checked in __init__"
        at = visual.rows(place.clip, place.view, place.frame + 1)
        joints = sim.body_pos[:, list(RAY_JOINTS)]
        return {
            "rays": observations.rays(joints, visual.centre[at], visual.ray_point[at], yaw),
            "ray_confidence": visual.ray_confidence[at],
            "feature": visual.feature[at],
            "root_orientation": observations.root_orientation(visual.root_rot[at], yaw),
        }

    def _reward(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        step = rewards.Step(sim, ref, self._masses, self._steps, self._camera_view())
        weights = {name: getattr(self.config.reward, name) for name in rewards.TERMS}
        self.reward_terms = {name: rewards.TERMS[name](step) for name, weight in weights.items() if weight != 0}
        zero = torch.zeros(self.num_envs, device=self.device)
        return sum((weights[name] * value for name, value in self.reward_terms.items()), zero)

    def _camera_view(self) -> rewards.View | None:
        """The camera's view of the current frame, if a reward needs it."""
        if self.visual is None or self.config.reward.rays == 0:
            return None
        at = self.visual.rows(self.clip_ids, self._view, self.frame_ids)
        return rewards.View(self.visual.centre[at], self.visual.ray_point[at], self.visual.ray_confidence[at])

    def _failed(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        if self.config.termination == "none":
            return torch.zeros_like(sim.diverged)
        rule = _TERMINATIONS[self.config.termination]
        return rule(sim.body_pos, ref.body_pos, self.config.termination_distance)

    def _without_diverged(self, sim: SimState, ref: BodyState, counted: torch.Tensor | None = None) -> SimState:
        """Replace diverged bodies by the reference, so that no NaN reaches an observation; `diverged` stays set.

        `counted` (N,) bool are the environments to add to `num_diverged`.
        """
        rows = sim.diverged.nonzero().squeeze(1)
        if len(rows) == 0:
            return sim
        self.num_diverged += 0 if counted is None else int(counted.sum())
        contact_force, dof_torque = (torch.zeros_like(x[rows]) for x in (sim.contact_force, sim.dof_torque))
        return sim.with_rows(rows, SimState.of(ref[rows], contact_force, dof_torque, sim.diverged[rows]))
