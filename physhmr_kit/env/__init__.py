"""The Markov decision process: observation, reward and termination terms as pure functions, and `TrackingEnv` that runs them.

`rollout.py` tracks whole clips for evaluation; `gymnasium.make_vec("PhysHMR/Tracking-v0")` is the same environment with NumPy arrays.
"""

from typing import TYPE_CHECKING

from physhmr_kit.env.settings import RewardWeights, TrackingConfig
from physhmr_kit.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from physhmr_kit.env.rollout import Rollout, track_clips
    from physhmr_kit.env.tracking import TrackingEnv
    from physhmr_kit.env.visual import VisualLibrary

__all__ = ["RewardWeights", "Rollout", "TrackingConfig", "TrackingEnv", "VisualLibrary", "track_clips"]

__getattr__ = lazy_exports(
    __name__, {"rollout": ("Rollout", "track_clips"), "tracking": ("TrackingEnv",), "visual": ("VisualLibrary",)}
)
