"""Fixtures of the stages, see small_stages.py."""

from small_stages import build, equal_weights, opened, small_library, train, views, weights_of

__all__ = ["build", "equal_weights", "opened", "small_library", "train", "views", "weights_of"]
