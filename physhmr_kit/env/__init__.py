"""The Markov decision process: observation, reward and termination terms as pure functions, and `TrackingEnv` that runs them.

`rollout.py` follows whole clips for evaluation; `gymnasium.make_vec("PhysHMR/Tracking-v0")` hands NumPy to other libraries.
"""

from physhmr_kit.env.rollout import Rollout, track_clips
from physhmr_kit.env.tracking import RewardWeights, TrackingConfig, TrackingEnv
from physhmr_kit.env.visual import VisualLibrary

__all__ = ["RewardWeights", "Rollout", "TrackingConfig", "TrackingEnv", "VisualLibrary", "track_clips"]
