"""`track_clips`: let a policy follow whole clips from the first frame, and keep what happened as `Rollout`s."""

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
from physhmr_kit.utils.files import write_arrays

Policy = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""Observation groups to actions (N, 69)."""


@dataclass(frozen=True)
class Rollout:
    """One clip as tracked, from its first frame to its end or to the failure. T frames at 30 fps.

    Attributes:
        name: the clip's.
        reference, simulated: BodyStates of T rows.
        contact_force: (T, 24, 3) N. dof_torque: (T, 69) N m.
        rewards: term -> (T,) unweighted values (the first frame, before any step, is 0).
        length: frames of the whole clip; T is smaller after a failure.
        success: the clip was followed to its end.
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
        arrays = {"name": np.array(self.name), "fps": np.array(self.fps), "length": np.array(self.length)}
        arrays |= {"fail_frame": np.array(-1 if self.fail_frame is None else self.fail_frame)}
        arrays |= {"contact_force": self.contact_force.numpy(), "dof_torque": self.dof_torque.numpy()}
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
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {k: data[k] for k in data.files}
            states = {
                side: BodyState(**{f.name: torch.from_numpy(arrays[f"{side}/{f.name}"]) for f in fields(BodyState)})
                for side in ("reference", "simulated")
            }
            fail = int(arrays["fail_frame"])
            return cls(
                name=str(arrays["name"]),
                contact_force=torch.from_numpy(arrays["contact_force"]),
                dof_torque=torch.from_numpy(arrays["dof_torque"]),
                rewards={k.split("/", 1)[1]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("reward/")},
                length=int(arrays["length"]),
                success=fail < 0,
                fail_frame=None if fail < 0 else fail,
                fps=float(arrays["fps"]),
                **states,
            )
        except Exception as fault:  # a damaged archive raises almost anything (zlib, zipfile, tokenize)
            raise KitError(f"{path}: not a readable rollout ({fault})") from fault


@torch.no_grad()
def track_clips(
    policy: Policy,
    library: MotionLibrary,
    config: TrackingConfig,
    visual: VisualLibrary | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    progress: Callable[[int, int], None] | None = None,
    device: str | None = None,
    clips: Sequence[int] | None = None,
    push: Callable[[int], torch.Tensor | None] | None = None,
) -> list[Rollout]:
    """Follow every clip of the library once, all side by side, each from its first frame.

    An episode fails by PHC's evaluation rule (mean body distance beyond 0.5 m) whatever `config` says, and nobody pushes but
    `push`; rewards and observations are `config`'s. View 0 of each clip is shown to a policy that sees.

    Args:
        policy: deterministic map from observation groups to actions.
        simulator, substeps, device: see `make_simulator`. A policy that is a module is moved to the simulator's device.
        progress: called with (frames done, frames of the longest clip).
        clips: (M,) ids of the clips to follow, one as often as it is named; every clip once by default.
        push: which forces act on the bodies in the step that begins at a frame, (M, 24, 3) N or None; see `Simulator.step`.
    """
    ids = torch.arange(library.num_clips) if clips is None else torch.as_tensor(clips)
    everything = replace(
        config,
        termination="mean", termination_distance=LOST_DISTANCE, start="first", episode_length=0, push_force=0.0,
    )  # fmt: skip
    sim = make_simulator(simulator, num_envs=len(ids), device=device, substeps=substeps)
    env = TrackingEnv(library, sim, everything, visual)
    if isinstance(policy, torch.nn.Module):
        policy.to(env.device)
    obs, _ = env.reset(seed=0, options={"clip": ids, "frame": torch.zeros_like(ids), "view": torch.zeros_like(ids)})
    recorder = _Recorder(env)
    longest = int(library.lengths[ids].max())
    try:
        for frame in range(1, longest):
            obs, _, terminated, truncated, _ = env.step(policy(obs), push(frame - 1) if push else None)
            recorder.add(frame, terminated, truncated)
            if progress:
                progress(frame + 1, longest)
            if not recorder.running.any():
                break
    finally:
        env.close()
    return recorder.rollouts(library, ids.tolist())


class _Recorder:
    """Collects the simulated states of the episodes that began at frame 0, until each one ends."""

    def __init__(self, env: TrackingEnv):
        self.env = env
        self.running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self.last = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
        self.failed = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self.frames = [env.simulator.state]
        self.terms: list[dict[str, torch.Tensor]] = [{}]

    def add(self, frame: int, terminated: torch.Tensor, truncated: torch.Tensor) -> None:
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
