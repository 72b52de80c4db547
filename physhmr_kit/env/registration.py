"""`gymnasium.make_vec("PhysHMR/Tracking-v0")`: the tracking environment with NumPy arrays, for other libraries.

    import gymnasium, physhmr_kit
    envs = gymnasium.make_vec("PhysHMR/Tracking-v0", num_envs=16, clips=["demo:walk_forward"], control="absolute")

The kit's own stages use `TrackingEnv` and its tensors directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from data_prep.sources import load_library
from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation.registry import make_simulator
from physhmr_kit.utils.errors import KitError


class NumpyTracking(VectorWrapper):
    """A `TrackingEnv` with NumPy arrays; `unwrapped` is the environment of tensors.

    Observations, including `final_obs`, are new float32 arrays of shape (num_envs, width).
    """

    env: TrackingEnv

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """Same as in `metadata`; TorchRL looks for it here."""
        return self.env.autoreset_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        obs, info = self.env.reset(seed=seed, options=options)
        return to_numpy(obs), to_numpy(info)

    def step(self, actions: np.ndarray):
        tensor = torch.as_tensor(np.asarray(actions), dtype=torch.float32, device=self.env.device)
        return tuple(to_numpy(part) for part in self.env.step(tensor))


def to_numpy(value):
    """Copy tensors to NumPy arrays, in dicts of any depth."""
    if isinstance(value, dict):
        return {k: to_numpy(v) for k, v in value.items()}
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value


def make_tracking_vec(
    num_envs: int = 1,
    clips: Sequence[str] | MotionLibrary = ("demo",),
    simulator: str = "auto",
    substeps: int = 4,
    visual: VisualLibrary | None = None,
    seed: int = 0,
    autoreset: str = "same_step",
    device: str | None = None,
    **config,
) -> VectorEnv:
    """Build the environment behind "PhysHMR/Tracking-v0".

    Args:
        num_envs: number of humanoids.
        clips: motions to track: 'demo', 'demo:NAME', files or folders (see `load_clips`), or a library.
        simulator, substeps, device: see `make_simulator`.
        visual: camera views of the clips, for the visual groups (`stages.views.film_library` renders them).
        seed: of starts and views, until `reset(seed=...)`.
        autoreset: 'same_step', 'next_step' (required by gymnasium's vector observation wrappers) or 'disabled'; see `TrackingEnv`.
        config: fields of `TrackingConfig`, e.g. groups, control, termination, episode_length.

    Raises:
        KitError: unknown option, clip or simulator.
    """
    known = [f.name for f in fields(TrackingConfig)]
    unknown = [name for name in config if name not in known]
    if unknown:
        raise KitError(
            f"PhysHMR/Tracking-v0 has no option '{unknown[0]}'; options: clips, simulator, substeps, visual, seed, autoreset, device, {', '.join(known)}"
        )
    settings = TrackingConfig(**config)
    library = clips if isinstance(clips, MotionLibrary) else load_library(clips)
    physics = make_simulator(simulator, num_envs=num_envs, device=device, substeps=substeps)
    return NumpyTracking(TrackingEnv(library, physics, settings, visual, seed, autoreset))
