"""Shared by the stages: networks and normaliser, advantages and losses, rollout collection, weights on disk.

`ppo.py` has the algorithm as pure functions; the training loops are in `stages/`.
"""

from physhmr_kit.learning.collect import Batch, Collector
from physhmr_kit.learning.networks import Critic, Policy, RunningNorm
from physhmr_kit.learning.storage import BUNDLED, load_policy, read_weights, save_policy, save_weights

__all__ = [
    "BUNDLED", "Batch", "Collector", "Critic", "Policy", "RunningNorm",
    "load_policy", "read_weights", "save_policy", "save_weights",
]  # fmt: skip
