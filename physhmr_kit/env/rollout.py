"""`track_clips`: a policy tracks whole clips from the first frame; the results are `Rollout`s."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.following import LOST_DISTANCE
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation.contract import SimState
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import read_arrays, write_arrays

Policy = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""Deterministic map from observation groups to actions (N, 69)."""

_MAX_ENVS = 512  # in parallel; a state is 6 kB and every frame of it is kept


@dataclass(frozen=True)
class Rollout:
    """One clip as tracked, from its first frame to its end or to the failure. T frames at 30 fps.

    Attributes:
        name: name of the clip.
        reference, simulated: BodyStates of T rows.
        contact_force: (T, 24, 3) N. dof_torque: (T, 69) N m.
        rewards: term -> (T,) unweighted values (0 at the first frame, before any step).
        length: frames of the whole clip; T is smaller after a failure.
        success: the clip was tracked to its end.
        fail_frame: frame of the failure, or None.
    """

    name: str
    reference: BodyState
    simulated: BodyState
    contact_force: torch.Tensor
    dof_torque: torch.Tensor
    rewards: dict[str, torch.Tensor]
    length: int
    success: bool
    fail_frame: int | None
    fps: float = 30.0

    def __len__(self) -> int:
        return len(self.simulated)

    def save(self, path: str | os.PathLike) -> Path:
        """Write an .npz; the file appears whole or not at all."""
        arrays = {
            "name": np.array(self.name), "fps": np.array(self.fps), "length": np.array(self.length),
            "fail_frame": np.array(-1 if self.fail_frame is None else self.fail_frame),
            "contact_force": self.contact_force.numpy(), "dof_torque": self.dof_torque.numpy(),
        }  # fmt: skip
        for side in ("reference", "simulated"):
            arrays |= {f"{side}/{f.name}": getattr(getattr(self, side), f.name).numpy() for f in fields(BodyState)}
        arrays |= {f"reward/{k}": v.numpy() for k, v in self.rewards.items()}
        return write_arrays(path, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Rollout:
        """Read a rollout.

        Raises:
            KitError: missing or not a rollout file.
        """
        arrays = read_arrays(path, "rollout")
        try:
            tensors = {k: torch.from_numpy(v) for k, v in arrays.items() if v.dtype.kind in "fiub"}
            states = {
                side: BodyState(**{f.name: tensors[f"{side}/{f.name}"] for f in fields(BodyState)})
                for side in ("reference", "simulated")
            }
            fail = int(arrays["fail_frame"])
            return cls(
                name=str(arrays["name"]),
                contact_force=tensors["contact_force"],
                dof_torque=tensors["dof_torque"],
                rewards={k.removeprefix("reward/"): v for k, v in tensors.items() if k.startswith("reward/")},
                length=int(arrays["length"]),
                success=fail < 0,
                fail_frame=None if fail < 0 else fail,
                fps=float(arrays["fps"]),
                **states,
            )
        except (KeyError, ValueError, TypeError) as fault:
            raise KitError(f"{path}: not a readable rollout ({fault})") from fault


def evaluation_env(
    library: MotionLibrary,
    config: TrackingConfig,
    visual: VisualLibrary | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    num_envs: int | None = None,
    device: str | torch.device | None = None,
) -> TrackingEnv:
    """An environment that tracks whole clips under PHC's evaluation rule: a mean body distance above 0.5 m fails.

    Observations, control and rewards are those of `config`, and so is the `relative` termination (for video). No pushes.

    Args:
        num_envs: by default one per clip, at most 512.
        simulator, substeps, device: see `make_simulator`.
    """
    config = replace(
        config,
        termination="relative" if config.termination == "relative" else "mean",
        termination_distance=LOST_DISTANCE,
        episode_length=None,
        start="first",
        push_force=0.0,
    )
    count = min(library.num_clips, _MAX_ENVS) if num_envs is None else num_envs
    physics = make_simulator(simulator, num_envs=count, device=device, substeps=substeps)
    return TrackingEnv(library, physics, config, visual)


@torch.no_grad()
def follow_clips(
    policy: Policy,
    env: TrackingEnv,
    clips: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    push: Callable[[int], torch.Tensor | None] | None = None,
) -> list[Rollout]:
    """Track clips in an `evaluation_env` from their first frames, `env.num_envs` at a time. Cameras show view 0 of each clip.

    Args:
        policy: deterministic map from observation groups to actions.
        clips: (M,) ids of the clips to track, with repetitions; every clip once by default.
        progress: called with (frames done, total frames).
        push: forces on the bodies in the step that begins at a frame, (M, 24, 3) N or None; see `Simulator.step`.
    """
    ids = list(range(env.library.num_clips)) if clips is None else [int(c) for c in clips]
    chunks = [range(i, min(i + env.num_envs, len(ids))) for i in range(0, len(ids), env.num_envs)]
    longest = [int(env.library.lengths[[ids[k] for k in chunk]].max()) for chunk in chunks]
    rollouts: list[Rollout] = []
    for k, chunk in enumerate(chunks):
        chunk_ids = [ids[i] for i in chunk]
        # environments without a clip of their own track the first one and are not recorded
        clip = torch.tensor(chunk_ids + chunk_ids[:1] * (env.num_envs - len(chunk)))
        start = torch.zeros_like(clip)
        obs, _ = env.reset(seed=0, options={"clip": clip, "frame": start, "view": start})
        recorder = _Recorder(env, len(chunk))
        for frame in range(1, longest[k]):
            force = None if push is None else _rows_of(push(frame - 1), chunk, env.num_envs)
            obs, _, terminated, truncated, _ = env.step(policy(obs), force)
            recorder.add(frame, terminated, truncated)
            if progress:
                progress(sum(longest[:k]) + frame + 1, sum(longest))
            if not recorder.running.any():
                break
        rollouts += recorder.rollouts(env.library, chunk_ids)
    return rollouts


def _rows_of(force: torch.Tensor | None, chunk: range, num_envs: int) -> torch.Tensor | None:
    """The rows of a chunk, padded with zeros to `num_envs` rows."""
    if force is None:
        return None
    rows = force[chunk.start : chunk.stop]
    return torch.cat([rows, rows.new_zeros(num_envs - len(rows), *rows.shape[1:])])


def track_clips(
    policy: Policy,
    library: MotionLibrary,
    config: TrackingConfig,
    visual: VisualLibrary | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    progress: Callable[[int, int], None] | None = None,
    device: str | torch.device | None = None,
    clips: Sequence[int] | None = None,
    push: Callable[[int], torch.Tensor | None] | None = None,
) -> list[Rollout]:
    """Track every clip of a library once (or `clips`): `follow_clips` in a temporary `evaluation_env`.

    A policy that is a module is moved to the simulator's device.
    """
    count = min(library.num_clips if clips is None else len(clips), _MAX_ENVS)
    env = evaluation_env(library, config, visual, simulator, substeps, count, device)
    if isinstance(policy, torch.nn.Module):
        policy.to(env.device)
    try:
        return follow_clips(policy, env, clips, progress, push)
    finally:
        env.close()


class _Recorder:
    """Records the first `count` environments from frame 0 until the end of their episodes."""

    def __init__(self, env: TrackingEnv, count: int):
        self.env = env
        self.running = torch.arange(env.num_envs, device=env.device) < count
        self.last = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
        self.failed = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self.frames = [env.simulator.state]
        self.terms: list[dict[str, torch.Tensor]] = [{}]

    def add(self, frame: int, terminated: torch.Tensor, truncated: torch.Tensor) -> None:
        assert self.env.last_state is not None  # add is called after a step
        self.frames.append(self.env.last_state)
        self.terms.append(self.env.reward_terms)
        ended = self.running & (terminated | truncated)
        self.last[self.running] = frame
        self.failed |= ended & terminated
        self.running &= ~ended

    def rollouts(self, library: MotionLibrary, clips: list[int]) -> list[Rollout]:
        stacked = {f.name: torch.stack([getattr(s, f.name) for s in self.frames]).cpu() for f in fields(SimState)}
        terms = {k: torch.stack([t[k] for t in self.terms[1:]]).cpu() for k in self.terms[-1]}  # (T - 1, C)
        result = []
        for row, clip in enumerate(clips):
            count, failed = int(self.last[row]) + 1, bool(self.failed[row])
            cut = {name: rows[:count, row] for name, rows in stacked.items()}
            result.append(
                Rollout(
                    name=library.names[clip],
                    reference=library.clip(clip)[:count].to("cpu"),
                    simulated=BodyState(**{f.name: cut[f.name] for f in fields(BodyState)}),
                    contact_force=cut["contact_force"],
                    dof_torque=cut["dof_torque"],
                    rewards={k: torch.cat([torch.zeros(1), rows[: count - 1, row]]) for k, rows in terms.items()},
                    length=int(library.lengths[clip]),
                    success=not failed,
                    fail_frame=count - 1 if failed else None,
                )
            )
        return result
