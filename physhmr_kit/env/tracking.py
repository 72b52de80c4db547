"""`TrackingEnv`: the Markov decision process of the kit, a gymnasium VectorEnv over any Simulator."""

from __future__ import annotations

import contextlib
from dataclasses import fields

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS
from physhmr_kit.env import actions as action_maps
from physhmr_kit.env import observations, rewards, terminations
from physhmr_kit.env.assist import assist_force
from physhmr_kit.env.pushes import RandomPushes
from physhmr_kit.env.reference_motion import Estimates, Place, ReferenceMotion
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.env.settings import ESTIMATE_GROUPS, VISUAL_GROUPS, RewardWeights, TrackingConfig
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

_AUTORESET = {
    "same_step": AutoresetMode.SAME_STEP, "next_step": AutoresetMode.NEXT_STEP, "disabled": AutoresetMode.DISABLED,
}  # fmt: skip


_TERMINATIONS = {
    "any": terminations.any_body_far, "mean": terminations.mean_body_far, "relative": terminations.relative_body_far,
}  # fmt: skip
_BODIES = ("body_pos", "body_rot", "body_lin_vel", "body_ang_vel")


def _with_last(state: BodyState, ended: torch.Tensor) -> BodyState:
    """The bodies of all environments (N, ...), and once more of those that ended (K, ...), behind them."""
    # joined with the batch last in memory, as kinematics leaves it (body/quaternions.py)
    flipped = (getattr(state, name).permute(2, 1, 0) for name in _BODIES)
    joined = (torch.cat([x, x.index_select(2, ended)], dim=2).permute(2, 1, 0) for x in flipped)
    return BodyState(**dict(zip(_BODIES, joined, strict=True)), dof_pos=state.dof_pos, dof_vel=state.dof_vel)


def _cloned(info: dict) -> dict:
    return {k: _cloned(v) if isinstance(v, dict) else v.clone() for k, v in info.items()}


@contextlib.contextmanager
def _quick():
    """How a step is computed: without autograd's bookkeeping, and on one thread."""
    with one_thread(), torch.inference_mode():
        yield


class TrackingEnv(VectorEnv):
    """N humanoids, each following a clip. Tensors in, tensors out, all on the simulator's device.

    *Terminated* means failed (value 0), *truncated* means the clip or the time ran out (bootstrap from the final
    observation). What happens after an episode has ended is gymnasium's autoreset mode:

    - `same_step` (the kit's own): the step that ends an episode returns the first observation of the next one, and
      the last one of the old in `info["final_obs"]` (dense tensors, valid where `info["_final_obs"]`).
    - `next_step`: it returns the last observation; the next step ignores the action of that environment and returns the
      first observation of its new episode with reward 0. Such steps are not to be learned from.
    - `disabled`: it returns the last observation, and the caller resets with `options={"reset_mask": ...}`.

    Rewards, failures and the end of an episode follow the true reference, `library`. A policy that reads the groups
    `estimate`, `estimate_preview` and `root_position` follows an estimate of it instead, and its residual or balanced actions are added to
    targets that follow the estimate.

    Observations are also what a `state_dict` keeps: do not write into them. `last_state` and `reward_terms` are inference
    tensors (PyTorch): clone them to write into them or to differentiate.

    Args:
        library: the reference motions, on any device.
        simulator: built for the wanted number of environments.
        config: what an episode is.
        visual: what cameras saw; needed for the visual groups.
        estimates: what is believed of the motions, as many views of each clip as `visual` has; the refined estimates of
            `visual` when omitted. With neither, an estimate is the reference itself.
        seed: of the environment's own generator.
        autoreset: 'same_step', 'next_step' or 'disabled'.

    Raises:
        KitError: visual groups without a VisualLibrary, an action of the wrong shape, other views than estimates.
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
        sees = any(g in VISUAL_GROUPS for g in config.groups) or config.reward.rays != 0
        if visual is None and sees:
            raise KitError("the observation or the reward asks for a camera's view but no visual tracks were given")
        if visual is not None and estimates is None and any(g in ESTIMATE_GROUPS for g in config.groups):
            estimates = visual.estimates
        if visual is not None and estimates is not None and visual.num_views != estimates.num_views:
            raise KitError(f"{visual.num_views} views of each clip but {estimates.num_views} estimates")
        if autoreset not in _AUTORESET:
            raise KitError(f"autoreset is '{autoreset}'; choose one of: {', '.join(_AUTORESET)}")
        self.simulator, self.config, self.device = simulator, config, simulator.device
        self.library, self.visual = library.to(self.device), None if visual is None else visual.to(self.device)
        self.num_envs, self.render_mode = simulator.num_envs, None
        self.metadata = {**self.metadata, "autoreset_mode": _AUTORESET[autoreset]}
        box = lambda width: gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)  # noqa: E731
        self.single_observation_space = gym.spaces.Dict({g: box(observations.GROUP_SIZES[g]) for g in config.groups})
        self.single_action_space = box(NUM_DOFS)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        humanoid: Humanoid = simulator.humanoid
        self._scale = action_maps.absolute_scale(humanoid).to(self.device)
        self._masses = (humanoid.segment_masses() / humanoid.mass).to(self.device)
        self._true = ReferenceMotion(self.library)
        self._estimated = (
            self._true if estimates is None else ReferenceMotion(estimates.library.to(self.device), estimates.num_views)
        )
        self._followed = self._estimated if any(g in ESTIMATE_GROUPS for g in config.groups) else self._true
        shown = visual or estimates
        self._num_views = 0 if shown is None else shown.num_views
        self.sampler = StartSampler(
            self.library.lengths,
            config.failure_weighted_prob,
            config.pre_failure_prob,
            config.first_frame_prob,
            longest=self.library.longest,
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._pushes = None
        if config.push_force:
            self._pushes = RandomPushes(
                self.num_envs, config.push_force, config.push_steps, config.push_interval, self.device
            )
        self.assist = 0.0
        """Largest assistive force at the pelvis now, N (see `assist_force`); a stage that trains with it sets it anew and anneals it to zero."""
        self.num_diverged = 0
        self._clip, self._frame, self._view, self._steps = torch.zeros(
            4, self.num_envs, dtype=torch.long, device=self.device
        )
        self._everyone = torch.arange(self.num_envs, device=self.device)
        self._ended = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._obs: dict[str, torch.Tensor] = {}
        self._look_ahead(self._place)  # so that targets can be asked for before the first reset
        self.reward_terms: dict[str, torch.Tensor] = {}
        """(N,) unweighted value of each reward term at the last step."""
        self.last_state: SimState | None = None
        """Where the last step led, before any environment was reset."""

    # ---- gymnasium

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start environments anew.

        Args:
            seed: reseeds the generator that draws starts and views, and forgets which clips have failed.
            options: {'clip': (K,) ids, 'frame': (K,) ids, 'view': (K,) ids} begins there instead of at random;
                {'state': BodyState of K rows} puts the bodies there instead of onto the reference;
                {'reset_mask': (N,) bool} starts only these K environments, all by default.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
            self.sampler.forget()
        options = options or {}
        rows = self._everyone
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

        `push` (N, 24, 3) N are forces on the bodies during this step (see `Simulator.step`), on top of the random ones that
        `config` may ask for.
        """
        if tuple(actions.shape) != (self.num_envs, NUM_DOFS):
            raise KitError(f"actions have shape {tuple(actions.shape)}; expected ({self.num_envs}, {NUM_DOFS})")
        with _quick():
            obs, reward, terminated, truncated, info = self._advance(actions, push)
        # handed out as ordinary tensors, which a network may keep for its backward pass
        self._obs = {g: v.clone() for g, v in obs.items()}
        return self._obs, reward.clone(), terminated.clone(), truncated.clone(), _cloned(info)

    def _advance(self, actions: torch.Tensor, push: torch.Tensor | None):
        """The step in the order in which it happens: physics, reward, end of episodes, new episodes, observation."""
        if self._pushes is not None:
            drawn = self._pushes.draw(self.generator)
            push = drawn if push is None else drawn + push
        if self.assist:
            pull = assist_force(self.simulator.state, self._ahead, self.simulator.humanoid.mass, self.assist)
            push = pull if push is None else pull + push
        raw, ref = self.simulator.step(self.pd_targets(actions), push), self._ahead
        self._frame += 1
        self._steps += 1
        mode, again = self.autoreset_mode, self._ended
        counted = raw.diverged if mode is AutoresetMode.SAME_STEP else raw.diverged & ~again
        sim = self.last_state = self._without_diverged(raw, ref, counted)
        reward = self._reward(sim, ref).masked_fill(sim.diverged, 0.0)
        if sim is not raw:  # the stand-in imitates perfectly; it earns nothing
            self.reward_terms = {k: v.masked_fill(sim.diverged, 0.0) for k, v in self.reward_terms.items()}
        terminated = self._failed(sim, ref) | sim.diverged
        over = self._frame >= self.library.last_frames(self._clip)
        if self.config.episode_length is not None:
            over |= self._steps >= self.config.episode_length
        truncated = over & ~terminated

        if mode is not AutoresetMode.SAME_STEP:  # a step of an episode that was over is no step
            terminated, truncated = terminated & ~again, truncated & ~again
        over_now = terminated | truncated
        ended = over_now.nonzero().squeeze(1)
        self._ended = again | over_now if mode is AutoresetMode.DISABLED else over_now
        if len(ended):
            self.sampler.report(self._clip[ended], self._frame[ended], terminated[ended])

        info: dict = {}
        if mode is AutoresetMode.SAME_STEP and len(ended):
            obs, info = self._roll_over(sim, ended)
        else:
            bodies: BodyState = sim
            if mode is AutoresetMode.NEXT_STEP and len(begin := again.nonzero().squeeze(1)):
                reward, bodies = reward.masked_fill(again, 0.0), self._restarted(sim, begin)
            obs = self._observe(bodies, self._place, self._look_ahead(self._place), self.config.groups)
        return obs, reward, terminated, truncated, info

    def _roll_over(self, sim: BodyState, ended: torch.Tensor) -> tuple[dict, dict]:
        """Episodes that ended (K,) begin anew at once.

        Their last observations are made in one go with everybody's present ones, in rows of their own behind the others.
        """
        last, clip = Place(*(x[ended] for x in self._place)), self._clip.clone()
        sim = self._restarted(_with_last(sim, ended), ended)
        places = Place(*map(torch.cat, zip(self._place, last, strict=True)))
        both = self._observe(sim, places, self._look_ahead(places), self.config.groups)
        obs = {g: v[: self.num_envs] for g, v in both.items()}
        final = {g: obs[g].index_copy(0, ended, v[self.num_envs :]) for g, v in both.items()}
        return obs, {
            "final_obs": final, "_final_obs": self._ended, "final_info": {"clip": clip}, "_final_info": self._ended,
        }  # fmt: skip

    def _restarted(self, sim: BodyState, rows: torch.Tensor) -> BodyState:
        """The bodies with these environments at the start of a new episode."""
        starts = self._begin(rows, {})
        bodies = {name: with_rows(getattr(sim, name), rows, getattr(starts, name)) for name in _BODIES}
        return BodyState(**bodies, dof_pos=sim.dof_pos, dof_vel=sim.dof_vel)

    def close_extras(self, **kwargs):
        """Close the simulator."""
        self.simulator.close()

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """The same as in `metadata`, where some libraries (TorchRL) look for it."""
        return self.metadata["autoreset_mode"]

    # ---- what stages and lessons look at

    def pd_targets(self, actions: torch.Tensor) -> torch.Tensor:
        """PD targets (N, 69) rad that these actions ask for, by the configured control."""
        if self.config.control == "absolute":
            return action_maps.absolute_target(actions, self._scale)
        return self._target_around(self._followed, actions, self.config.control)

    def label(self, actions: torch.Tensor, control: str = "residual", learner: str | None = None) -> torch.Tensor:
        """The actions (N, 69) by which a learner asks for the same targets as an expert, who follows the true reference.

        Args:
            actions: (N, 69) the expert's.
            control: the expert's.
            learner: the learner's control; that of this environment when omitted.
        """
        target, learner = self._target_around(self._true, actions, control), learner or self.config.control
        if learner == "absolute":
            return action_maps.absolute_action(target, self._scale)
        rest = self._target_around(self._followed, torch.zeros_like(actions), learner)
        return action_maps.residual_action(target, rest)

    def observe(self, groups: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """Any observation groups of the present state, also ones the policy does not read (an expert's, a critic's)."""
        state = self._without_diverged(self.simulator.state, self.reference_state)
        return self._observe(state, self._place, self._ahead, groups)

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
        """Everything an exact resume needs: physics, clocks, generator, sampler, what was last observed."""
        return {
            "simulator": self.simulator.save(),
            "clip": self._clip.clone(),
            "frame": self._frame.clone(),
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
        """Take up a `state_dict`; returns the observation at that point.

        Raises:
            KitError: it was written by a version of the kit that kept other things.
        """
        if missing := {"simulator", "obs", "ended"} - state.keys():
            raise KitError(
                f"the saved environment has no '{min(missing)}': it was written by another version of the kit; begin a new run"
            )
        self.simulator.restore(state["simulator"])
        here = lambda key: state[key].clone().to(self.device)  # noqa: E731
        self._clip, self._frame, self._view, self._steps, self._ended = map(
            here, ("clip", "frame", "view", "steps", "ended")
        )
        self._obs = {g: v.clone().to(self.device) for g, v in state["obs"].items()}
        self._look_ahead(self._place)
        self.generator.set_state(state["generator"].cpu())
        self.sampler.load_state_dict(state["sampler"])
        self.num_diverged = state["num_diverged"]
        if self._pushes is not None:
            self._pushes.end(self._everyone)
            if "pushes" in state:  # not there when the run began without pushes
                self._pushes.load_state_dict(state["pushes"])
        return self._obs

    # ---- parts of a step

    def _target_around(self, followed: ReferenceMotion, actions: torch.Tensor, control: str) -> torch.Tensor:
        """PD targets (N, 69) of actions around the motion that is followed."""
        humanoid, rows = self.simulator.humanoid, followed.rows(self._place, 1)
        target = action_maps.residual_target(actions, followed.targets(rows, humanoid))
        if control == "balanced":
            now = followed.at(followed.rows(self._place))
            target = target + virtual_model_targets(self._without_diverged(self.simulator.state, now), now, humanoid)
        return target

    @property
    def _place(self) -> Place:
        return Place(self._clip, self._frame, self._view)

    def _begin(self, rows: torch.Tensor, options: dict) -> BodyState:
        """Start an episode in some environments (K,); returns the states they start in."""
        clips = options.get("clip")
        if clips is not None:
            clips = torch.as_tensor(clips, dtype=torch.long, device=self.device)
        drawn = dict(zip(("clip", "frame"), self.sampler.draw(len(rows), self.generator, clips), strict=True))
        if self.config.start == "first":
            drawn["frame"] = torch.zeros_like(drawn["frame"])
        if self._num_views:
            views = (self._num_views, (len(rows),))
            drawn["view"] = torch.randint(*views, generator=self.generator, device=self.device)
        for key, place in (("clip", self._clip), ("frame", self._frame), ("view", self._view)):
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
        """The reference one control step ahead of M places, whose first N are the environments.

        Their part is kept: the next step is measured against it.
        """
        ahead, n = self._true.at(self._true.rows(place, 1)), self.num_envs
        self._ahead = ahead if len(place.clip) == n else ahead[:n]
        return ahead

    def _observe(
        self, sim: BodyState, place: Place, ahead: BodyState, groups: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """Observation groups of M bodies at their places, with the reference one control step ahead of them."""
        yaw = heading(sim.root_rot)
        obs = {}
        if "proprioception" in groups:
            obs["proprioception"] = observations.proprioception(sim, yaw)
        if "reference" in groups:
            obs["reference"] = observations.reference(sim, ahead, yaw)
        if "preview" in groups:
            obs["preview"] = observations.preview(sim, self._true.glimpse(place), yaw)
        if "estimate" in groups or "root_position" in groups:
            exact = self._estimated is self._true
            believed = ahead if exact else self._estimated.at(self._estimated.rows(place, 1))
            if "estimate" in groups:
                obs["estimate"] = observations.reference(sim, believed, yaw)
            if "root_position" in groups:
                obs["root_position"] = observations.root_position(sim, believed.root_pos, yaw)
        if "estimate_preview" in groups:
            obs["estimate_preview"] = observations.preview(sim, self._estimated.glimpse(place), yaw)
        if any(g in VISUAL_GROUPS for g in groups):
            obs |= self._look(sim, yaw, place)
        return {g: obs[g] for g in groups}

    def _look(self, sim: BodyState, yaw: torch.Tensor, place: Place) -> dict[str, torch.Tensor]:
        """The groups that a camera gives, one control step ahead."""
        visual = self.visual
        assert visual is not None, "__init__ refuses these groups without tracks"
        at = visual.rows(place.clip, place.view, place.frame + 1)
        joints = sim.body_pos[:, list(RAY_JOINTS)]
        return {
            "rays": observations.rays(joints, visual.centre[at], visual.ray_point[at], yaw),
            "ray_confidence": visual.ray_confidence[at],
            "feature": visual.feature[at],
            "root_orientation": observations.root_orientation(visual.root_rot[at], yaw),
        }

    def _reward(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        step = rewards.Step(sim, ref, self._masses, self._steps, self._viewed())
        weights = {name: getattr(self.config.reward, name) for name in rewards.TERMS}
        self.reward_terms = {name: rewards.TERMS[name](step) for name, weight in weights.items() if weight != 0}
        nothing = torch.zeros(self.num_envs, device=self.device)
        return sum((weights[name] * value for name, value in self.reward_terms.items()), nothing)

    def _viewed(self) -> rewards.View | None:
        """What the camera sees at the present frame, if a reward asks for it."""
        if self.visual is None or self.config.reward.rays == 0:
            return None
        at = self.visual.rows(self._clip, self._view, self._frame)
        return rewards.View(self.visual.centre[at], self.visual.ray_point[at], self.visual.ray_confidence[at])

    def _failed(self, sim: SimState, ref: BodyState) -> torch.Tensor:
        if self.config.termination == "none":
            return torch.zeros_like(sim.diverged)
        rule = _TERMINATIONS[self.config.termination]
        return rule(sim.body_pos, ref.body_pos, self.config.termination_distance)

    def _without_diverged(self, sim: SimState, ref: BodyState, counted: torch.Tensor | None = None) -> SimState:
        """Put the reference where the physics blew up, so that no NaN reaches an observation; `diverged` stays set.

        `counted` (N,) bool are the environments that go into `num_diverged`.
        """
        rows = sim.diverged.nonzero().squeeze(1)
        if len(rows) == 0:
            return sim
        self.num_diverged += 0 if counted is None else int(counted.sum())
        stand_in = ref[rows]
        body = {f.name: getattr(stand_in, f.name) for f in fields(BodyState)}
        still = {k: torch.zeros_like(getattr(sim, k)[rows]) for k in ("contact_force", "dof_torque")}
        return sim.with_rows(rows, SimState(**body, **still, diverged=sim.diverged[rows]))
