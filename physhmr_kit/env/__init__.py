"""The Markov decision process: observation, reward and termination terms as pure functions, and `TrackingEnv` that runs them.

`rollout.py` tracks whole clips for evaluation; `gymnasium.make_vec("PhysHMR/Tracking-v0")` is the same environment with NumPy arrays.
"""

from typing import TYPE_CHECKING

from physhmr_kit.env.settings import RewardWeights, TrackingConfig

if TYPE_CHECKING:
    from physhmr_kit.env.rollout import Rollout, track_clips
    from physhmr_kit.env.tracking import TrackingEnv
    from physhmr_kit.env.visual import VisualLibrary

__all__ = ["RewardWeights", "Rollout", "TrackingConfig", "TrackingEnv", "VisualLibrary", "track_clips"]

_HOMES = {"Rollout": "rollout", "TrackingEnv": "tracking", "VisualLibrary": "visual", "track_clips": "rollout"}


def __getattr__(name: str):
    # torch and MuJoCo take seconds to import; a `--help` that only asks for settings should not wait for them
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"physhmr_kit.env.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
